// SPDX-License-Identifier: Apache-2.0
#include "rpc/stream_retry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"

namespace capstan::rpc {
namespace {

TEST(StreamRetryTest, DoublesToTenSecondsEachWithinAQuarterAndFiveQuarters) {
  const std::vector<int> seconds = {1, 2, 4, 8, 10, 10, 10};
  for (size_t i = 0; i < seconds.size(); ++i) {
    for (int agent = 0; agent < 100; ++agent) {
      const absl::Duration delay =
          StreamRetry(absl::StrCat("agent-", agent), static_cast<int>(i) + 1);
      EXPECT_GE(delay, absl::Seconds(seconds[i]) * 0.25) << i;
      EXPECT_LT(delay, absl::Seconds(seconds[i]) * 1.25) << i;
    }
  }
  EXPECT_LT(StreamRetry("agent", 1'000'000'000), absl::Seconds(12.5));
}

TEST(StreamRetryTest, ThoseWhoLostTheirStreamsTogetherReturnSpread) {
  std::vector<absl::Duration> delays;
  for (int agent = 0; agent < 100; ++agent) {
    delays.push_back(StreamRetry(absl::StrCat("agent-", agent), 5));
  }
  EXPECT_EQ(StreamRetry("agent-0", 5), delays.front());
  std::sort(delays.begin(), delays.end());
  EXPECT_LT(delays[10], absl::Seconds(5));
  EXPECT_GT(delays[90], absl::Seconds(10));
}

}  // namespace
}  // namespace capstan::rpc
