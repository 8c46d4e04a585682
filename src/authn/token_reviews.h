// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kube/token_review.h"

namespace capstan::authn {

// What is known about the service accounts' tokens of one cluster, and who waits to know more. A
// machine: no clock, no locks, no I/O. Tokens are known by their hash only.
//  - An accepted token is asked about again after `accepted`, and never taken once it has ended.
//  - A token is under review once at a time, however many callers show it.
class TokenReviews {
 public:
  // Unauthenticated: it is refused. Any other error: nobody knows, and nothing is remembered.
  using Answer = absl::StatusOr<kube::ServiceAccount>;
  // What a caller waits with; called by whoever drives this.
  using Done = std::function<void(const Answer&)>;
  struct Limits {
    absl::Duration accepted = absl::Seconds(10);
    absl::Duration refused = absl::Seconds(1);
    size_t answers = 20'000;  // that are remembered
    size_t tokens = 1'000;    // under review, or waiting for it
    size_t callers = 10'000;  // that wait
  };
  // The wall clock ends tokens; the other one, which never steps, ends what is remembered.
  struct Moment {
    absl::Time wall;
    absl::Duration monotonic;
  };

  explicit TokenReviews(Limits limits) : limits_(limits) {}

  struct Asked {
    std::optional<Answer> answer;  // nullopt: `done` waits
    bool review = false;           // the token is to be reviewed, and Reviewed() told the answer
  };
  // ResourceExhausted, with a time to come back after: too many wait.
  Asked Ask(const std::string& hash, const Done& done, Moment now);
  // The token's review ended. Who waited for it. `expires`: the token's own end.
  std::vector<Done> Reviewed(const std::string& hash, const Answer& answer, absl::Time expires,
                             Moment now);
  // All who wait. No review is outstanding any more.
  std::vector<Done> Abandon();

  size_t remembered() const { return answers_.size(); }
  size_t waiting() const { return callers_; }

 private:
  struct Remembered {
    Answer answer;
    absl::Duration until;  // monotonic
    absl::Time expires;
  };
  const Answer* Find(const std::string& hash, Moment now);
  void Remember(const std::string& hash, Remembered remembered, Moment now);
  void ForgetFirst();

  const Limits limits_;
  std::map<std::string, Remembered> answers_;
  std::set<std::pair<absl::Duration, std::string>> ends_;  // of `answers_`
  std::map<std::string, std::vector<Done>> waiting_;       // by token
  size_t callers_ = 0;
};

}  // namespace capstan::authn
