// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"

namespace capstan::rpc {

// Makes `path` ready for a server to listen on: its folder exists and is private
// (MakePrivateDirectory), and a socket left behind by a dead server is removed. AlreadyExists: a
// live server listens there. FailedPrecondition: something else than a socket is there, or the
// folder is open to others. InvalidArgument: longer than a socket's path may be (107 bytes).
absl::Status PrepareUnixSocket(const std::string& path);

// Mode 0600 for a socket that listens. (Its folder kept others out from the start.)
absl::Status MakeUnixSocketPrivate(const std::string& path);

}  // namespace capstan::rpc
