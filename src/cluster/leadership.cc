// SPDX-License-Identifier: Apache-2.0
#include "cluster/leadership.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace capstan::cluster {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::min();

}  // namespace

Leadership::Leadership(kube::Client& client, kube::ObjectName lease, Election::Options options,
                       Clock& clock, Metrics& metrics, std::function<void(const std::string&)> lost)
    : client_(client),
      name_(std::move(lease)),
      clock_(clock),
      lost_(std::move(lost)),
      gauge_(
          metrics.Gauge("capstan_leader", "1: this process holds the lease; 0: it is a standby")),
      machine_(std::move(options)),
      until_(kNever),
      said_(machine_.why()),
      watchdog_(clock),
      loop_(clock) {
  loop_.Post([this] { Work(); });
}

Leadership::~Leadership() {
  loop_.Stop();
  watchdog_.Stop();
  std::optional<kube::Lease> release;
  {
    MutexLock lock(mutex_);
    machine_.Tick(clock_.Monotonic());
    release = machine_.Release(clock_.Now());
  }
  until_ = kNever;
  if (!release.has_value()) return;
  const absl::Status released = kube::WriteLease(client_, name_, *release).status();
  if (released.ok()) {
    log::Info("the lease is given back", {{"lease", kube::ToString(name_)}});
  } else {
    log::Warn("the lease could not be given back: others wait until it ends",
              {{"lease", kube::ToString(name_)}, {"why", released.message()}});
  }
}

absl::Status Leadership::Check() const {
  if (absl::ToInt64Nanoseconds(clock_.Monotonic()) < until_) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("this capstand does not hold the Lease ", kube::ToString(name_), ": ", why()));
}

std::string Leadership::why() const {
  MutexLock lock(mutex_);
  return machine_.why();
}

void Leadership::Work() {
  Election::Next next;
  {
    MutexLock lock(mutex_);
    next = machine_.Take(clock_.Monotonic(), clock_.Now());
  }
  if (next.what != Election::Next::What::kWait) Perform(next);
  Show();
  const absl::Duration wait = next.what == Election::Next::What::kWait
                                  ? next.at - clock_.Monotonic()
                                  : absl::ZeroDuration();
  if (wait < absl::InfiniteDuration()) loop_.After(wait, [this] { Work(); });
}

void Leadership::Perform(const Election::Next& next) {
  const bool writes = next.what == Election::Next::What::kWrite;
  const absl::StatusOr<kube::Lease> lease =
      writes ? kube::WriteLease(client_, name_, next.lease) : kube::ReadLease(client_, name_);
  MutexLock lock(mutex_);
  const absl::Duration now = clock_.Monotonic();
  writes ? machine_.Wrote(lease, now) : machine_.Read(lease, now);
}

void Leadership::Show() {
  Election::Role role;
  absl::Duration until;
  std::string why;
  {
    MutexLock lock(mutex_);
    role = machine_.role();
    until = machine_.leads_until();
    why = machine_.why();
  }
  if (role == Election::Role::kLost) return Bark();
  if (role == Election::Role::kStandby) {
    if (std::exchange(said_, why) == why) return;
    return log::Info("standby", {{"lease", kube::ToString(name_)}, {"why", why}});
  }
  until_ = absl::ToInt64Nanoseconds(until);
  if (!std::exchange(led_, true)) {
    gauge_.Set(1);
    log::Info("this capstand has the lease", {{"lease", kube::ToString(name_)}});
  }
  watchdog_.After(until - clock_.Monotonic(), [this] { Bark(); });
}

void Leadership::Bark() {
  std::string why;
  {
    MutexLock lock(mutex_);
    machine_.Tick(clock_.Monotonic());
    if (machine_.role() != Election::Role::kLost) return;
    why = machine_.why();
  }
  until_ = kNever;
  gauge_.Set(0);
  if (!told_.exchange(true)) lost_(why);
}

}  // namespace capstan::cluster
