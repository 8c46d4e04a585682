// SPDX-License-Identifier: Apache-2.0
#include "server/pacing.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log.h"
#include "base/retry_after.h"

namespace capstan::server {
namespace {

using issuance::AutoBudget;
using issuance::Urgency;

// Thousands may be put off in a second: they share a line of the log.
constexpr absl::Duration kSayEvery = absl::Seconds(10);

const char* NameOf(Urgency urgency) {
  return urgency == Urgency::kUrgent ? "urgent" : "ordinary";
}

Urgency ByLife(absl::Time not_before, absl::Time not_after, absl::Time now) {
  return not_after - now < (not_after - not_before) / 4 ? Urgency::kUrgent : Urgency::kOrdinary;
}

std::string PerSecond(double rate) {
  return absl::StrFormat("%.4g/s", rate);
}

// For people: milliseconds below ten seconds, seconds above.
std::string Rounded(absl::Duration d) {
  return absl::FormatDuration(
      absl::Ceil(d, d < absl::Seconds(10) ? absl::Milliseconds(1) : absl::Seconds(1)));
}

// What of `workloads` that `counts` says it is about an issuer has to replace: unexpired leaves of
// other authorities, the agents' own among them.
template <typename Counts>
std::vector<rotation::Replaceable> LeavesToReplace(
    const std::map<fleet::Key, fleet::Workload>& workloads, const std::string& issuer,
    absl::Time now, const Counts& counts) {
  std::vector<rotation::Replaceable> leaves;
  for (const auto& [key, workload] : workloads) {
    if (!counts(key)) continue;
    for (const fleet::Leaf* leaf : {&workload.leaf, &workload.credential}) {
      if (leaf->empty() || leaf->authority == issuer || leaf->not_after <= now) continue;
      leaves.push_back({leaf->serial, leaf->not_after});
    }
  }
  return leaves;
}

double RateOf(double own, double budget) {
  return budget > 0 ? std::min(own, budget) : own;
}

}  // namespace

int64_t LeavesToMove(const std::map<fleet::Key, fleet::Workload>& workloads,
                     const std::string& issuer, absl::Time now) {
  return static_cast<int64_t>(
      LeavesToReplace(workloads, issuer, now, [](const fleet::Key&) { return true; }).size());
}

Urgency UrgencyOf(const authn::Caller& caller, const rpc::IssueRequest& request,
                  const fleet::Leaf* known, absl::Time now) {
  if (caller.proof == authn::Caller::Proof::kJoinToken) return Urgency::kUrgent;
  if (!request.replaces.has_value()) {
    // A stock agent shows the very leaf that it wants replaced.
    return caller.certificate.has_value()
               ? ByLife(caller.certificate->not_before(), caller.certificate->not_after(), now)
               : Urgency::kUrgent;
  }
  if (known == nullptr || known->empty() || known->serial != *request.replaces) {
    return Urgency::kUrgent;
  }
  return ByLife(known->not_before, known->not_after, now);
}

Pacing::Pacing(double per_second, Clock& clock, Metrics& metrics)
    : clock_(clock),
      metrics_(metrics),
      budget_gauge_(metrics.Gauge("capstan_issue_budget_per_second",
                                  "certificates that are signed in a second at most")),
      wait_gauge_(metrics.Gauge("capstan_issue_wait_seconds",
                                "how long the last request was told to stay away; 0: admitted")),
      latency_gauge_(metrics.Gauge("capstan_issue_signing_seconds",
                                   "median time of a signature, as the automatic budget saw it")),
      admission_(per_second > 0 ? per_second : AutoBudget::Options().initial, {}) {
  if (per_second <= 0) auto_.emplace(AutoBudget::Options());
  budget_gauge_.Set(admission_.per_second());
}

double Pacing::per_second() const {
  absl::MutexLock lock(&mutex_);
  return admission_.per_second();
}

double Pacing::RateOf(double budget) const {
  return server::RateOf(per_second(), budget);
}

absl::Status Pacing::Admit(Urgency urgency) {
  const absl::Duration now = clock_.Monotonic();
  absl::MutexLock lock(&mutex_);
  const absl::Duration wait = admission_.Ask(urgency, now);
  wait_gauge_.Set(absl::ToDoubleSeconds(wait));
  if (wait == absl::ZeroDuration()) {
    metrics_
        .Counter("capstan_issue_admitted_total", "requests for a certificate that were let through",
                 {{"urgency", NameOf(urgency)}})
        .Increment();
    return absl::OkStatus();
  }
  PutOff(urgency, wait, now);
  return WithRetryAfter(
      absl::ResourceExhaustedError(absl::StrCat(
          "this control plane signs ", PerSecond(admission_.per_second()),
          urgency == Urgency::kUrgent ? " and as many are urgent" : " and others come first",
          ": come back in ", Rounded(wait))),
      wait);
}

void Pacing::PutOff(Urgency urgency, absl::Duration wait, absl::Duration now) {
  metrics_
      .Counter("capstan_issue_put_off_total",
               "requests for a certificate that were told to come back later",
               {{"urgency", NameOf(urgency)}})
      .Increment();
  ++unsaid_;
  if (now - said_ < kSayEvery) return;
  log::Info("requests for certificates are put off",
            {{"why",
              absl::StrCat("more of them than the budget of ", PerSecond(admission_.per_second()))},
             {"requests", unsaid_},
             {"urgency", NameOf(urgency)},
             {"wait", Rounded(wait)}});
  unsaid_ = 0;
  said_ = now;
}

void Pacing::Signed(const trust::AuthorityId& authority, absl::Duration took, bool ok) {
  const absl::Duration now = clock_.Monotonic();
  absl::MutexLock lock(&mutex_);
  if (!auto_.has_value()) return;
  // By turns with the issuer, a key that may be of another kind: the budget goes by the issuer's.
  if (planned_canary_.has_value() && planned_canary_->authority == authority) return;
  if (signer_ != authority) {
    signer_ = authority;
    auto_->NewSigner(now);
  }
  const AutoBudget::Move move = auto_->Signed(took, ok, now);
  latency_gauge_.Set(absl::ToDoubleSeconds(auto_->latency()));
  if (move == AutoBudget::Move::kNone) return;
  admission_.SetBudget(auto_->per_second(), now);
  budget_gauge_.Set(auto_->per_second());
  SayMove(move);
}

void Pacing::SayMove(AutoBudget::Move move) {
  const bool less = move == AutoBudget::Move::kLess;
  log::Write(less ? log::Level::kInfo : log::Level::kDebug, "the budget of signatures changed",
             {{"budget", PerSecond(auto_->per_second())},
              {"why", absl::StrCat("a signature took ", absl::FormatDuration(auto_->latency()),
                                   " against ", absl::FormatDuration(auto_->baseline()),
                                   " at best, ", auto_->failed(), " failed")}});
}

bool Pacing::DropPlansOfTheFuture() {
  constexpr absl::Duration kHarmless = absl::Minutes(1);
  absl::MutexLock lock(&mutex_);
  bool dropped = false;
  for (std::optional<rotation::ReissuePlan>* plan : {&plans_.everybody, &plans_.canary}) {
    if (!plan->has_value() || (*plan)->window.start <= clock_.Now() + kHarmless) continue;
    log::Warn(
        "the re-issue is planned anew",
        {{"why", absl::StrCat("the clock was set back from ",
                              absl::FormatTime((*plan)->window.start, absl::UTCTimeZone()))}});
    plan->reset();
    dropped = true;
  }
  if (!dropped) return false;
  planned_epoch_.reset();
  planned_canary_.reset();
  return true;
}

Plans Pacing::PlansFor(const Issuers& issuers, const Workloads& workloads) {
  absl::MutexLock lock(&mutex_);
  PlanForEverybody(issuers, workloads);
  PlanForCanary(issuers, workloads);
  return plans_;
}

void Pacing::PlanForEverybody(const Issuers& issuers, const Workloads& workloads) {
  const bool known = planned_epoch_ == issuers.trust.issuer_epoch &&
                     std::includes(planned_retiring_.begin(), planned_retiring_.end(),
                                   issuers.retiring.begin(), issuers.retiring.end());
  planned_retiring_ = issuers.retiring;
  if (known) return;
  planned_epoch_ = issuers.trust.issuer_epoch;
  plans_.everybody.reset();
  if (issuers.trust.issuer_epoch <= 1 && issuers.retiring.empty()) return;
  plans_.everybody = rotation::PlanReissue(
      LeavesToReplace(workloads, issuers.trust.issuer.hex(), clock_.Now(),
                      [&](const fleet::Key& key) { return !issuers.InCanary(key.spiffe_id); }),
      server::RateOf(admission_.per_second(), issuers.budget), clock_.Now());
  const rotation::ReissuePlan& plan = *plans_.everybody;
  metrics_
      .Gauge("capstan_reissue_planned_certificates",
             "leaves that the issuer in force had to replace when the plan was made")
      .Set(static_cast<double>(plan.leaves));
  metrics_
      .Gauge("capstan_reissue_eta_timestamp_seconds",
             "when the plan to replace them is done, Unix seconds")
      .Set(absl::ToDoubleSeconds(plan.eta() - absl::UnixEpoch()));
  if (plan.leaves > 0) {
    log::Info("re-issue is planned",
              {{"issuer", issuers.trust.issuer.hex()}, {"why", rotation::Describe(plan)}});
  }
}

void Pacing::PlanForCanary(const Issuers& issuers, const Workloads& workloads) {
  if (planned_canary_ == issuers.canary) return;
  planned_canary_ = issuers.canary;
  plans_.canary.reset();
  if (!issuers.canary.has_value()) return;
  plans_.canary = rotation::PlanReissue(
      LeavesToReplace(workloads, issuers.canary->authority.hex(), clock_.Now(),
                      [&](const fleet::Key& key) { return issuers.InCanary(key.spiffe_id); }),
      server::RateOf(admission_.per_second(), issuers.budget), clock_.Now());
  log::Info("re-issue of the canary is planned", {{"canary", issuers.canary->canary.ToString()},
                                                  {"issuer", issuers.canary->authority.hex()},
                                                  {"why", rotation::Describe(*plans_.canary)}});
}

}  // namespace capstan::server
