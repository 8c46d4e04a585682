// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace capstan::rpc {

// From now on what gRPC and protobuf have to say goes to our log, in its format: gRPC's errors as
// information (most of them are a peer's: a broken handshake, a connection that went), the rest for
// debugging only. Once per process; Server::Start does it.
void RouteLibraryLogs();

}  // namespace capstan::rpc
