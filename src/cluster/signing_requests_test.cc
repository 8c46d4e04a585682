// SPDX-License-Identifier: Apache-2.0
#include "cluster/signing_requests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace capstan::cluster {
namespace {

constexpr absl::Duration kStart = absl::Seconds(1000);

kube::SigningRequest Open(const std::string& name, const std::string& version = "1") {
  kube::SigningRequest request;
  request.name = name;
  request.uid = name;
  request.resource_version = version;
  request.approved = true;
  return request;
}

kube::SigningRequest Closed(const std::string& name) {
  kube::SigningRequest request = Open(name, "9");
  request.closed = true;
  return request;
}

class SigningRequestsTest : public ::testing::Test {
 protected:
  SigningRequests::Turn Take(absl::Duration now = kStart) {
    const SigningRequests::Next next = machine_.Take(now);
    EXPECT_TRUE(next.turn.has_value()) << "at " << next.at;
    return next.turn.value_or(SigningRequests::Turn());
  }
  // When there is something again.
  absl::Duration Idle(absl::Duration now = kStart) {
    const SigningRequests::Next next = machine_.Take(now);
    EXPECT_FALSE(next.turn.has_value()) << next.turn->request.name;
    return next.at;
  }
  static constexpr absl::Duration kNever = absl::InfiniteDuration();
  SigningRequests machine_;
};

TEST_F(SigningRequestsTest, OnlyThoseThatWaitForTheirSigner) {
  kube::SigningRequest unapproved = Open("a");
  unapproved.approved = false;
  machine_.Seen(unapproved, kStart);
  machine_.Seen(Closed("b"), kStart);
  EXPECT_EQ(Idle(), kNever);
  machine_.Seen(Open("a", "2"), kStart);
  EXPECT_EQ(Take().request.resource_version, "2") << "approved by now";
  EXPECT_EQ(Idle(), kNever) << "it is under way";
}

TEST_F(SigningRequestsTest, WhoWaitsLongestGoesFirst) {
  machine_.Seen(Open("b"), kStart);
  machine_.Seen(Open("a"), kStart + absl::Seconds(1));
  machine_.Seen(Open("b", "2"), kStart + absl::Seconds(2));
  EXPECT_EQ(Take(kStart + absl::Seconds(3)).request.name, "b") << "a change costs it no place";
  EXPECT_EQ(Take(kStart + absl::Seconds(3)).request.name, "a");
}

TEST_F(SigningRequestsTest, IsAnsweredOnce) {
  machine_.Seen(Open("a"), kStart);
  machine_.Answered(Take());
  machine_.Seen(Closed("a"), kStart);
  EXPECT_EQ(Idle(), kNever);
  EXPECT_EQ(machine_.waiting(), 0u);
}

TEST_F(SigningRequestsTest, TheAnswerMayBeSeenBeforeTheCallReturns) {
  machine_.Seen(Open("a"), kStart);
  const SigningRequests::Turn turn = Take();
  machine_.Seen(Closed("a"), kStart);
  machine_.Failed(turn, absl::DeadlineExceededError("no answer came"), kStart);
  EXPECT_EQ(Idle(kStart + absl::Hours(1)), kNever);
}

TEST_F(SigningRequestsTest, AnotherWriterWasFirst) {
  machine_.Seen(Open("a"), kStart);
  SigningRequests::Turn turn = Take();
  turn.chain_pem = "leaf";
  EXPECT_FALSE(machine_.Failed(turn, absl::AbortedError("conflict"), kStart)) << "no news";
  EXPECT_EQ(Idle(), kStart + absl::Seconds(10)) << "the watch is to bring what is";
  machine_.Seen(Open("a", "2"), kStart);
  turn = Take(kStart + absl::Seconds(10));
  EXPECT_EQ(turn.request.resource_version, "2");
  EXPECT_EQ(turn.chain_pem, "leaf") << "it is not signed twice";

  machine_.Seen(Open("a", "3"), kStart);
  machine_.Failed(turn, absl::AbortedError("conflict"), kStart);
  EXPECT_EQ(Take().request.resource_version, "3") << "what was seen meanwhile is taken at once";
}

TEST_F(SigningRequestsTest, AFailureHoldsUpAllAndIsNewsOnce) {
  machine_.Seen(Open("a"), kStart);
  machine_.Seen(Open("b"), kStart);
  SigningRequests::Turn turn = Take();
  turn.chain_pem = "leaf";
  const absl::Status down = absl::UnavailableError("down");
  EXPECT_TRUE(machine_.Failed(turn, down, kStart));
  EXPECT_EQ(Idle(), kStart + absl::Seconds(1));
  EXPECT_FALSE(machine_.Failed(Take(kStart + absl::Seconds(1)), down, kStart + absl::Seconds(1)));
  EXPECT_EQ(Idle(), kStart + absl::Seconds(3));
  turn = Take(kStart + absl::Seconds(3));
  EXPECT_EQ(turn.chain_pem, "leaf");
  machine_.Answered(turn);
  turn = Take(kStart + absl::Seconds(3));
  EXPECT_EQ(turn.request.name, "b");
  EXPECT_TRUE(machine_.Failed(turn, down, kStart + absl::Seconds(3))) << "it worked in between";
}

TEST_F(SigningRequestsTest, ALeafThatCouldNotBeHandedOverForLongIsSignedAnew) {
  machine_.Seen(Open("a"), kStart);
  SigningRequests::Turn turn = Take();
  turn.chain_pem = "leaf";
  machine_.Failed(turn, absl::UnavailableError("down"), kStart);
  EXPECT_EQ(Take(kStart + absl::Minutes(2)).chain_pem, "");
}

TEST_F(SigningRequestsTest, OneThatIsRefusedHoldsUpItselfAlone) {
  machine_.Seen(Open("a"), kStart);
  machine_.Seen(Open("b"), kStart);
  machine_.Failed(Take(), absl::InvalidArgumentError("422"), kStart);
  EXPECT_EQ(Take().request.name, "b");
}

TEST_F(SigningRequestsTest, IsPutOffForTheBudget) {
  machine_.Seen(Open("a"), kStart);
  machine_.Seen(Open("b"), kStart + absl::Seconds(1));
  machine_.PutOff(Take(), absl::Seconds(5), kStart);
  EXPECT_EQ(Idle(), kStart + absl::Seconds(5));
  EXPECT_EQ(Take(kStart + absl::Seconds(5)).request.name, "a") << "it has kept its place";
}

TEST_F(SigningRequestsTest, AnotherOneOfTheSameNameHasNothingOfIt) {
  machine_.Seen(Open("a"), kStart);
  SigningRequests::Turn old = Take();
  old.chain_pem = "leaf of the old one's key";
  kube::SigningRequest made_again = Open("a");
  made_again.uid = "another";
  machine_.Seen(made_again, kStart);
  machine_.Failed(old, absl::AbortedError("conflict"), kStart);
  const SigningRequests::Turn turn = Take();
  EXPECT_EQ(turn.request.uid, "another");
  EXPECT_EQ(turn.chain_pem, "");
  machine_.Answered(old);
  machine_.Failed(turn, absl::UnavailableError("down"), kStart);
  Take(kStart + absl::Minutes(1));
  machine_.Gone("a");
  EXPECT_EQ(Idle(kStart + absl::Hours(1)), kNever);
}

}  // namespace
}  // namespace capstan::cluster
