// SPDX-License-Identifier: Apache-2.0
#include "fleet/clock_offsets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/random.h"

namespace capstan::fleet {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'750'000'000);

Key KeyOf(int n) {
  return {"spiffe://td/ns/n/sa/w", std::to_string(n), ""};
}

TEST(ClockOffsets, IsTheMedianOfWhatEachToldLast) {
  SeededRandom random(7);
  const auto below = [&](unsigned n) { return static_cast<unsigned char>(random.Bytes(1)[0]) % n; };
  ClockOffsets offsets;
  std::map<int, absl::Duration> all;
  for (int i = 0; i < 5000; ++i) {
    const int who = static_cast<int>(below(40));
    if (below(4) == 0) {
      offsets.Forget(KeyOf(who));
      all.erase(who);
    } else {
      all[who] = absl::Seconds(static_cast<int64_t>(below(10)) - 5);
      offsets.Tell(KeyOf(who), all[who], kNow);
    }
    std::vector<absl::Duration> sorted;
    for (const auto& [_, offset] : all) sorted.push_back(offset);
    std::sort(sorted.begin(), sorted.end());
    const auto median = offsets.Median(kNow);
    ASSERT_EQ(median.has_value(), !sorted.empty());
    if (median) {
      ASSERT_EQ(*median, sorted[sorted.size() / 2]) << "after " << i;
    }
  }
}

TEST(ClockOffsets, WhatWasToldByAnotherTimeDoesNotCount) {
  ClockOffsets offsets;
  offsets.Tell(KeyOf(1), absl::Hours(1), kNow - absl::Minutes(3));
  offsets.Tell(KeyOf(2), absl::Seconds(2), kNow);
  EXPECT_EQ(offsets.Median(kNow), absl::Seconds(2));
  EXPECT_EQ(offsets.Median(kNow - absl::Hours(24)), std::nullopt);
  EXPECT_EQ(offsets.Median(kNow), std::nullopt) << "until they tell again";
}

}  // namespace
}  // namespace capstan::fleet
