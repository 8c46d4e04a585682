// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "server/config.h"

namespace capstan::server {

// Runs capstand until SIGTERM or SIGINT. The caller blocked these and SIGHUP before it made a
// thread.
absl::Status RunDaemon(const Config& config);

}  // namespace capstan::server
