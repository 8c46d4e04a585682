// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/executor.h"
#include "trust/bundle.h"

namespace grpc {
class Channel;
}

namespace capstan::rpc {

class PendingCalls;

// Fetches the trust history (FleetService.GetTrustHistory) over a connection whose server is NOT
// verified: whoever cannot verify it any more has to ask somebody. That is sound for this call
// alone: it sends nothing that is secret and shows no certificate, and nothing of the answer, its
// errors included, may be believed before trust::Follow() verified it. Each fetch makes a
// connection of its own, which never leaves this class.
//
// Used from tasks of the executor, on which callbacks run as well.
class HistoryClient {
 public:
  using Callback = std::function<void(const absl::StatusOr<std::vector<std::string>>&)>;

  explicit HistoryClient(Executor& executor);
  // Cancels what is under way and waits until gRPC is done with it; callbacks are posted.
  ~HistoryClient();
  HistoryClient(const HistoryClient&) = delete;
  HistoryClient& operator=(const HistoryClient&) = delete;

  // One at a time; a second one cancels the first. What the server at `address` ("host:port") gives
  // out for somebody who holds `held`, of which the roots are `bundle`.
  void Fetch(const std::string& address, const trust::BundleVersion& held,
             const trust::Bundle& bundle, absl::Duration timeout, Callback done);

 private:
  Executor& executor_;
  std::shared_ptr<grpc::Channel> channel_;  // of the latest call
  std::shared_ptr<PendingCalls> calls_;
};

}  // namespace capstan::rpc
