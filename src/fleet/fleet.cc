// SPDX-License-Identifier: Apache-2.0
#include "fleet/fleet.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace capstan::fleet {
namespace {

std::string UtcTime(absl::Time time) {
  return absl::FormatTime(time, absl::UTCTimeZone());
}

std::string Named(const Consumer& consumer) {
  std::string name = consumer.kind == ConsumerKind::kFiles ? "the file set" : "Envoy";
  if (!consumer.node_id.empty()) absl::StrAppend(&name, " ", consumer.node_id);
  if (consumer.pid != 0) absl::StrAppend(&name, " (pid ", consumer.pid, ")");
  return name;
}

std::string Version(const trust::BundleVersion& version) {
  return version.empty() ? "none" : absl::StrCat("sequence ", version.sequence);
}

// What one connected consumer still lacks; "" for nothing.
std::string Missing(const Consumer& consumer, const Current& current, const Leaf& leaf) {
  std::string refused;
  if (consumer.last_nack.has_value() && consumer.last_nack->at >= consumer.acknowledged_at) {
    refused = absl::StrCat("; it refused ", consumer.last_nack->resource, ": ",
                           consumer.last_nack->message);
  }
  if (consumer.acknowledged_bundle != current.bundle) {
    return absl::StrCat(Named(consumer), " has not acknowledged the bundle of sequence ",
                        current.bundle.sequence, " (it has ", Version(consumer.acknowledged_bundle),
                        ")", refused);
  }
  if (consumer.acknowledged_leaf_serial != leaf.serial) {
    return absl::StrCat(Named(consumer), " has not acknowledged the leaf ", leaf.serial, refused);
  }
  return "";
}

Judgement Laggard(std::string why) {
  return {Grade::kLaggard, std::move(why)};
}

bool HasUnexpiredLeaf(const Workload& workload, absl::Time now) {
  return workload.leaf.not_after > now || workload.credential.not_after > now ||
         (workload.report.has_value() && workload.report->leaf.not_after > now);
}

}  // namespace

std::string_view GradeName(Grade grade) {
  switch (grade) {
    case Grade::kAcknowledged:
      return "acknowledged";
    case Grade::kLaggard:
      return "laggard";
    case Grade::kAbsent:
      return "absent";
  }
  return "unknown";
}

Judgement Judge(const Workload& workload, const Current& current, absl::Time now) {
  if (!workload.connected()) {
    return {Grade::kAbsent, workload.last_seen == absl::InfinitePast()
                                ? "its agent never connected"
                                : absl::StrCat("its agent is not connected; last seen at ",
                                               UtcTime(workload.last_seen))};
  }
  if (!workload.report.has_value()) return Laggard("its agent has not reported yet");
  const Report& report = *workload.report;
  std::string error =
      report.last_error.empty() ? "" : absl::StrCat("; its agent says: ", report.last_error);
  if (report.bundle != current.bundle) {
    return Laggard(absl::StrCat("its agent has not taken the bundle of sequence ",
                                current.bundle.sequence, " (it has ", Version(report.bundle), ")",
                                error));
  }
  if (report.leaf.empty()) return Laggard(absl::StrCat("its agent has no leaf yet", error));
  if (report.leaf.not_after <= now) {
    return Laggard(absl::StrCat("its leaf expired at ", UtcTime(report.leaf.not_after), error));
  }
  if (report.leaf.authority != current.issuer) {
    return Laggard(absl::StrCat("its leaf is of authority ", report.leaf.authority,
                                ", the issuer is ", current.issuer, error));
  }
  bool any = false;
  for (const Consumer& consumer : report.consumers) {
    if (!consumer.connected) continue;
    any = true;
    if (std::string missing = Missing(consumer, current, report.leaf); !missing.empty()) {
      return Laggard(std::move(missing));
    }
  }
  if (!any) return Laggard("no consumer is connected to its agent");
  return {Grade::kAcknowledged, ""};
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

absl::Status Fleet::Issued(const Key& key, Purpose purpose, const Leaf& leaf, absl::Time seen) {
  CAPSTAN_RETURN_IF_ERROR(CheckRoom(key));
  Workload& workload = workloads_[key];
  (purpose == Purpose::kWorkload ? workload.leaf : workload.credential) = leaf;
  workload.last_seen = std::max(workload.last_seen, seen);
  return absl::OkStatus();
}

void Fleet::Restore(const Key& key, Purpose purpose, const Leaf& leaf,
                    std::vector<std::string> consumers, absl::Time seen) {
  Workload& workload = workloads_[key];
  (purpose == Purpose::kWorkload ? workload.leaf : workload.credential) = leaf;
  if (!consumers.empty()) workload.known_consumers = std::move(consumers);
  workload.last_seen = std::max(workload.last_seen, seen);
}

absl::StatusOr<int64_t> Fleet::Connect(const Key& key, absl::Time now) {
  CAPSTAN_RETURN_IF_ERROR(CheckRoom(key));
  Workload& workload = workloads_[key];
  if (!workload.connected()) ++connected_;
  workload.generation = ++last_generation_;
  workload.last_seen = now;
  // What an earlier connection said may be of an agent that is no more.
  workload.report.reset();
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
  workload.report = std::move(report);
  workload.last_seen = now;
  return absl::OkStatus();
}

void Fleet::Disconnect(const Key& key, int64_t generation, absl::Time now) {
  auto there = workloads_.find(key);
  if (there == workloads_.end() || there->second.generation != generation) return;
  there->second.generation = 0;
  there->second.last_seen = now;
  --connected_;
}

void Fleet::Forget(absl::Time now) {
  std::erase_if(workloads_, [&](const auto& entry) {
    return !entry.second.connected() && !HasUnexpiredLeaf(entry.second, now);
  });
}

int64_t Fleet::Population(absl::Time now) const {
  return std::count_if(workloads_.begin(), workloads_.end(),
                       [&](const auto& entry) { return HasUnexpiredLeaf(entry.second, now); });
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

}  // namespace capstan::fleet
