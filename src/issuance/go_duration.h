// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/time/time.h"

namespace capstan::issuance {

// As Go's time.Duration prints whole seconds ("2160h0m1s", "1m0s", "5s"): istiod's messages hold
// such. Fractions of a second are cut off.
std::string GoDuration(absl::Duration duration);

}  // namespace capstan::issuance
