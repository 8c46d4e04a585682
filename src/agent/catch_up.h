// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/executor.h"
#include "lifecycle/accept_trust.h"
#include "rpc/history_client.h"
#include "spiffe/spiffe_id.h"

namespace capstan::agent {

// Brings an agent that slept through root rotations up to the present trust: asks for the trust
// history, verifies it link by link from what is held, and hands on the newest version. Lives on
// the executor.
class CatchUp {
 public:
  struct Options {
    std::string address;  // of the control plane
    spiffe::SpiffeId spiffe_id;
    std::string instance;  // seeds the jitter
    absl::Duration timeout = absl::Seconds(10);
    // Between two requests, doubling until Fine().
    absl::Duration first_wait = absl::Seconds(1);
    absl::Duration longest_wait = absl::Minutes(1);
  };
  struct Callbacks {
    std::function<const lifecycle::Trust&()> held;
    // Newer than what is held, verified and accepted.
    std::function<void(lifecycle::Trust)> take;
    // The history does not lead on from what is held; what to do is in the message.
    std::function<void(const std::string& why)> broken;
  };

  CatchUp(Executor& executor, Clock& clock, Options options, Callbacks callbacks);

  // The control plane cannot be talked to, or there is no telling yet: asks now, or when the wait
  // since the last time is over.
  void Ask();
  // The control plane was verified and answers: nothing is asked any more.
  void Fine();

 private:
  void Fetch();
  void OnAnswer(const trust::BundleVersion& asked,
                const absl::StatusOr<std::vector<std::string>>& answer);
  absl::StatusOr<lifecycle::Trust> Verify(const std::vector<std::string>& documents) const;

  Executor& executor_;
  Clock& clock_;
  const Options options_;
  const Callbacks callbacks_;
  absl::Duration next_ = -absl::InfiniteDuration();  // monotonic: no request before
  int waits_ = 0;                                    // since Fine()
  bool in_flight_ = false;
  Timer timer_;
  // Expires with this: answers that come later find nobody.
  std::shared_ptr<char> alive_ = std::make_shared<char>();
  rpc::HistoryClient client_;
};

}  // namespace capstan::agent
