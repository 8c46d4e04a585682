// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/executor.h"

namespace capstan::agent {

// Follows what the Envoy beside the agent counts of handshakes in which it refused the peer's
// certificate. Every method is called from tasks of the executor.
class HandshakeWatch {
 public:
  static constexpr absl::Duration kEvery = absl::Seconds(5);

  // What they refer to outlives the watch; `blocking` has stopped before `executor` goes.
  struct Ports {
    Executor& executor;
    Executor& blocking;  // an admin interface may take seconds to answer
    // The sum of ssl.fail_verify_*. Called in tasks of `blocking`.
    std::function<absl::StatusOr<int64_t>()> read;
    std::function<void()> changed;  // failed() says something else
  };
  explicit HandshakeWatch(Ports ports);

  // Reads now, and every kEvery from then on.
  void Start();

  // Since the start of the Envoy; nullopt while it does not tell.
  const std::optional<int64_t>& failed() const { return failed_; }

 private:
  void Read();
  void OnRead(const absl::StatusOr<int64_t>& answer);

  const Ports ports_;
  std::optional<int64_t> failed_;
  bool said_ = false;  // that it does not answer
  Timer again_;
  // Expires with the watch: answers that come later find nobody.
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

// Asks an Envoy's admin interface (envoy/admin.h) for it.
std::function<absl::StatusOr<int64_t>()> ReadFromAdmin(const std::string& address);

}  // namespace capstan::agent
