// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "rpc/control_plane.h"

namespace capstan::rpc {

struct ServerOptions {
  std::string listen;           // "IP:PORT" for workloads and agents, TLS; port 0 takes a free one
  std::string operator_socket;  // path of the operator's Unix socket; empty: none
  size_t max_trust_streams = 20000;
  // What gRPC may hold for all connections together; above it new ones are dropped, not the old.
  size_t max_memory_bytes = size_t{4} << 30;
};

// capstand's gRPC: Istio's certificate service and the trust streams on one TLS port, the
// operator's calls on a Unix socket (of root and of our own user). `plane` and `clock` outlive it.
class Server {
 public:
  // Both ends listen when it returns. Raises the process's limit of open files to what it may.
  // Unavailable: the address cannot be listened on, with the reason; the errors of
  // PrepareUnixSocket for the socket.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options,
                                                       ControlPlane& plane, Clock& clock);
  // Shuts down.
  virtual ~Server() = default;

  virtual int port() const = 0;
  virtual size_t trust_streams() const = 0;

  // Ends trust streams with Unavailable, lets calls under way end for two seconds, and returns when
  // nothing calls the control plane any more. The second call does nothing.
  virtual void Shutdown() = 0;
};

}  // namespace capstan::rpc
