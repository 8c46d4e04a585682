// SPDX-License-Identifier: Apache-2.0
#include "authn/token_reviews.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/retry_after.h"

namespace capstan::authn {
namespace {

using ::testing::SizeIs;

const kube::ServiceAccount kSleep{"default", "sleep", "sleep-0", "11-22", ""};

class TokenReviewsTest : public ::testing::Test {
 protected:
  TokenReviews::Asked Ask(const std::string& hash) {
    return reviews_.Ask(
        hash, [](const TokenReviews::Answer&) {}, now_);
  }
  // What a caller who asks now is told; its review ends with `answer` where one is due.
  bool Cached(const std::string& hash) {
    const TokenReviews::Asked asked = Ask(hash);
    if (asked.review) reviews_.Reviewed(hash, absl::UnavailableError("no"), {}, now_);
    return asked.answer.has_value();
  }
  void Accept(const std::string& hash, absl::Duration life) {
    ASSERT_TRUE(Ask(hash).review);
    EXPECT_THAT(reviews_.Reviewed(hash, kSleep, now_.wall + life, now_), SizeIs(1));
  }
  void Refuse(const std::string& hash) {
    ASSERT_TRUE(Ask(hash).review);
    reviews_.Reviewed(hash, absl::UnauthenticatedError("expired"), {}, now_);
  }
  void Advance(absl::Duration d) {
    now_.wall += d;
    now_.monotonic += d;
  }

  TokenReviews::Moment now_{absl::FromUnixSeconds(1700000000), absl::Hours(5)};
  TokenReviews reviews_{{.answers = 3, .tokens = 2, .callers = 4}};
};

TEST_F(TokenReviewsTest, AnAcceptedTokenIsKnownForTenSeconds) {
  Accept("a", absl::Hours(1));
  Advance(absl::Milliseconds(9999));
  const TokenReviews::Asked asked = Ask("a");
  ASSERT_TRUE(asked.answer.has_value());
  EXPECT_EQ(**asked.answer, kSleep);
  EXPECT_FALSE(asked.review);
  Advance(absl::Milliseconds(1));
  EXPECT_FALSE(Cached("a"));
}

TEST_F(TokenReviewsTest, NoTokenIsTakenOnceItHasEnded) {
  Accept("a", absl::Seconds(3));
  Advance(absl::Milliseconds(2999));
  EXPECT_TRUE(Cached("a"));
  Advance(absl::Milliseconds(1));
  EXPECT_FALSE(Cached("a"));
  Accept("b", absl::ZeroDuration());
  EXPECT_FALSE(Cached("b")) << "the API server's clock is behind ours";
  Accept("c", absl::Seconds(3));
  now_.wall += absl::Seconds(3);
  EXPECT_FALSE(Cached("c")) << "the wall clock was set";
}

TEST_F(TokenReviewsTest, AWallClockThatIsSetBackLetsNothingLiveOn) {
  Accept("a", absl::Hours(1));
  now_.wall -= absl::Hours(10);
  now_.monotonic += absl::Seconds(10);
  EXPECT_FALSE(Cached("a"));
}

TEST_F(TokenReviewsTest, ARefusalIsKnownForASecondAndTroubleNotAtAll) {
  Refuse("a");
  Advance(absl::Milliseconds(999));
  const TokenReviews::Asked asked = Ask("a");
  ASSERT_TRUE(asked.answer.has_value());
  EXPECT_EQ(asked.answer->status(), absl::UnauthenticatedError("expired"));
  Advance(absl::Milliseconds(1));
  ASSERT_TRUE(Ask("a").review);
  reviews_.Reviewed("a", absl::UnavailableError("gone"), {}, now_);
  EXPECT_TRUE(Ask("a").review);
}

TEST_F(TokenReviewsTest, OneReviewAnswersAllWhoWait) {
  EXPECT_TRUE(Ask("a").review);
  for (int i = 0; i < 2; ++i) {
    const TokenReviews::Asked asked = Ask("a");
    EXPECT_FALSE(asked.review);
    EXPECT_FALSE(asked.answer.has_value());
  }
  EXPECT_THAT(reviews_.Reviewed("a", kSleep, absl::InfiniteFuture(), now_), SizeIs(3));
  EXPECT_EQ(reviews_.waiting(), 0U);
  EXPECT_TRUE(Cached("a"));
}

TEST_F(TokenReviewsTest, WhoWaitsIsBounded) {
  const auto put_off = [&](const std::string& hash) {
    const TokenReviews::Asked asked = Ask(hash);
    return !asked.review && asked.answer.has_value() &&
           absl::IsResourceExhausted(asked.answer->status()) &&
           RetryAfterOf(asked.answer->status()) == absl::Seconds(1);
  };
  EXPECT_TRUE(Ask("a").review);
  EXPECT_TRUE(Ask("b").review);
  EXPECT_TRUE(put_off("c")) << "a third token";
  EXPECT_FALSE(put_off("a"));
  EXPECT_FALSE(put_off("b"));
  EXPECT_TRUE(put_off("a")) << "a fifth caller";
  EXPECT_EQ(reviews_.waiting(), 4U);
  EXPECT_THAT(reviews_.Reviewed("a", kSleep, absl::InfiniteFuture(), now_), SizeIs(2));
  EXPECT_TRUE(Ask("c").review);
  EXPECT_THAT(reviews_.Abandon(), SizeIs(3));
  EXPECT_EQ(reviews_.waiting(), 0U);
}

TEST_F(TokenReviewsTest, WhatIsRememberedIsBoundedAndRefusalsGoFirst) {
  Accept("a", absl::Hours(1));
  Accept("b", absl::Hours(1));
  for (int i = 0; i < 100; ++i) {
    Refuse(absl::StrCat("r", i));
    EXPECT_LE(reviews_.remembered(), 3U);
  }
  EXPECT_TRUE(Cached("a"));
  EXPECT_TRUE(Cached("b"));
  EXPECT_TRUE(Cached("r99"));
}

}  // namespace
}  // namespace capstan::authn
