// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "rpc/control_plane.h"

namespace capstan::rpc {

// TLS (1.2 or later, ALPN h2) whose certificate is asked for at every handshake: a new one is
// served from the next handshake on, and connections that are open go on. Clients are asked for a
// certificate, which is not verified here: gRPC would drop an untrusted client with a bare end of
// stream, before it could be told why. Whoever serves calls authenticates each one. The request
// names the roots of the bundle of the moment, because gRPC must name some: clients that choose by
// it (Go's do) leave a certificate of another root out.
//
// `plane` is asked from gRPC's threads. While it has no serving certificate, the last one is kept.
// The result must outlive the server.
std::shared_ptr<grpc::ServerCredentials> ReloadingServerCredentials(const ControlPlane& plane);

}  // namespace capstan::rpc
