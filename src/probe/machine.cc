// SPDX-License-Identifier: Apache-2.0
#include "probe/machine.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/jitter.h"

namespace capstan::probe {
namespace {

using fleet::v1::ProbeResult;
using lifecycle::Instant;
using trust::AuthorityId;

bool Holds(const std::vector<AuthorityId>& authorities, const AuthorityId& id) {
  return std::find(authorities.begin(), authorities.end(), id) != authorities.end();
}

std::set<std::string> Ids(const std::set<ProbedConsumer>& consumers) {
  std::set<std::string> ids;
  for (const ProbedConsumer& consumer : consumers) ids.insert(consumer.id);
  return ids;
}

}  // namespace

ProbeMachine::ProbeMachine(std::string seed, size_t targets, Policy policy)
    : seed_(std::move(seed)), targets_(targets), policy_(policy) {}

ProbeMachine::Decision ProbeMachine::On(const Event& event, Instant now) {
  Decision decision;
  std::visit([&](const auto& e) { Handle(e, now, decision); }, event);
  Advance(now, decision);
  return decision;
}

void ProbeMachine::Handle(const Asked& event, Instant now, Decision& decision) {
  if (event.probing == probing_) return;
  probing_ = event.probing;
  decision.changed = true;
  steps_.clear();
  failures_.clear();
  for (auto leaf = leaves_.begin(); leaf != leaves_.end();) {
    if (IsAsked(leaf->first)) {
      ++leaf;
    } else {
      decision.actions.push_back(DropLeaf{leaf->first});
      leaf = leaves_.erase(leaf);
    }
  }
  due_ = absl::InfiniteDuration();
  if (probing_.empty()) return;  // what was found stays, until something else is asked
  std::erase_if(results_, [this](const auto& entry) { return !IsAsked(entry.first.second); });
  Call(policy_.settle + policy_.spread * Jitter(seed_, probing_.accepted.front().hex()), now);
}

void ProbeMachine::Handle(const Serving& event, Instant now, Decision& decision) {
  if (event.bundle == serving_) return;
  serving_ = event.bundle;
  ForgetResults(decision);
  Call(policy_.settle, now);
}

void ProbeMachine::Handle(const Consumers& event, Instant now, Decision& decision) {
  if (event.connected == consumers_) return;
  const bool others = Ids(event.connected) != Ids(consumers_);
  consumers_ = event.connected;
  if (others) {
    ForgetResults(decision);
  } else {
    // What they would be asked again cannot be asked without a certificate.
    std::erase_if(results_, [&](const auto& entry) {
      const AuthorityId& id = entry.first.second;
      return IsAsked(id) && !IsAccepted(id) && !Usable(id, now);
    });
    decision.changed = true;
  }
  Call(policy_.settle, now);
}

void ProbeMachine::Handle(const LeafObtained& event, Instant now, Decision& decision) {
  if (!running_.has_value() || running_->target.has_value()) return;
  const AuthorityId id = running_->authority;
  running_.reset();
  outdated_ = false;
  if (!IsAsked(id)) {  // in the meantime
    decision.actions.push_back(DropLeaf{id});
    return;
  }
  leaves_.insert_or_assign(id, Held{event.not_after, now.monotonic, event.not_after - now.wall});
  decision.changed |= failures_.erase(id) > 0;
}

void ProbeMachine::Handle(const LeafFailed& event, Instant, Decision& decision) {
  if (!running_.has_value() || running_->target.has_value()) return;
  const AuthorityId id = running_->authority;
  running_.reset();
  outdated_ = false;
  if (!IsAccepted(id)) return;
  std::string& failure = failures_[id];
  decision.changed |= failure != event.why;
  failure = event.why;
}

void ProbeMachine::Handle(const Tried& event, Instant now, Decision& decision) {
  if (!running_.has_value() || !running_->target.has_value()) return;
  const Step step = *std::exchange(running_, std::nullopt);
  if (std::exchange(outdated_, false) || !IsAsked(step.authority)) return;
  ProbeOutcome outcome = event.outcome;
  outcome.at = now.wall;
  outcome.bundle = step.bundle;
  results_.insert_or_assign({*step.target, step.authority}, std::move(outcome));
  decision.changed = true;
}

void ProbeMachine::Handle(const Woke&, Instant, Decision&) {}

bool ProbeMachine::IsAccepted(const AuthorityId& id) const {
  return Holds(probing_.accepted, id);
}

bool ProbeMachine::IsAsked(const AuthorityId& id) const {
  return IsAccepted(id) || Holds(probing_.refused, id);
}

// By the clock that says less: the wall clock may step.
absl::Duration ProbeMachine::LifeLeft(const AuthorityId& id, Instant now) const {
  auto leaf = leaves_.find(id);
  if (leaf == leaves_.end()) return absl::ZeroDuration();
  const Held& held = leaf->second;
  return std::min(held.not_after - now.wall, held.life - (now.monotonic - held.obtained));
}

bool ProbeMachine::Usable(const AuthorityId& id, Instant now) const {
  return LifeLeft(id, now) > policy_.least_life;
}

// Half of its life is kept for the time after its root has left, when no other can be obtained.
bool ProbeMachine::Fresh(const AuthorityId& id, Instant now) const {
  return Usable(id, now) && LifeLeft(id, now) > leaves_.at(id).life / 2;
}

bool ProbeMachine::Worthwhile(Instant now) const {
  if (probing_.empty()) return false;
  const bool somebody =
      std::any_of(consumers_.begin(), consumers_.end(),
                  [](const ProbedConsumer& consumer) { return !consumer.bundle.empty(); });
  if (!somebody) return false;
  // Once it is about refusals, the others are but the control.
  return probing_.refused.empty() ||
         std::any_of(probing_.refused.begin(), probing_.refused.end(),
                     [&](const AuthorityId& id) { return Usable(id, now); });
}

bool ProbeMachine::AsAsked(Instant now) const {
  const auto is = [&](size_t target, const AuthorityId& id, ProbeResult::Verdict verdict) {
    auto result = results_.find({target, id});
    return result != results_.end() && result->second.verdict == verdict;
  };
  for (size_t target = 0; target < targets_; ++target) {
    for (const AuthorityId& id : probing_.accepted) {
      if (!is(target, id, ProbeResult::ACCEPTED)) return false;
    }
    for (const AuthorityId& id : probing_.refused) {
      if (Usable(id, now) && !is(target, id, ProbeResult::UNKNOWN_CA)) return false;
    }
  }
  return true;
}

void ProbeMachine::ForgetResults(Decision& decision) {
  results_.clear();
  steps_.clear();
  outdated_ = running_.has_value();
  decision.changed = true;
}

// For a round soon; one that was due and could not begin is not waited for.
void ProbeMachine::Call(absl::Duration delay, Instant now) {
  const absl::Duration at = now.monotonic + delay;
  due_ = due_ > now.monotonic ? std::min(due_, at) : at;
}

void ProbeMachine::PlanRound() {
  ++rounds_;
  in_round_ = true;
  due_ = absl::InfiniteDuration();
  for (const AuthorityId& id : probing_.accepted) steps_.push_back({std::nullopt, id});
  for (size_t target = 0; target < targets_; ++target) {
    for (const AuthorityId& id : probing_.accepted) steps_.push_back({target, id});
    for (const AuthorityId& id : probing_.refused) steps_.push_back({target, id});
  }
}

void ProbeMachine::EndRound(Instant now) {
  const absl::Duration period = AsAsked(now) ? policy_.proven : policy_.unproven;
  const double jitter = 0.9 + 0.2 * Jitter(seed_, absl::StrCat("round#", rounds_));
  due_ = std::min(due_, now.monotonic + period * jitter);
  in_round_ = false;
}

// Nothing runs afterwards where there is nothing to do for it.
void ProbeMachine::Begin(const Step& step, Instant now, Decision& decision) {
  if (!step.target.has_value()) {
    if (Fresh(step.authority, now)) return;
    decision.actions.push_back(ObtainLeaf{step.authority});
  } else {
    if (!Usable(step.authority, now)) return;
    decision.actions.push_back(Try{*step.target, step.authority});
  }
  running_ = step;
  running_->bundle = serving_;
  outdated_ = false;
}

void ProbeMachine::Advance(Instant now, Decision& decision) {
  absl::Duration wake = absl::InfiniteDuration();
  while (!running_.has_value()) {
    if (!steps_.empty()) {
      const Step step = steps_.front();
      steps_.pop_front();
      Begin(step, now, decision);
      continue;
    }
    if (in_round_) EndRound(now);
    if (!Worthwhile(now)) break;
    if (due_ > now.monotonic) {
      wake = due_ - now.monotonic;
      break;
    }
    PlanRound();
  }
  decision.actions.push_back(WakeAfter{wake});
}

std::vector<ProbeMachine::Result> ProbeMachine::results(Instant now) const {
  const bool going_on = Worthwhile(now);
  std::vector<Result> all;
  for (size_t target = 0; target < targets_; ++target) {
    const size_t before = all.size();
    for (const auto& [key, outcome] : results_) {
      if (key.first == target) all.push_back({target, key.second, outcome});
    }
    const auto missing = [&](const AuthorityId& id) {
      if (results_.contains({target, id})) return;
      auto failure = failures_.find(id);
      all.push_back({target, id, {.detail = failure == failures_.end() ? "" : failure->second}});
    };
    for (const AuthorityId& id : probing_.accepted) {
      if (going_on || probing_.refused.empty()) missing(id);
    }
    for (const AuthorityId& id : probing_.refused) {
      if (Usable(id, now)) missing(id);
    }
    if (all.size() == before) all.push_back({target, std::nullopt, {}});
  }
  return all;
}

}  // namespace capstan::probe
