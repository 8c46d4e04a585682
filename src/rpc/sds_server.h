// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "base/random.h"
#include "sds/events.h"
#include "sds/material.h"
#include "spiffe/spiffe_id.h"

namespace capstan::rpc {

// SDS v3 (StreamSecrets, DeltaSecrets, FetchSecrets) on a private Unix socket, for one identity.
// What it sends and what counts is decided by sds::Registry.
class SdsServer {
 public:
  struct Options {
    std::string socket_path;  // at most 107 bytes; its folder is made, or must be, private
    spiffe::SpiffeId id;
    // Users that may connect, besides our own and root.
    std::vector<uid_t> peer_uids = {};
    Metrics* metrics = nullptr;                     // outlives the server
    absl::Duration hold_leaf = absl::Seconds(10);   // sds::Config
    absl::Duration first_retry = absl::Seconds(1);  // sds::Config
    absl::Duration forget = absl::Minutes(5);       // sds::Config
  };

  // Listens when it returns. AlreadyExists: a live server has the socket; the other errors of
  // PrepareUnixSocket. `clock` and `random` outlive the server.
  static absl::StatusOr<std::unique_ptr<SdsServer>> Start(Options options, Clock& clock,
                                                          Random& random);
  // Stops.
  ~SdsServer();
  SdsServer(const SdsServer&) = delete;
  SdsServer& operator=(const SdsServer&) = delete;

  // Thread-safe, does not wait; of several in quick succession a slow stream gets the last.
  // Material of another identity is refused, with a line in the log.
  void Publish(std::shared_ptr<const sds::Material> material);

  std::vector<sds::ConsumerReport> Consumers() const;  // by id; thread-safe

  // Called on the server's own thread after Consumers() changed; must not wait, nor stop the
  // server. A call under way ends before Stop() does.
  void OnConsumersChanged(std::function<void()> changed);

  // Ends every stream with Unavailable, removes the socket. The second call does nothing.
  void Stop();

 private:
  class Impl;
  explicit SdsServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace capstan::rpc
