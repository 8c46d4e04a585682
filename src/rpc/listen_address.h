// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"

namespace capstan::rpc {

// Whether a server may listen on "IP:PORT" ("[IP]:PORT" for IPv6), by trying: gRPC itself does not
// say why it cannot. InvalidArgument: no such address. Unavailable, PermissionDenied …: the
// system's reason.
absl::Status CheckListenAddress(const std::string& address);

}  // namespace capstan::rpc
