// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "server/config.h"

namespace capstan::server {

// The exit code of a capstand that has lost its lease: started again, it stands by.
inline constexpr int kLostLease = 3;

// Runs capstand until SIGTERM or SIGINT, or until its lease is lost: then the process ends within
// this. The caller blocked these and SIGHUP before it made a thread.
absl::Status RunDaemon(const Config& config);

}  // namespace capstan::server
