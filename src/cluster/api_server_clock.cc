// SPDX-License-Identifier: Apache-2.0
#include "cluster/api_server_clock.h"

namespace capstan::cluster {
namespace {

constexpr absl::Duration kEvery = absl::Seconds(15);
constexpr absl::Duration kGoodFor = absl::Minutes(1);

}  // namespace

ApiServerClock::ApiServerClock(kube::Client& client, Clock& clock)
    : client_(client), clock_(clock), loop_(clock) {
  loop_.Post([this] { Ask(); });
}

ApiServerClock::~ApiServerClock() {
  loop_.Stop();
}

void ApiServerClock::Ask() {
  const absl::StatusOr<absl::Time> theirs = client_.Now();
  if (theirs.ok()) {
    absl::MutexLock lock(&mutex_);
    theirs_ = *theirs;
    heard_ = clock_.Monotonic();
  }
  loop_.After(kEvery, [this] { Ask(); });
}

std::optional<absl::Duration> ApiServerClock::offset() {
  absl::MutexLock lock(&mutex_);
  const absl::Duration since = clock_.Monotonic() - heard_;
  if (!theirs_.has_value() || since > kGoodFor) return std::nullopt;
  return *theirs_ + since - clock_.Now();
}

}  // namespace capstan::cluster
