// SPDX-License-Identifier: Apache-2.0
// TrustKeeper's walk: from what is to what is wished, through the gates.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "server/history_writer.h"
#include "server/records.h"
#include "server/rotation_record.h"
#include "server/story.h"
#include "server/trust_keeper.h"

namespace capstan::server {
namespace {

using rotation::Exemption;
using rotation::Holder;
using rotation::Observation;
using rotation::Situation;
using rotation::Standing;
using rotation::Step;
using rotation::StepKind;

bool Changed(const Standing& a, const Standing& b) {
  return a.state != b.state || !(a.authority == b.authority);
}

// The name an instance is excluded by, or its identity's, which stands for all of its instances.
bool Names(const std::string& name, const Holder& holder) {
  return rotation::StandsFor(name, holder) || absl::StartsWith(holder.name, name + "#");
}

// Of whom a pattern may speak: workloads. Two stars are enough for anything, and soon matched.
absl::Status CheckPattern(const std::string& name) {
  if (name.starts_with("spiffe://") && std::count(name.begin(), name.end(), '*') <= 2) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the pattern \"", name, "\" does not begin with spiffe://, or has more than ",
                   "two \"*\": such as spiffe://cluster.local/ns/old/*"));
}

// An authority that did not sign before the step and does after it.
bool BeginsToSign(const Situation& before, const Standing& after) {
  if (after.state != trust::AuthorityState::kActive) return false;
  const auto known = before.authorities.find(after.authority.id);
  return known == before.authorities.end() || known->second.state != trust::AuthorityState::kActive;
}

bool IsTrustedRoot(const trust::Authority& authority, const trust::Bundle& bundle) {
  return authority.certificate == authority.root && bundle.Contains(authority.root);
}

}  // namespace

absl::Status TrustKeeper::Advance() {
  absl::MutexLock lock(&mutex_);
  Outcome outcome;
  return Walk(outcome);
}

absl::Status TrustKeeper::Walk(Outcome& outcome) {
  if (!desired_.has_value() || desired_->applied()) return absl::OkStatus();
  const size_t done_before = outcome.steps.size();
  absl::Status walked = TakeSteps(outcome);
  if (outcome.steps.size() > done_before) {
    if (auto serving = serving_.Get()) story::Certificates(*serving, *situation_);
    story::ReloadDone(*situation_);
  }
  return walked;
}

absl::Status TrustKeeper::TakeSteps(Outcome& outcome) {
  while (true) {
    RefreshReservations();
    const rotation::Instant now{clock_.Now(), clock_.Monotonic()};
    const rotation::Rotation rotation =
        RotationOf(rotation_.value_or(store::RotationRecord()), exempt_, options_.rotation);
    const rotation::Question question = machine_.Ask(*situation_, *wish_, rotation, now);
    seen_ = Look(question.gate, now.wall);
    decision_ = machine_.Decide(question, seen_, rotation, now);
    SayWhatIsWaitedFor(decision_);
    if (!decision_.turn_back.empty()) {
      return TurnBack("rolled-back",
                      absl::StrCat("by itself, for the canary's harm: ", decision_.turn_back));
    }
    if (decision_.finished) return FinishWish(decision_.passed_over);
    const std::optional<Step> step = std::exchange(decision_.step, std::nullopt);
    if (!step.has_value()) return absl::OkStatus();
    const Situation before = *situation_;
    CAPSTAN_RETURN_IF_ERROR(
        Annotate(Perform(*step, decision_.passed_over),
                 absl::StrCat("stopped before ", rotation::StepName(step->kind))));
    story::StepDone(*step, before);
    outcome.steps.push_back(absl::StrCat(rotation::StepName(step->kind), ": ", step->why));
  }
}

// Whose leaves, under what is to leave, no record here tells of.
std::vector<Holder> TrustKeeper::Others(const rotation::Gate& gate, absl::Time now) const {
  std::vector<Holder> others = HoldersAmong(options_.foreign_signers, gate.leaving_roots);
  for (const auto& [signer, unseen] : unseen_) {
    if (unseen.until <= now || !gate.Concerns(signer)) continue;
    const bool foreign = absl::StartsWith(signer, "root:");
    others.push_back({foreign ? Holder::Kind::kForeign : Holder::Kind::kUnrecorded, signer,
                      unseen.why, unseen.until});
  }
  return others;
}

std::vector<Holder> TrustKeeper::OthersUnder(const std::set<std::string>& roots) const {
  absl::MutexLock lock(&mutex_);
  rotation::Gate gate{.kind = rotation::GateKind::kMove};
  gate.leaving_roots = roots;
  return Others(gate, clock_.Now());
}

// What the observer sees, and what the keeper itself knows to keep this gate shut.
Observation TrustKeeper::Look(const rotation::Gate& gate, absl::Time now) {
  if (gate.kind == rotation::GateKind::kNone) return {};
  Observation seen = observer_.Observe(gate, now);
  for (Holder& other : Others(gate, now)) seen.holders.push_back(std::move(other));
  if (gate.kind == rotation::GateKind::kCanary) FindRises(now, seen);
  std::sort(seen.holders.begin(), seen.holders.end(),
            [](const Holder& a, const Holder& b) { return a.name < b.name; });
  return seen;
}

// What others count is measured by what they counted when the canary began; by what they told
// first, where they told nothing then.
void TrustKeeper::FindRises(absl::Time now, Observation& seen) const {
  if (!seen.canary.has_value()) return;
  const auto began = state_since_.find(wish_->issuer);
  const absl::Duration since =
      began == state_since_.end() ? absl::ZeroDuration() : now - began->second;
  for (const auto& [name, count] : seen.canary->failed) {
    const auto known = baselines_.find(name);
    const rotation::Baseline baseline =
        known == baselines_.end() ? rotation::Baseline{count.first, 0} : known->second;
    std::string why = rotation::RiseOver(baseline, count.failed, since);
    if (!why.empty()) seen.alarms.push_back({name, std::move(why)});
  }
  std::stable_sort(
      seen.alarms.begin(), seen.alarms.end(),
      [](const rotation::Alarm& a, const rotation::Alarm& b) { return a.name < b.name; });
}

std::vector<store::BaselineRecord> TrustKeeper::BaselinesNow() const {
  std::vector<store::BaselineRecord> records;
  for (const auto& [name, baseline] : observer_.Baselines(clock_.Now())) {
    records.push_back({name, baseline.failed, static_cast<int64_t>(std::ceil(baseline.per_hour))});
  }
  return records;
}

// One line whenever it becomes something else; not for every step of a count, nor for each of
// many who are named first in turn.
void TrustKeeper::SayWhatIsWaitedFor(const rotation::Decision& decision) {
  constexpr absl::Duration kSayEvery = absl::Seconds(10);
  if (!running()) return;
  const rotation::GateReport& report = decision.gate;
  const std::string gate = report.open ? "" : std::string(rotation::GateName(report.gate.kind));
  std::string waits = gate;
  if (!report.holders.empty()) {
    absl::StrAppend(&waits, " ", report.holders.front().name, " ", report.holders.front().why);
  }
  const absl::Duration now = clock_.Monotonic();
  if (waits == said_ || (gate == said_gate_ && now - said_at_ < kSayEvery)) return;
  said_ = waits;
  said_gate_ = gate;
  said_at_ = now;
  if (waits.empty()) return;
  log::Info("the rotation waits", {{"rotation", rotation_->number},
                                   {"phase", rotation_->phase},
                                   {"gate", rotation::GateName(report.gate.kind)},
                                   {"next", decision.next},
                                   {"why", report.summary}});
}

// The journal first, then the effect. What the effect needs is made before both, so that nothing is
// written that cannot be done.
absl::Status TrustKeeper::Perform(const Step& step, const std::vector<Exemption>& passed_over) {
  Situation after = step.after;
  store::Change change;
  for (auto& [id, standing] : after.authorities) {
    if (BeginsToSign(*situation_, standing) ||
        (step.kind == StepKind::kSwitchIssuer && id == after.trust.issuer)) {
      standing.reserved_until =
          std::max(standing.reserved_until,
                   ReservedUntil(standing.authority, options_.policy.max_ttl, clock_.Now()));
    } else if (auto known = situation_->authorities.find(id);
               known != situation_->authorities.end() && !Changed(known->second, standing)) {
      continue;
    }
    store::AuthorityRecord record = RecordOfAuthority(standing);
    if (auto known = situation_->authorities.find(id);
        known == situation_->authorities.end() || known->second.state != standing.state) {
      record.state_since = clock_.Now();
    }
    change.authorities.push_back(std::move(record));
  }
  std::optional<Serving> serving;
  if (step.kind == StepKind::kMoveServing) {
    CAPSTAN_ASSIGN_OR_RETURN(serving, NewServing(*after.serving));
  }
  if (step.kind == StepKind::kSwitchIssuer) {
    CAPSTAN_RETURN_IF_ERROR(SignerOf(after.trust.issuer).status());
  }
  if (step.kind == StepKind::kStartCanary) {
    CAPSTAN_RETURN_IF_ERROR(SignerOf(wish_->issuer).status());
    change.baselines = BaselinesNow();
  }
  change.trust = RecordOf(after);
  if (NeedsHistory(*situation_, after)) {
    change.history = HistoryOf(*situation_, after, options_.serving_names.id.trust_domain(),
                               SignerOf(situation_->trust.issuer), random_, clock_.Now());
  }
  change.journal = {Entry(std::string(rotation::StepName(step.kind)), step.why, after)};
  if (running()) {
    change.rotation = rotation_;
    NotePhase(after, *wish_, clock_.Now(), *change.rotation);
  }
  Record(passed_over, change);
  CAPSTAN_RETURN_IF_ERROR(Commit(change));

  situation_ = std::move(after);
  Take(change);
  if (situation_->trust.issuer_epoch > 0) CAPSTAN_RETURN_IF_ERROR(PublishSigning());
  if (serving.has_value()) serving_.Set(std::make_shared<const Serving>(*std::move(serving)));
  PublishTrust();
  return absl::OkStatus();
}

absl::Status TrustKeeper::FinishWish(const std::vector<Exemption>& passed_over) {
  store::DesiredRecord applied = *desired_;
  applied.applied_at = clock_.Now();
  store::Change change;
  change.desired = applied;
  change.journal = {Entry("applied", "every step is done", *situation_)};
  if (running()) {
    change.rotation = rotation_;
    change.rotation->finished_at = clock_.Now();
    change.rotation->paused = false;
  }
  Record(passed_over, change);
  CAPSTAN_RETURN_IF_ERROR(Annotate(Commit(change), "everything is done, but not noted"));
  desired_ = applied;
  Take(change);
  if (change.rotation.has_value()) {
    log::Info("the rotation is over",
              {{"rotation", rotation_->number},
               {"outcome", rotation_->outcome},
               {"took", absl::FormatDuration(absl::Trunc(
                            rotation_->finished_at - rotation_->started_at, absl::Seconds(1)))},
               {"passed_over", exempt_.size()}});
  }
  return absl::OkStatus();
}

void TrustKeeper::Record(const std::vector<Exemption>& passed_over, store::Change& change) const {
  for (const Exemption& exemption : passed_over) {
    if (!running()) return;
    change.exemptions.push_back({rotation_->number, exemption.name, exemption.why, exemption.at});
    change.journal.push_back(
        Entry("passed-over", absl::StrCat(exemption.name, ": ", exemption.why), *situation_));
  }
}

// What was committed is what is.
void TrustKeeper::Take(const store::Change& change) {
  if (change.rotation.has_value()) {
    if (!rotation_.has_value() || rotation_->number != change.rotation->number) exempt_.clear();
    rotation_ = change.rotation;
  }
  for (const store::ExemptionRecord& exemption : change.exemptions) {
    exempt_[exemption.name] = exemption;
  }
  for (const store::UnseenRecord& unseen : change.unseen) {
    const auto [there, added] = unseen_.emplace(unseen.signer, unseen);
    if (!added && there->second.until < unseen.until) there->second = unseen;
  }
  if (change.baselines.has_value()) {
    baselines_.clear();
    for (const store::BaselineRecord& record : *change.baselines) {
      baselines_[record.name] = {record.failed, static_cast<double>(record.per_hour)};
    }
  }
  for (const store::AuthorityRecord& record : change.authorities) {
    if (auto id = trust::AuthorityId::Parse(record.id); id.ok()) {
      state_since_[*id] = record.state_since;
    }
  }
}

absl::Status TrustKeeper::Steer(Steering action, const std::string& reason) {
  const std::string why =
      reason.empty() ? "by the operator" : absl::StrCat("by the operator: ", reason);
  absl::MutexLock lock(&mutex_);
  if (!running()) return absl::FailedPreconditionError("no rotation is running");
  store::RotationRecord record = *rotation_;
  switch (action) {
    case Steering::kPause:
      if (record.paused) return absl::FailedPreconditionError("the rotation is paused already");
      record.paused = true;
      return WriteRotation(std::move(record), "pause", why);
    case Steering::kResume: {
      if (!record.paused) return absl::FailedPreconditionError("the rotation is not paused");
      record.paused = false;
      CAPSTAN_RETURN_IF_ERROR(WriteRotation(std::move(record), "resume", why));
      Outcome outcome;
      return Walk(outcome);
    }
    case Steering::kRollback:
      return TurnBack("rolled-back", why);
    case Steering::kAbort:
      if (situation_->trust.issuer.hex() != record.from_issuer) {
        return absl::FailedPreconditionError(
            "the new authority signs already: that is turned back with `capstan rotate rollback`");
      }
      return TurnBack("aborted", why);
  }
  return absl::InternalError("no such action");
}

// The way back is a wish like any other, gated the same: what was there before the rotation.
absl::Status TrustKeeper::TurnBack(const char* outcome, const std::string& why) {
  store::RotationRecord record = *rotation_;
  if (record.outcome != "done") {
    return absl::FailedPreconditionError("the rotation is on its way back already");
  }
  store::DesiredRecord back;
  back.digest = absl::StrCat("before rotation ", record.number);
  back.source = outcome;
  back.roots_pem = record.from_roots_pem;
  back.crls_pem = record.from_crls_pem;
  back.issuer = record.from_issuer;
  back.accepted_at = clock_.Now();
  CAPSTAN_ASSIGN_OR_RETURN(rotation::Wish wish, WishOf(back));
  if (!situation_->trust.bundle.Includes(wish.bundle)) {
    return absl::FailedPreconditionError(
        "the old root has left the bundle already: nobody trusts it any more. To go back to it, "
        "start a rotation to it");
  }
  CAPSTAN_RETURN_IF_ERROR(rotation::CheckWish(*situation_, wish, clock_.Now()));
  record.outcome = outcome;
  record.turned_why = why;
  record.paused = false;
  record.phase.clear();
  NotePhase(*situation_, wish, clock_.Now(), record);
  store::Change change;
  change.desired = back;
  change.refuse = desired_->digest;
  change.rotation = record;
  change.journal = {Entry(outcome, absl::StrCat(why, "; back to what was before"), *situation_)};
  const std::string refused = desired_->digest;
  CAPSTAN_RETURN_IF_ERROR(Commit(change));
  log::Warn("the rotation turns back",
            {{"rotation", record.number}, {"outcome", outcome}, {"why", why}});
  desired_ = back;
  wish_ = std::move(wish);
  refused_.push_back(refused);
  Take(change);
  Outcome walked;
  return Walk(walked);
}

absl::Status TrustKeeper::Exclude(const std::string& name, const std::string& reason) {
  absl::MutexLock lock(&mutex_);
  if (!running()) return absl::FailedPreconditionError("no rotation is running");
  const bool pattern = rotation::IsPattern(name);
  if (pattern) CAPSTAN_RETURN_IF_ERROR(CheckPattern(name));
  std::vector<store::ExemptionRecord> exemptions;
  for (const Holder& holder : decision_.gate.holders) {
    if (!Names(name, holder)) continue;
    if (pattern) {
      // Everybody whom it stands for is recorded as they are passed over.
      exemptions.push_back({rotation_->number, name,
                            absl::StrCat("excluded by the operator, as ", name, ": ", reason),
                            clock_.Now()});
      break;
    }
    if (holder.kind == Holder::Kind::kClock) {
      return absl::FailedPreconditionError(
          absl::StrCat("a clock that is not confirmed cannot be passed over: ", holder.why));
    }
    exemptions.push_back({rotation_->number, holder.name,
                          absl::StrCat("excluded by the operator: ", reason, " (", holder.why, ")"),
                          clock_.Now()});
  }
  if (exemptions.empty()) {
    return absl::NotFoundError(absl::StrCat(
        "\"", name, "\" keeps no gate shut now; `capstan rotate explain` names who does",
        pattern ? ". A pattern is for those who are absent: who is connected is excluded by name"
                : ""));
  }
  CAPSTAN_RETURN_IF_ERROR(WriteRotation(*rotation_, "exclude", absl::StrCat(name, ": ", reason),
                                        std::move(exemptions)));
  Outcome outcome;
  return Walk(outcome);
}

absl::Status TrustKeeper::WriteRotation(store::RotationRecord record, std::string kind,
                                        std::string why,
                                        std::vector<store::ExemptionRecord> exemptions) {
  store::Change change;
  change.rotation = std::move(record);
  change.exemptions = std::move(exemptions);
  change.journal = {Entry(std::move(kind), std::move(why), *situation_)};
  CAPSTAN_RETURN_IF_ERROR(Commit(change));
  log::Info("the rotation was steered", {{"rotation", change.rotation->number},
                                         {"action", change.journal.front().kind},
                                         {"why", change.journal.front().why}});
  Take(change);
  return absl::OkStatus();
}

// Keys of retired authorities stay, sealed, for a while: for the way back, and for questions.
absl::Status TrustKeeper::DestroyOldKeys() {
  if (options_.retired_key_retention == absl::InfiniteDuration() || running()) {
    return absl::OkStatus();
  }
  const absl::Time now = clock_.Now();
  std::vector<trust::AuthorityId> due;
  for (const auto& [id, standing] : situation_->authorities) {
    if (standing.state != trust::AuthorityState::kRetired || !standing.has_key) continue;
    if (options_.keep_root_keys && IsTrustedRoot(standing.authority, situation_->trust.bundle)) {
      continue;
    }
    if (id != situation_->serving && now - state_since_[id] >= options_.retired_key_retention) {
      due.push_back(id);
    }
  }
  if (due.empty() || !rotation::ClockDoubt(observer_.Observe({}, now), options_.rotation).empty()) {
    return absl::OkStatus();
  }
  for (const trust::AuthorityId& id : due) CAPSTAN_RETURN_IF_ERROR(DestroyKey(id));
  return absl::OkStatus();
}

absl::Status TrustKeeper::DestroyKey(const trust::AuthorityId& id) {
  Standing& standing = situation_->authorities.at(id);
  store::Change change;
  change.authorities = {RecordOfAuthority(standing)};
  change.authorities.front().sealed_key.clear();
  change.journal = {Entry("destroy-key",
                          absl::StrCat("authority ", id.hex(), " retired at ",
                                       absl::FormatTime(state_since_[id], absl::UTCTimeZone())),
                          *situation_)};
  CAPSTAN_RETURN_IF_ERROR(Commit(change));
  log::Info("the key of a retired authority was destroyed", {{"authority", id.hex()}});
  sealed_[id].clear();
  issuers_.erase(id);
  standing.has_key = false;
  return absl::OkStatus();
}

}  // namespace capstan::server
