// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "agent/options.h"

namespace capstan::agent {

// Runs an agent until `wait_for_stop` returns (called once everything is up, from the calling
// thread). Not OK: it could not start; the message says what to do.
absl::Status Run(const Options& options, const std::function<void()>& wait_for_stop);

}  // namespace capstan::agent
