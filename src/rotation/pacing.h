// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/slot.h"

namespace capstan::rotation {

// A leaf that a new issuer is to replace.
struct Replaceable {
  std::string serial;  // hex
  absl::Time not_after;
};

// Re-issue as a plan: who is replaced when, and when it is done.
struct ReissuePlan {
  Window window;
  int64_t leaves = 0;
  double per_second = 0;  // the budget it was made with
  absl::Time eta() const { return window.end(); }
  friend bool operator==(const ReissuePlan&, const ReissuePlan&) = default;
};

// Parts that a plan has at most. More of them order the leaves more finely; each is a timestamp in
// every trust update.
inline constexpr int kMaxParts = 16;

// Replaces `leaves` (those that expired by `now` do not count) at `per_second` (> 0) from `now` on:
// the window is their number / per_second, and each part of it holds equally many, to within one.
// Nothing is remembered between plans: one that is made again for the leaves that are left, as
// after a restart, takes no longer than the rest of the one before.
ReissuePlan PlanReissue(const std::vector<Replaceable>& leaves, double per_second, absl::Time now);

// For people: "10000 leaves at 200/s: done in 50s, by 2025-05-12T16:48:20Z".
std::string Describe(const ReissuePlan& plan);

}  // namespace capstan::rotation
