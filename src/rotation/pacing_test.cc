// SPDX-License-Identifier: Apache-2.0
#include "rotation/pacing.h"

#include <gtest/gtest.h>
// After GoogleTest, which it needs but does not include.
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"

namespace capstan::rotation {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'750'000'000);

struct Fleet {
  std::vector<Replaceable> leaves;
  ReissuePlan plan;
  std::vector<absl::Time> slots;
};

Fleet Planned(std::vector<Replaceable> leaves, double per_second) {
  Fleet fleet{std::move(leaves), {}, {}};
  fleet.plan = PlanReissue(fleet.leaves, per_second, kNow);
  for (size_t i = 0; i < fleet.leaves.size(); ++i) {
    fleet.slots.push_back(SlotOf(fleet.plan.window, fleet.leaves[i].not_after,
                                 absl::StrCat("spiffe://td/ns/a/sa/w", i), fleet.leaves[i].serial));
  }
  return fleet;
}

// Of every shape that issuing gives: one batch, a rolling restart, a day of renewals, clumps.
std::vector<Replaceable> GenLeaves(int count, int shape, int salt) {
  std::vector<Replaceable> leaves;
  leaves.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    int64_t after = 3600;
    if (shape == 1) after += i / 100;
    if (shape == 2) after += (i * 7919) % 86400;
    if (shape == 3) after += i % 3 == 0 ? 0 : 50'000 + i % 2;
    if (shape == 4) after = i < count / 2 ? 60 : 600'000 + i;
    leaves.push_back({absl::StrCat("s", salt, "-", i), kNow + absl::Seconds(after)});
  }
  return leaves;
}

TEST(PacingTest, TheWindowIsTheNumberOverTheBudget) {
  const ReissuePlan plan = PlanReissue(GenLeaves(10'000, 2, 0), 200, kNow);
  EXPECT_EQ(plan.window.start, kNow);
  EXPECT_EQ(plan.window.length, absl::Seconds(50));
  EXPECT_EQ(plan.eta(), kNow + absl::Seconds(50));
  EXPECT_EQ(plan.window.bounds.size(), 16u);
  EXPECT_TRUE(std::is_sorted(plan.window.bounds.begin(), plan.window.bounds.end()));
  EXPECT_EQ(Describe(plan),
            absl::StrCat("10000 leaves at 200/s: done in 50s, by 2025-06-15T15:07:30Z"));
}

TEST(PacingTest, NobodyIsReplacedAtOnceAndTheExpiredDoNotCount) {
  const ReissuePlan none = PlanReissue({{"a", kNow}}, 10, kNow);
  EXPECT_EQ(none.leaves, 0);
  EXPECT_EQ(none.window.length, absl::ZeroDuration());
  EXPECT_TRUE(none.window.bounds.empty());
  EXPECT_EQ(SlotOf(none.window, kNow, "w", "a"), kNow);
  const ReissuePlan three = PlanReissue(GenLeaves(3, 1, 0), 10, kNow);
  EXPECT_EQ(three.window.bounds.size(), 3u);
}

TEST(PacingTest, AFleetOfOneSecondSpreadsEvenly) {
  const Fleet fleet = Planned(GenLeaves(16'000, 0, 1), 200);
  std::map<int64_t, int> seconds;
  for (const absl::Time slot : fleet.slots) ++seconds[absl::ToInt64Seconds(slot - kNow)];
  ASSERT_EQ(seconds.size(), 80u);
  for (const auto& [second, count] : seconds) {
    EXPECT_GT(count, 130) << second;
    EXPECT_LT(count, 270) << second;
  }
}

TEST(PacingTest, EqualBoundsAreShared) {
  // From a planner that counts whole seconds: every bound the same, and all places beyond it.
  Window window{kNow, absl::Seconds(100), std::vector<absl::Time>(4, kNow + absl::Hours(1))};
  std::map<int64_t, int> quarters;
  for (int i = 0; i < 4000; ++i) {
    // Ends exactly on the bound: the serial's fraction is taken off again.
    const std::string serial = absl::StrCat("s", i);
    const absl::Time bound = window.bounds.front();
    const absl::Time not_after = bound - (PlaceOf(bound, serial) - bound);
    ++quarters[absl::ToInt64Seconds(SlotOf(window, not_after, "w", serial) - kNow) / 25];
  }
  for (int quarter = 0; quarter < 4; ++quarter) EXPECT_NEAR(quarters[quarter], 1000, 150);
}

TEST(PacingTest, ALeafThatWasNotCountedHasItsSlotToo) {
  const ReissuePlan plan = PlanReissue(GenLeaves(1000, 2, 0), 10, kNow);
  const absl::Time late = SlotOf(plan.window, kNow + absl::Hours(2000), "w", "new");
  EXPECT_GE(late, plan.eta() - plan.window.length / 16);
  EXPECT_LE(late, plan.eta());
  EXPECT_LE(SlotOf(plan.window, kNow, "w", "new"), kNow + plan.window.length / 16);
}

RC_GTEST_PROP(PacingProperty, SlotsAreInTheWindowInOrderAndWithinTheBudget, ()) {
  const int count = *rc::gen::inRange(1, 6000);
  const double budget = *rc::gen::inRange(1, 2000);
  const Fleet fleet =
      Planned(GenLeaves(count, *rc::gen::inRange(0, 5), *rc::gen::inRange(0, 1000)), budget);
  const Window& window = fleet.plan.window;
  RC_ASSERT(fleet.plan.leaves == count);

  // Every slot is inside, and asked again it is the same.
  const size_t parts = window.bounds.size();
  std::vector<int> in_part(parts);
  std::map<int, absl::Time> first_place;
  std::map<int, absl::Time> last_place;
  for (size_t i = 0; i < fleet.slots.size(); ++i) {
    RC_ASSERT(fleet.slots[i] >= window.start);
    RC_ASSERT(fleet.slots[i] <= window.end());
    const int part =
        std::min(static_cast<int>(absl::FDivDuration(fleet.slots[i] - window.start, window.length) *
                                  static_cast<double>(parts)),
                 static_cast<int>(parts) - 1);
    ++in_part[static_cast<size_t>(part)];
    const absl::Time place = PlaceOf(fleet.leaves[i].not_after, fleet.leaves[i].serial);
    first_place.try_emplace(part, place);
    last_place.try_emplace(part, place);
    first_place[part] = std::min(first_place[part], place);
    last_place[part] = std::max(last_place[part], place);
  }
  // Each part starts budget * its length, to within one leaf; and two by which the division of a
  // duration may be rounded at its ends.
  const double fair = budget * absl::ToDoubleSeconds(window.length) / static_cast<double>(parts);
  for (const int started : in_part) RC_ASSERT(std::abs(started - fair) <= 3.0);
  // Soonest to expire first.
  for (size_t part = 1; part < parts; ++part) {
    const int here = static_cast<int>(part);
    if (!first_place.contains(here) || !last_place.contains(here - 1)) continue;
    RC_ASSERT(last_place[here - 1] <= first_place[here]);
  }
}

// Whatever piece of the window is looked at: not more than the budget allows and what chance adds.
RC_GTEST_PROP(PacingProperty, NoPieceOfTheWindowStartsMoreThanItsShare, ()) {
  const int count = *rc::gen::inRange(2000, 8000);
  const Fleet fleet =
      Planned(GenLeaves(count, *rc::gen::inRange(0, 5), *rc::gen::inRange(0, 1000)), 200);
  std::vector<absl::Time> slots = fleet.slots;
  std::sort(slots.begin(), slots.end());
  const int pieces = *rc::gen::inRange(2, 40);
  for (int piece = 0; piece < pieces; ++piece) {
    const absl::Duration length = fleet.plan.window.length / pieces;
    const absl::Time from = fleet.plan.window.start + length * piece;
    const auto started = std::lower_bound(slots.begin(), slots.end(), from + length) -
                         std::lower_bound(slots.begin(), slots.end(), from);
    const double share = 200 * absl::ToDoubleSeconds(length);
    RC_ASSERT(static_cast<double>(started) <= share + 6 * std::sqrt(share) + 2);
  }
}

}  // namespace
}  // namespace capstan::rotation
