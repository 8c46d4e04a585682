// SPDX-License-Identifier: Apache-2.0
#include "rotation/pacing.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace capstan::rotation {

ReissuePlan PlanReissue(const std::vector<Replaceable>& leaves, double per_second, absl::Time now) {
  std::vector<absl::Time> places;
  places.reserve(leaves.size());
  for (const Replaceable& leaf : leaves) {
    if (leaf.not_after > now) places.push_back(PlaceOf(leaf.not_after, leaf.serial));
  }
  std::sort(places.begin(), places.end());
  const size_t count = places.size();
  ReissuePlan plan;
  plan.leaves = static_cast<int64_t>(count);
  plan.per_second = per_second;
  plan.window.start = now;
  plan.window.length = absl::Seconds(static_cast<double>(count) / per_second);
  const size_t parts = std::min<size_t>(kMaxParts, count);
  for (size_t part = 1; part <= parts; ++part) {
    plan.window.bounds.push_back(places[part * count / parts - 1]);
  }
  return plan;
}

std::string Describe(const ReissuePlan& plan) {
  const absl::Duration length = plan.window.length;
  return absl::StrCat(
      plan.leaves, plan.leaves == 1 ? " leaf at " : " leaves at ", plan.per_second, "/s: done in ",
      absl::FormatDuration(absl::Ceil(
          length, length < absl::Seconds(10) ? absl::Milliseconds(1) : absl::Seconds(1))),
      ", by ", absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", plan.eta(), absl::UTCTimeZone()));
}

}  // namespace capstan::rotation
