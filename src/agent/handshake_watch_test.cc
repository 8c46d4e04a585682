// SPDX-License-Identifier: Apache-2.0
#include "agent/handshake_watch.h"

#include <gtest/gtest.h>

namespace capstan::agent {
namespace {

class HandshakeWatchTest : public ::testing::Test {
 protected:
  FakeClock clock_{absl::FromUnixSeconds(1'747'068'500)};
  ManualExecutor executor_{clock_};
  absl::StatusOr<int64_t> answer_ = 0;
  int reads_ = 0;
  int changes_ = 0;
  HandshakeWatch watch_{{.executor = executor_,
                         .blocking = executor_,
                         .read =
                             [this] {
                               ++reads_;
                               return answer_;
                             },
                         .changed = [this] { ++changes_; }}};
};

TEST_F(HandshakeWatchTest, WhatTheEnvoyCountsIsReadAgainAndAgainAndToldWhenItChanges) {
  EXPECT_EQ(watch_.failed(), std::nullopt);
  watch_.Start();
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(watch_.failed(), 0);
  EXPECT_EQ(changes_, 1);
  executor_.Advance(absl::Seconds(10));
  EXPECT_EQ(reads_, 3);
  EXPECT_EQ(changes_, 1);
  answer_ = 4;
  executor_.Advance(HandshakeWatch::kEvery);
  EXPECT_EQ(watch_.failed(), 4);
  EXPECT_EQ(changes_, 2);
}

TEST_F(HandshakeWatchTest, AnEnvoyThatDoesNotAnswerTellsNothing) {
  answer_ = absl::UnavailableError("nobody answers");
  watch_.Start();
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(watch_.failed(), std::nullopt);
  EXPECT_EQ(changes_, 0);
  answer_ = 2;
  executor_.Advance(HandshakeWatch::kEvery);
  EXPECT_EQ(watch_.failed(), 2);
  answer_ = absl::UnavailableError("gone again");
  executor_.Advance(HandshakeWatch::kEvery);
  EXPECT_EQ(watch_.failed(), std::nullopt);
  EXPECT_EQ(changes_, 2);
}

}  // namespace
}  // namespace capstan::agent
