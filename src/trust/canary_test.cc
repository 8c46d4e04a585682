// SPDX-License-Identifier: Apache-2.0
#include "trust/canary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace capstan::trust {
namespace {

using ::testing::HasSubstr;

TEST(CanaryTest, ANamespaceSelectsItsWorkloadsAndNobodyElse) {
  const Canary canary = *Canary::Parse("namespace=web");
  EXPECT_TRUE(canary.Selects("spiffe://cluster.local/ns/web/sa/front"));
  EXPECT_FALSE(canary.Selects("spiffe://cluster.local/ns/web2/sa/front"));
  EXPECT_FALSE(canary.Selects("spiffe://cluster.local/ns/we/sa/web"));
  EXPECT_FALSE(canary.Selects("spiffe://cluster.local/other/ns/web/sa/front"));
  EXPECT_FALSE(canary.Selects("spiffe://cluster.local"));
  EXPECT_EQ(canary.ToString(), "namespace=web");
}

TEST(CanaryTest, APercentageSelectsAboutAsManyAndGrowsByAdding) {
  const Canary ten = *Canary::Parse("percent=10");
  const Canary half = *Canary::Parse("percent=50");
  int of_ten = 0;
  for (int i = 0; i < 10000; ++i) {
    const std::string id = absl::StrCat("spiffe://cluster.local/ns/n", i % 7, "/sa/s", i);
    if (!ten.Selects(id)) continue;
    ++of_ten;
    EXPECT_TRUE(half.Selects(id));
  }
  EXPECT_GT(of_ten, 850);
  EXPECT_LT(of_ten, 1150);
  EXPECT_TRUE(Canary::Parse("percent=100")->Selects("spiffe://cluster.local/ns/a/sa/b"));
  EXPECT_EQ(ten.ToString(), "percent=10");
}

// Selected once, selected for ever: a change of this function would move workloads in the middle of
// a rotation.
TEST(CanaryTest, WhoIsSelectedIsTheSameInEveryVersion) {
  const Canary canary = *Canary::Parse("percent=25");
  std::string selected;
  for (int i = 0; i < 20; ++i) {
    if (canary.Selects(absl::StrCat("spiffe://cluster.local/ns/n/sa/s", i))) {
      absl::StrAppend(&selected, i, " ");
    }
  }
  EXPECT_EQ(selected, "0 1 4 5 7 15 19 ");
}

TEST(CanaryTest, WhatSelectsNothingKnownIsRefusedAndSaysWhatThereIs) {
  for (const char* text : {"", "web", "namespace=", "namespace=a/b", "namespace=a b",
                           "percent=", "percent=0", "percent=101", "percent=ten", "percent=1.5"}) {
    const absl::StatusOr<Canary> canary = Canary::Parse(text);
    ASSERT_EQ(canary.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(canary.status().message()), HasSubstr("namespace=NAME"));
  }
}

}  // namespace
}  // namespace capstan::trust
