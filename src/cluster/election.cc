// SPDX-License-Identifier: Apache-2.0
#include "cluster/election.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace capstan::cluster {
namespace {

bool SameRenewal(const kube::Lease& a, const kube::Lease& b) {
  return a.holder == b.holder && a.renewed == b.renewed && a.acquired == b.acquired &&
         a.transitions == b.transitions;
}

bool SomebodyWasFirst(const absl::Status& why) {
  return absl::IsAborted(why) || absl::IsAlreadyExists(why);
}

}  // namespace

absl::Duration Election::leads_until() const {
  return role_ == Role::kLeader ? confirmed_ + options_.deadline : -absl::InfiniteDuration();
}

void Election::Lose(std::string why) {
  role_ = Role::kLost;
  why_ = std::move(why);
}

// As often as `retry` says, counted from when the last try began: one that took long is not waited
// for once more.
void Election::Again(absl::Duration now) {
  next_at_ = std::max(now, began_ + options_.retry);
}

void Election::Tick(absl::Duration now) {
  if (role_ != Role::kLeader || now < leads_until()) return;
  Lose(absl::StrCat("the lease was not renewed for ", absl::FormatDuration(options_.deadline), ": ",
                    error_.empty() ? "this process did not run, or no answer came" : error_));
}

kube::Lease Election::Renewed(absl::Time wall) const {
  kube::Lease lease = lease_;
  lease.duration = absl::Ceil(options_.duration, absl::Seconds(1));
  lease.renewed = kube::LeaseTime(wall);
  if (role_ == Role::kLeader) return lease;
  lease.acquired = lease.renewed;
  if (lease.holder != options_.identity && !lease.resource_version.empty()) ++lease.transitions;
  lease.holder = options_.identity;
  return lease;
}

Election::Next Election::Take(absl::Duration now, absl::Time wall) {
  Tick(now);
  if (role_ == Role::kLost) return {};
  if (now < next_at_) return {Next::What::kWait, next_at_};
  began_ = now;
  const bool writes = role_ == Role::kLeader ? !doubt_ : std::exchange(claim_, false);
  if (!writes) return {Next::What::kRead};
  return {Next::What::kWrite, absl::InfiniteDuration(), Renewed(wall)};
}

void Election::See(const kube::Lease& lease, absl::Duration now) {
  if (lease_.resource_version.empty() || !SameRenewal(lease, lease_)) {
    const absl::Duration holds =
        lease.duration > absl::ZeroDuration() ? lease.duration : options_.duration;
    free_from_ = lease.holder.empty() ? now : now + holds;
  }
  lease_ = lease;
}

void Election::Read(const absl::StatusOr<kube::Lease>& lease, absl::Duration now) {
  if (role_ == Role::kLost) return;
  if (role_ == Role::kLeader) return ReadAsLeader(lease, now);
  if (!lease.ok() && !absl::IsNotFound(lease.status())) {
    why_ = std::string(lease.status().message());
    return Again(now);
  }
  if (lease.ok()) {
    See(*lease, now);
  } else {
    // Whose it was may not know yet that it was deleted, and leads on.
    lease_.resource_version.clear();
  }
  // Our own: we wrote it, and the answer did not reach us.
  claim_ = now >= free_from_ || lease_.holder == options_.identity;
  if (claim_) return;
  why_ = absl::StrCat(lease_.holder, " has the lease");
  Again(now);
}

void Election::ReadAsLeader(const absl::StatusOr<kube::Lease>& lease, absl::Duration now) {
  if (absl::IsNotFound(lease.status())) return Lose("the Lease was deleted");
  if (!lease.ok()) {
    error_ = std::string(lease.status().message());
    return Again(now);
  }
  if (lease->holder != options_.identity) {
    return Lose(lease->holder.empty() ? "somebody has taken the lease away from its holder"
                                      : absl::StrCat(lease->holder, " has the lease"));
  }
  lease_ = *lease;
  doubt_ = false;
}

void Election::Wrote(const absl::StatusOr<kube::Lease>& lease, absl::Duration now) {
  if (role_ == Role::kLost) return;  // while the answer was on its way
  if (lease.ok()) {
    lease_ = *lease;
    confirmed_ = began_;
    role_ = Role::kLeader;
    why_ = "its last renewal has run out";
    error_.clear();
    Again(now);
    return Tick(now);
  }
  error_ = std::string(lease.status().message());
  if (role_ == Role::kLeader) {
    doubt_ = SomebodyWasFirst(lease.status()) || absl::IsNotFound(lease.status());
    if (!doubt_) Again(now);  // else: it looks at once
  } else {
    why_ = SomebodyWasFirst(lease.status()) ? "another candidate was faster" : error_;
    Again(now);
  }
}

std::optional<kube::Lease> Election::Release(absl::Time wall) {
  if (role_ != Role::kLeader) return std::nullopt;
  kube::Lease lease = Renewed(wall);
  lease.holder.clear();
  lease.duration = absl::Seconds(1);  // the API takes no zero
  Lose("the lease was given back");
  return lease;
}

}  // namespace capstan::cluster
