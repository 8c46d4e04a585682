// SPDX-License-Identifier: Apache-2.0
#include "authn/token_reviews.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/retry_after.h"

namespace capstan::authn {
namespace {

constexpr absl::Duration kComeBack = absl::Seconds(1);

}  // namespace

TokenReviews::Asked TokenReviews::Ask(const std::string& hash, const Done& done, Moment now) {
  if (const Answer* known = Find(hash, now); known != nullptr) return {*known, false};
  auto waiting = waiting_.find(hash);
  if (callers_ >= limits_.callers ||
      (waiting == waiting_.end() && waiting_.size() >= limits_.tokens)) {
    return {WithRetryAfter(absl::ResourceExhaustedError(
                               absl::StrCat(waiting_.size(), " service accounts' tokens of ",
                                            callers_, " callers wait to be reviewed already")),
                           kComeBack),
            false};
  }
  const bool first = waiting == waiting_.end();
  waiting_[hash].push_back(done);
  ++callers_;
  return {std::nullopt, first};
}

std::vector<TokenReviews::Done> TokenReviews::Reviewed(const std::string& hash,
                                                       const Answer& answer, absl::Time expires,
                                                       Moment now) {
  if (answer.ok() && expires > now.wall) {
    Remember(hash, {answer, now.monotonic + limits_.accepted, expires}, now);
  } else if (absl::IsUnauthenticated(answer.status())) {
    Remember(hash, {answer, now.monotonic + limits_.refused, absl::InfiniteFuture()}, now);
  }
  std::vector<Done> waited;
  if (const auto waiting = waiting_.find(hash); waiting != waiting_.end()) {
    waited = std::move(waiting->second);
    waiting_.erase(waiting);
    callers_ -= waited.size();
  }
  return waited;
}

std::vector<TokenReviews::Done> TokenReviews::Abandon() {
  std::vector<Done> all;
  for (auto& [hash, waiting] : waiting_) {
    std::move(waiting.begin(), waiting.end(), std::back_inserter(all));
  }
  waiting_.clear();
  callers_ = 0;
  return all;
}

const TokenReviews::Answer* TokenReviews::Find(const std::string& hash, Moment now) {
  while (!ends_.empty() && ends_.begin()->first <= now.monotonic) ForgetFirst();
  const auto known = answers_.find(hash);
  if (known == answers_.end() || known->second.expires <= now.wall) return nullptr;
  return &known->second.answer;
}

void TokenReviews::Remember(const std::string& hash, Remembered remembered, Moment now) {
  if (const auto known = answers_.find(hash); known != answers_.end()) {
    ends_.erase({known->second.until, hash});
    answers_.erase(known);
  }
  while (!ends_.empty() &&
         (ends_.begin()->first <= now.monotonic || answers_.size() >= limits_.answers)) {
    ForgetFirst();
  }
  ends_.insert({remembered.until, hash});
  answers_.insert_or_assign(hash, std::move(remembered));
}

void TokenReviews::ForgetFirst() {
  answers_.erase(ends_.begin()->second);
  ends_.erase(ends_.begin());
}

}  // namespace capstan::authn
