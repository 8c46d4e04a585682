// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "authn/token_reviews.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "base/secret.h"

namespace capstan::authn {

// Asks one cluster about its service accounts' tokens, or judges them by their issuer's keys, on
// threads of its own: nobody who asks waits in a call, however long that takes. Thread-safe.
class TokenReviewer {
 public:
  using Done = TokenReviews::Done;
  // The question itself; blocks.
  using Review = std::function<absl::StatusOr<kube::ServiceAccount>(const Secret& token)>;
  struct Options {
    int threads = 4;
    // A token that waited for longer is not asked about any more: whoever showed it tries again.
    absl::Duration patience = absl::Seconds(10);
    TokenReviews::Limits limits = {};
    std::string whom;  // is asked, for messages; "": the API server of the cluster
  };

  // `clock` and `metrics` outlive it. `cluster` is a label.
  TokenReviewer(std::string cluster, Review review, Clock& clock, Metrics& metrics)
      : TokenReviewer(std::move(cluster), std::move(review), clock, metrics, Options()) {}
  TokenReviewer(std::string cluster, Review review, Clock& clock, Metrics& metrics,
                Options options);
  // Stops, and waits for the questions under way.
  ~TokenReviewer();
  TokenReviewer(const TokenReviewer&) = delete;
  TokenReviewer& operator=(const TokenReviewer&) = delete;

  // Whose `token` is, which has this `hash`. `done` is called once: within this call where the
  // answer is known, or later from a thread of the reviewer's. Unauthenticated: it is refused.
  // Unavailable: the API server cannot be asked, and why. ResourceExhausted: as TokenReviews says.
  void Ask(const std::string& hash, const Secret& token, const Done& done);
  // Everybody who waits, and who asks from here on, is told Unavailable.
  void Stop();

 private:
  struct Job {
    std::string hash;
    Secret token;
    absl::Duration asked;  // monotonic
  };
  TokenReviews::Moment Now() { return {clock_.Now(), clock_.Monotonic()}; }
  void Run();
  void Perform(const Job& job);
  TokenReviews::Answer AskServer(const Job& job);
  void Tell(const absl::Status& status);

  const std::string cluster_;
  const Review review_;
  Clock& clock_;
  const Options options_;
  const std::string whom_;
  prometheus::Counter& accepted_;
  prometheus::Counter& refused_;
  prometheus::Counter& failed_;
  prometheus::Counter& cached_;
  prometheus::Counter& seconds_;

  Mutex mutex_;
  std::condition_variable_any changed_;  // jobs_, stopping_
  TokenReviews reviews_ ABSL_GUARDED_BY(mutex_);
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool trouble_ ABSL_GUARDED_BY(mutex_) = false;  // of the last question
  std::vector<std::thread> threads_;
};

}  // namespace capstan::authn
