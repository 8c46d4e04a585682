// SPDX-License-Identifier: Apache-2.0
#include "server/settler.h"

#include <gtest/gtest.h>

namespace capstan::server {
namespace {

class SettlerTest : public ::testing::Test {
 protected:
  // Looks whenever it is due until `digest` settles or is known. True: it was offered.
  bool Settle(const std::string& digest) {
    for (int i = 0; i < 3; ++i) {
      now_ = std::max(now_, settler_.due());
      if (settler_.Looked(now_, digest)) return true;
      if (settler_.settled()) return false;
    }
    return false;
  }

  absl::Duration now_ = absl::Seconds(100);
  Settler::Options options_;
  Settler settler_{options_, now_};
};

TEST_F(SettlerTest, TwoEqualLooksAreNeeded) {
  EXPECT_EQ(settler_.due(), now_);
  EXPECT_FALSE(settler_.Looked(now_, "x"));
  EXPECT_EQ(settler_.due(), now_ + options_.between_looks);
  EXPECT_FALSE(settler_.Looked(now_, "xy"));
  EXPECT_FALSE(settler_.Looked(now_, "xyz"));
  EXPECT_TRUE(settler_.Looked(now_, "xyz"));
}

TEST_F(SettlerTest, AnEventInBetweenStartsAnew) {
  EXPECT_FALSE(settler_.Looked(now_, "x"));
  settler_.Touched(now_);
  EXPECT_EQ(settler_.due(), now_ + options_.quiet);
  EXPECT_FALSE(settler_.Looked(now_, "x"));
  EXPECT_TRUE(settler_.Looked(now_, "x"));
}

TEST_F(SettlerTest, RestlessnessPutsALookOffOnlySoLong) {
  const absl::Duration begin = now_;
  bool offered = false;
  while (!offered && now_ < begin + absl::Minutes(1)) {
    settler_.Touched(now_);
    if (now_ >= settler_.due()) offered = settler_.Looked(now_, "x");
    now_ += absl::Milliseconds(10);
  }
  EXPECT_TRUE(offered);
  EXPECT_LE(now_, begin + options_.patience + options_.quiet + absl::Seconds(1));
  settler_.Offered(now_, true);
  // After that, quiet counts again.
  settler_.Touched(now_);
  EXPECT_EQ(settler_.due(), now_ + options_.quiet);
}

TEST_F(SettlerTest, WhatIsKnownIsNotOfferedAgainButRescanned) {
  EXPECT_TRUE(Settle("x"));
  settler_.Offered(now_, true);
  EXPECT_EQ(settler_.due(), now_ + options_.rescan);
  settler_.Touched(now_);
  EXPECT_FALSE(Settle("x"));
  EXPECT_EQ(settler_.due(), now_ + options_.rescan);
  EXPECT_TRUE(Settle("y"));
}

TEST_F(SettlerTest, WhatWasRefusedIsTriedAgainLater) {
  EXPECT_TRUE(Settle("x"));
  settler_.Offered(now_, false);
  now_ += options_.retry - absl::Seconds(1);
  EXPECT_FALSE(settler_.Looked(now_, "x"));
  now_ += absl::Seconds(2);
  EXPECT_TRUE(Settle("x"));
}

TEST_F(SettlerTest, ForceOffersWhatIsKnown) {
  EXPECT_TRUE(Settle("x"));
  settler_.Offered(now_, true);
  settler_.Force(now_);
  EXPECT_EQ(settler_.due(), now_);
  EXPECT_TRUE(Settle("x"));
}

}  // namespace
}  // namespace capstan::server
