// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "authn/jwks.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/secret.h"
#include "kube/token_review.h"

namespace capstan::authn {

// Who signs tokens: what they say as their issuer, and its keys.
struct TokenKeys {
  std::string issuer;
  std::vector<Jwk> keys;
};

// Judges tokens by their issuer's keys, which it fetches when they are needed first, when they are
// old, and when a token names one that is not among them. The last good keys stay where they cannot
// be fetched. Thread-safe.
class TokenVerifier {
 public:
  // Blocks.
  using Fetch = std::function<absl::StatusOr<TokenKeys>()>;
  struct Options {
    absl::Duration refresh = absl::Minutes(5);
    absl::Duration least = absl::Seconds(10);  // between two fetches
    absl::Duration skew = absl::Seconds(30);
  };
  // `name` is for the log; `clock` outlives it.
  TokenVerifier(std::string name, std::vector<std::string> audiences, Fetch fetch, Clock& clock)
      : TokenVerifier(std::move(name), std::move(audiences), std::move(fetch), clock, Options()) {}
  TokenVerifier(std::string name, std::vector<std::string> audiences, Fetch fetch, Clock& clock,
                Options options)
      : name_(std::move(name)),
        audiences_(std::move(audiences)),
        fetch_(std::move(fetch)),
        clock_(clock),
        options_(options) {}

  // Whose `token` is. Blocks while it fetches keys: for whoever cannot be judged without, and for
  // one caller of many when the keys are old. Unauthenticated: it is refused; any other error: that
  // is not known.
  absl::StatusOr<kube::ServiceAccount> Verify(const Secret& token);

 private:
  using Keys = std::shared_ptr<const TokenKeys>;
  // The keys, fetched anew if `other_than` are the ones at hand; nullptr, if they are old. An error
  // only where there are none.
  absl::StatusOr<Keys> KeysOtherThan(const Keys& other_than);
  void Take(absl::StatusOr<TokenKeys> fetched) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string name_;
  const std::vector<std::string> audiences_;
  const Fetch fetch_;
  Clock& clock_;
  const Options options_;
  Mutex mutex_;
  std::condition_variable_any changed_;  // fetching_
  Keys keys_ ABSL_GUARDED_BY(mutex_);
  bool fetching_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Duration fetched_at_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
  absl::Duration attempted_at_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
  absl::Status trouble_ ABSL_GUARDED_BY(mutex_);  // of the last fetch
};

}  // namespace capstan::authn
