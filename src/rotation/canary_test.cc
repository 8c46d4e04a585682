// SPDX-License-Identifier: Apache-2.0
#include "rotation/canary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace capstan::rotation {
namespace {

using ::testing::HasSubstr;

TEST(CanaryRiseTest, WhoRefusedNoneBeforeMayRefuseNoneNow) {
  EXPECT_EQ(RiseOver({7, 0}, 7, absl::Hours(10)), "");
  EXPECT_THAT(RiseOver({7, 0}, 8, absl::Hours(10)), HasSubstr("1 time since the canary began"));
  EXPECT_THAT(RiseOver({7, 0}, 9, absl::Seconds(1)),
              AllOf(HasSubstr("2 times"), HasSubstr("ssl.fail_verify_*"),
                    HasSubstr("before, it refused none")));
}

TEST(CanaryRiseTest, WhoAlwaysRefusesSomeIsMeasuredByThat) {
  const Baseline scanned{100, 60};
  EXPECT_EQ(RiseOver(scanned, 101, absl::Seconds(20)), "");  // it may come early
  EXPECT_THAT(RiseOver(scanned, 102, absl::Seconds(20)), HasSubstr("60 times an hour"));
  EXPECT_EQ(RiseOver(scanned, 120, absl::Minutes(10)), "");
  EXPECT_NE(RiseOver(scanned, 121, absl::Minutes(10)), "");
}

TEST(CanaryRiseTest, ACountThatBeganAnewIsCountedFromNothing) {
  EXPECT_EQ(RiseOver({100, 0}, 0, absl::Minutes(1)), "");
  EXPECT_THAT(RiseOver({100, 0}, 3, absl::Minutes(1)), HasSubstr("3 times"));
  EXPECT_NE(RiseOver({0, 1}, 1, -absl::Hours(1)), "");  // by a clock that stepped back
}

}  // namespace
}  // namespace capstan::rotation
