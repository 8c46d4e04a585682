// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "authn/caller.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "fleet/workload.h"
#include "issuance/admission.h"
#include "rotation/pacing.h"
#include "rpc/control_plane.h"
#include "server/issuers.h"

namespace capstan::server {

// Urgent: holds nothing, or a leaf of which less than a quarter is left, or one that is not on
// record, so that nobody knows. `known`: what was issued last to this caller for this purpose; null
// where nothing was.
issuance::Urgency UrgencyOf(const authn::Caller& caller, const rpc::IssueRequest& request,
                            const fleet::Leaf* known, absl::Time now);

// How many leaves move when `issuer` signs: unexpired ones of other authorities, the agents' own
// among them.
int64_t LeavesToMove(const std::map<fleet::Key, fleet::Workload>& workloads,
                     const std::string& issuer, absl::Time now);

// How leaves move to who is to sign for them; nullopt where none is to be replaced.
struct Plans {
  std::optional<rotation::ReissuePlan> everybody;
  std::optional<rotation::ReissuePlan> canary;
};

// How fast this control plane signs: who may come now, and the plan by which leaves move to a new
// issuer. Drives issuance/admission.h and rotation/pacing.h. Thread-safe; its lock is a leaf.
class Pacing {
 public:
  // `per_second`: certificates; 0: as many as the signer stands. `clock` and `metrics` outlive it.
  Pacing(double per_second, Clock& clock, Metrics& metrics);

  // ResourceExhausted with the time to come back at (base/retry_after.h): not now.
  absl::Status Admit(issuance::Urgency urgency);
  // `authority` signed, or failed to, in this time.
  void Signed(const trust::AuthorityId& authority, absl::Duration took, bool ok);
  double per_second() const;
  // What a re-issue with this budget of its own (0: none) is planned by: the lower of the two.
  double RateOf(double budget) const;

  // The plans of this issuer epoch and of a canary, each made once, when it is asked for the first
  // time: at the switch or the canary's beginning itself, or at a restart after it. Its start is
  // the moment of that. Nothing is persisted: after a restart it is a plan for the leaves that are
  // left, the soonest to expire first as before, which takes no longer than the rest of the one
  // before. A budget of the rotation's own, where it is the lower one, is what they are laid by;
  // who may be signed for at all stays a matter of Admit(), so that renewals have what is left. The
  // first issuer has nothing to replace, unless another one's canary was turned back.
  Plans PlansFor(const Issuers& issuers, const std::map<fleet::Key, fleet::Workload>& workloads);
  // Drops plans that begin in the future: the clock was ahead when they were made, and has been set
  // back. True: it did, and PlansFor() makes others.
  bool DropPlansOfTheFuture();

 private:
  void PutOff(issuance::Urgency urgency, absl::Duration wait, absl::Duration now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  using Workloads = std::map<fleet::Key, fleet::Workload>;
  void PlanForEverybody(const Issuers& issuers, const Workloads& workloads)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanForCanary(const Issuers& issuers, const Workloads& workloads)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SayMove(issuance::AutoBudget::Move move) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Clock& clock_;
  Metrics& metrics_;
  prometheus::Gauge& budget_gauge_;
  prometheus::Gauge& wait_gauge_;
  prometheus::Gauge& latency_gauge_;

  mutable absl::Mutex mutex_;
  issuance::Admission admission_ ABSL_GUARDED_BY(mutex_);
  std::optional<issuance::AutoBudget> auto_ ABSL_GUARDED_BY(mutex_);  // nullopt: it is fixed
  std::optional<trust::AuthorityId> signer_ ABSL_GUARDED_BY(mutex_);
  // Put off since it was said last.
  int64_t unsaid_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Duration said_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
  // What plans_ was made for.
  std::optional<int64_t> planned_epoch_ ABSL_GUARDED_BY(mutex_);
  std::set<trust::AuthorityId> planned_retiring_ ABSL_GUARDED_BY(mutex_);
  std::optional<trust::CanaryIssuer> planned_canary_ ABSL_GUARDED_BY(mutex_);
  Plans plans_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace capstan::server
