// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/time/time.h"

namespace capstan::rpc {

// How long an agent waits before it opens its trust stream again, when so many of them (> 0) have
// ended since it was sent an update: doubling from a second to ten, times something from a quarter
// to five quarters that is a function of the arguments. Who lost their streams together do not
// return together.
absl::Duration StreamRetry(const std::string& instance, int ended);

}  // namespace capstan::rpc
