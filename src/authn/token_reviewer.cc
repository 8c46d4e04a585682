// SPDX-License-Identifier: Apache-2.0
#include "authn/token_reviewer.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "authn/service_account.h"
#include "base/log.h"
#include "base/retry_after.h"

namespace capstan::authn {
namespace {

prometheus::Counter& ResultCounter(Metrics& metrics, const std::string& cluster,
                                   const std::string& result) {
  return metrics.Counter("capstan_token_reviews_total",
                         "service accounts' tokens that callers showed; cached: the API server did "
                         "not have to be asked once more",
                         {{"cluster", cluster}, {"result", result}});
}

absl::Status Stopping() {
  return absl::UnavailableError("capstand is stopping");
}

}  // namespace

TokenReviewer::TokenReviewer(std::string cluster, Review review, Clock& clock, Metrics& metrics,
                             Options options)
    : cluster_(std::move(cluster)),
      review_(std::move(review)),
      clock_(clock),
      options_(std::move(options)),
      whom_(options_.whom.empty() ? absl::StrCat("the API server of cluster \"", cluster_, "\"")
                                  : options_.whom),
      accepted_(ResultCounter(metrics, cluster_, "accepted")),
      refused_(ResultCounter(metrics, cluster_, "refused")),
      failed_(ResultCounter(metrics, cluster_, "error")),
      cached_(ResultCounter(metrics, cluster_, "cached")),
      seconds_(metrics.Counter("capstan_token_review_seconds_total",
                               "time that API servers took to answer about tokens",
                               {{"cluster", cluster_}})),
      reviews_(options_.limits) {
  threads_.reserve(static_cast<size_t>(options_.threads));
  for (int i = 0; i < options_.threads; ++i) {
    threads_.emplace_back([this] { Run(); });
  }
}

TokenReviewer::~TokenReviewer() {
  Stop();
  for (std::thread& thread : threads_) thread.join();
}

void TokenReviewer::Ask(const std::string& hash, const Secret& token, const Done& done) {
  std::optional<TokenReviews::Answer> answer;
  {
    MutexLock lock(mutex_);
    if (stopping_) {
      answer = Stopping();
    } else {
      TokenReviews::Asked asked = reviews_.Ask(hash, done, Now());
      if (asked.review) {
        jobs_.push_back({hash, token, clock_.Monotonic()});
        changed_.notify_one();
        return;
      }
      answer = std::move(asked.answer);
      const bool full = answer.has_value() && absl::IsResourceExhausted(answer->status());
      (full ? failed_ : cached_).Increment();
    }
  }
  if (answer.has_value()) done(*answer);
}

void TokenReviewer::Stop() {
  std::vector<Done> waiting;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    jobs_.clear();
    waiting = reviews_.Abandon();
    changed_.notify_all();
  }
  for (const Done& done : waiting) done(Stopping());
}

void TokenReviewer::Run() {
  while (true) {
    Job job;
    {
      MutexLock lock(mutex_);
      while (!stopping_ && jobs_.empty()) changed_.wait(mutex_);
      if (stopping_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    Perform(job);
  }
}

void TokenReviewer::Perform(const Job& job) {
  const TokenReviews::Answer answer = AskServer(job);
  // Who says nothing readable about the end is asked about each time.
  const absl::Time expires =
      answer.ok() ? ExpiryOfJwt(job.token).value_or(absl::InfinitePast()) : absl::InfinitePast();
  std::vector<Done> waiting;
  {
    MutexLock lock(mutex_);
    waiting = reviews_.Reviewed(job.hash, answer, expires, Now());
  }
  for (const Done& done : waiting) done(answer);
}

TokenReviews::Answer TokenReviewer::AskServer(const Job& job) {
  const absl::Duration began = clock_.Monotonic();
  const absl::Duration waited = began - job.asked;
  if (waited > options_.patience) {
    failed_.Increment();
    return absl::UnavailableError(absl::StrCat(whom_, " is too slow: the token waited for ",
                                               absl::FormatDuration(waited), " to be reviewed"));
  }
  TokenReviews::Answer answer = review_(job.token);
  seconds_.Increment(absl::ToDoubleSeconds(clock_.Monotonic() - began));
  if (answer.ok() || absl::IsUnauthenticated(answer.status())) {
    (answer.ok() ? accepted_ : refused_).Increment();
    Tell(absl::OkStatus());
    return answer;
  }
  failed_.Increment();
  Tell(answer.status());
  const absl::Status unknown = absl::UnavailableError(
      absl::StrCat(whom_, " cannot be asked about the token: ", answer.status().message()));
  const std::optional<absl::Duration> after = RetryAfterOf(answer.status());
  return after.has_value() ? WithRetryAfter(unknown, *after) : unknown;
}

// Once when it begins and once when it is over; each caller is told anyway.
void TokenReviewer::Tell(const absl::Status& status) {
  {
    MutexLock lock(mutex_);
    if (std::exchange(trouble_, !status.ok()) == !status.ok()) return;
  }
  if (status.ok()) {
    log::Info("service accounts' tokens are reviewed again", {{"cluster", cluster_}});
  } else {
    log::Error("service accounts' tokens cannot be reviewed; who shows one gets no certificate",
               {{"cluster", cluster_}, {"why", status.message()}});
  }
}

}  // namespace capstan::authn
