// SPDX-License-Identifier: Apache-2.0
#include "fleet/fleet.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace capstan::fleet {
namespace {

bool HasUnexpiredLeaf(const Workload& workload, absl::Time now) {
  return workload.leaf.not_after > now || workload.credential.not_after > now ||
         (workload.report.has_value() && workload.report->leaf.not_after > now);
}

// A count that went down is of a consumer that began anew.
void NoteFailed(const Report& report, absl::Time now, Workload& workload) {
  if (!report.failed_verifications.has_value()) return;
  const int64_t failed = *report.failed_verifications;
  const bool anew =
      workload.report.has_value() && workload.report->failed_verifications.value_or(0) > failed;
  if (!workload.first_failed.has_value() || anew || workload.first_failed->failed > failed) {
    workload.first_failed = {failed, now};
  }
}

}  // namespace

std::string_view GradeName(Grade grade) {
  switch (grade) {
    case Grade::kAcknowledged:
      return "acknowledged";
    case Grade::kAgentAcknowledged:
      return "agent-acknowledged";
    case Grade::kTold:
      return "told";
    case Grade::kLaggard:
      return "laggard";
    case Grade::kAbsent:
      return "absent";
  }
  return "unknown";
}

Judgement Judge(const Workload& workload, const Current& current, absl::Time now) {
  const Standing standing =
      StandingOf(workload, {.bundle = current.bundle, .authorities = {current.issuer}}, now);
  for (const std::string* missing : {&standing.agent, &standing.moved, &standing.trusts}) {
    if (missing->empty()) continue;
    return {standing.connected ? Grade::kLaggard : Grade::kAbsent, *missing};
  }
  if (!standing.by_word) return {Grade::kAcknowledged, ""};
  return {standing.connected ? Grade::kAgentAcknowledged : Grade::kTold, ""};
}

const Workload* Fleet::Find(const Key& key) const {
  auto there = workloads_.find(key);
  return there == workloads_.end() ? nullptr : &there->second;
}

absl::Status Fleet::CheckRoom(const Key& key) const {
  if (workloads_.size() < limits_.workloads || workloads_.contains(key)) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("the population is full: ", limits_.workloads,
                                                   " workloads hold unexpired leaves"));
}

// A stock agent tells nothing of leaves: what was issued to it last is what it serves.
void Fleet::FillIn(Workload& workload) {
  if (!workload.stock()) return;
  workload.report->leaf = workload.leaf;
  for (Consumer& consumer : workload.report->consumers) {
    consumer.acknowledged_leaf_serial = workload.leaf.serial;
  }
}

absl::Status Fleet::Issued(const Key& key, Purpose purpose, const Leaf& leaf, absl::Time seen) {
  CAPSTAN_RETURN_IF_ERROR(CheckRoom(key));
  Workload& workload = workloads_[key];
  (purpose == Purpose::kWorkload ? workload.leaf : workload.credential) = leaf;
  FillIn(workload);
  workload.last_seen = std::max(workload.last_seen, seen);
  Touch(key, seen);
  return absl::OkStatus();
}

void Fleet::Restore(const Key& key, Purpose purpose, const Leaf& leaf,
                    std::vector<std::string> consumers, absl::Time seen) {
  Workload& workload = workloads_[key];
  (purpose == Purpose::kWorkload ? workload.leaf : workload.credential) = leaf;
  if (!consumers.empty()) workload.known_consumers = std::move(consumers);
  workload.last_seen = std::max(workload.last_seen, seen);
  Touch(key, seen);
}

absl::StatusOr<int64_t> Fleet::Connect(const Key& key, absl::Time now) {
  CAPSTAN_RETURN_IF_ERROR(CheckRoom(key));
  Workload& workload = workloads_[key];
  if (!workload.connected()) ++connected_;
  workload.generation = ++last_generation_;
  workload.last_seen = now;
  // What an earlier connection said may be of an agent that is no more.
  if (workload.report.has_value()) workload.before = std::move(workload.report);
  workload.report.reset();
  workload.clock_offset.reset();
  offsets_.Forget(key);
  Touch(key, now);
  return workload.generation;
}

absl::Status Fleet::Fold(const Key& key, int64_t generation, Report report, absl::Time now) {
  auto there = workloads_.find(key);
  if (there == workloads_.end() || there->second.generation != generation) {
    return absl::AbortedError("a later stream speaks for this workload");
  }
  if (report.consumers.size() > limits_.consumers_per_workload) {
    return absl::ResourceExhaustedError(absl::StrCat("a report with ", report.consumers.size(),
                                                     " consumers; at most ",
                                                     limits_.consumers_per_workload));
  }
  Workload& workload = there->second;
  workload.known_consumers.clear();
  for (const Consumer& consumer : report.consumers) workload.known_consumers.push_back(consumer.id);
  if (report.agent_time.has_value()) {
    workload.clock_offset = *report.agent_time - now;
    offsets_.Tell(key, *workload.clock_offset, now);
  }
  NoteFailed(report, now, workload);
  workload.report = std::move(report);
  FillIn(workload);
  workload.before.reset();
  workload.last_seen = now;
  Touch(key, now);
  return absl::OkStatus();
}

void Fleet::Disconnect(const Key& key, int64_t generation, absl::Time now) {
  auto there = workloads_.find(key);
  if (there == workloads_.end() || there->second.generation != generation) return;
  there->second.generation = 0;
  offsets_.Forget(key);
  there->second.last_seen = now;
  --connected_;
  Touch(key, now);
}

bool Fleet::Saw(const Key& key, std::optional<Sighting> sighting, absl::Time now) {
  const auto there = workloads_.find(key);
  if (there == workloads_.end() || there->second.sighting == sighting) return false;
  there->second.sighting = std::move(sighting);
  Touch(key, now);
  return true;
}

void Fleet::Forget(absl::Time now) {
  for (auto entry = workloads_.begin(); entry != workloads_.end();) {
    const auto here = entry++;
    if (here->second.connected() || HasUnexpiredLeaf(here->second, now)) continue;
    const Key key = here->first;
    workloads_.erase(here);
    Touch(key, now);
  }
}

std::map<std::string, int64_t> Fleet::UnexpiredLeaves(absl::Time now) const {
  std::map<std::string, int64_t> counts;
  for (const auto& [key, workload] : workloads_) {
    for (const Leaf* leaf : {&workload.leaf, &workload.credential}) {
      if (leaf->not_after > now) ++counts[leaf->authority];
    }
  }
  return counts;
}

void Fleet::Measure(const Target& target, absl::Time now) {
  if (target == target_ && standings_.size() == workloads_.size()) return;
  target_ = target;
  MeasureAll(now);
}

void Fleet::MeasureAll(absl::Time now) {
  tally_ = {};
  standings_.clear();
  ends_.clear();
  last_end_ = absl::InfinitePast();
  for (const auto& [key, workload] : workloads_) Touch(key, now);
}

const Tally& Fleet::TallyAt(absl::Time now) {
  // The clock was set back: what had ended by it has not.
  if (now < last_end_) MeasureAll(now);
  while (!ends_.empty() && ends_.begin()->first <= now) Touch(Key(ends_.begin()->second), now);
  return tally_;
}

// Replaces what this workload adds to the sums.
void Fleet::Touch(const Key& key, absl::Time now) {
  const auto add = [this](const Standing& standing, int64_t sign) {
    if (!standing.counted) return;
    tally_.population += sign;
    if (standing.connected) tally_.connected += sign;
    if (standing.agent.empty()) tally_.agents += sign;
    if (standing.trusts.empty()) tally_.trusting += sign;
    if (standing.trusts.empty() && standing.by_word) tally_.by_word += sign;
    if (standing.moved.empty()) tally_.moved += sign;
    if (standing.probed && standing.proven.empty()) tally_.proven += sign;
    if (standing.canary) tally_.canary += sign;
    if (standing.canary && standing.moved.empty()) tally_.canary_moved += sign;
    if (standing.untold) tally_.untold += sign;
  };
  const Standing before = standings_.contains(key) ? standings_[key] : Standing();
  add(before, -1);
  ends_.erase({before.until, key});
  tally_.failed.erase(key);
  const auto workload = workloads_.find(key);
  if (workload == workloads_.end()) {
    standings_.erase(key);
    tally_.lacking.erase(key);
    return;
  }
  Standing standing =
      StandingOf(workload->second, target_, now,
                 target_.canary.has_value() && target_.canary->Selects(key.spiffe_id));
  add(standing, 1);
  if (standing.failed > 0) tally_.failed[key] = standing.failed;
  if (standing.until > now && standing.until != absl::InfiniteFuture()) {
    ends_.insert({standing.until, key});
  } else if (standing.until <= now) {
    last_end_ = std::max(last_end_, standing.until);
  }
  if (standing.counted && (!standing.harm.empty() || !Complete(standing, target_))) {
    tally_.lacking[key] = standing;
  } else {
    tally_.lacking.erase(key);
  }
  standings_[key] = std::move(standing);
}

}  // namespace capstan::fleet
