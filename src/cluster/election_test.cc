// SPDX-License-Identifier: Apache-2.0
#include "cluster/election.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "absl/strings/str_cat.h"

namespace capstan::cluster {
namespace {

using ::testing::HasSubstr;
using Role = Election::Role;
using What = Election::Next::What;

// A Lease as an API server keeps it.
class Server {
 public:
  absl::StatusOr<kube::Lease> Read() const {
    if (!up) return absl::UnavailableError("the API server is away");
    if (lease_.resource_version.empty()) return absl::NotFoundError("no such lease");
    return lease_;
  }
  absl::StatusOr<kube::Lease> Write(kube::Lease lease) {
    if (!up) return absl::UnavailableError("the API server is away");
    if (lease.resource_version != lease_.resource_version) {
      if (lease.resource_version.empty()) return absl::AlreadyExistsError("it is there");
      if (lease_.resource_version.empty()) return absl::NotFoundError("no such lease");
      return absl::AbortedError("the object has been modified");
    }
    lease.resource_version = absl::StrCat(++version_);
    lease_ = lease;
    if (loses_answers) return absl::DeadlineExceededError("no answer came");
    return lease_;
  }
  void Delete() { lease_ = {}; }
  const kube::Lease& lease() const { return lease_; }
  bool up = true;
  bool loses_answers = false;

 private:
  kube::Lease lease_;
  int version_ = 0;
};

// A candidate with its own clocks, which share nothing with another one's but how fast they go.
class Candidate {
 public:
  Candidate(Server& server, const std::string& identity, absl::Duration monotonic = {},
            absl::Time wall = absl::UnixEpoch())
      : server_(&server), machine_({.identity = identity}), now_(monotonic), wall_(wall) {}

  // Does what is to be done now.
  void Run() {
    for (int i = 0; i < 10; ++i) {
      const Election::Next next = machine_.Take(now_, wall_);
      if (next.what == What::kWait) return;
      ++requests;
      if (next.what == What::kRead) {
        machine_.Read(server_->Read(), now_);
      } else {
        machine_.Wrote(server_->Write(next.lease), now_);
      }
    }
    FAIL() << "it asks without end";
  }
  void Advance(absl::Duration d) {
    now_ += d;
    wall_ += d;
  }
  bool leads() {
    machine_.Tick(now_);
    return machine_.role() == Role::kLeader && now_ < machine_.leads_until();
  }

  Server* server_;
  Election machine_;
  absl::Duration now_;
  absl::Time wall_;
  int requests = 0;
};

class ElectionTest : public ::testing::Test {
 protected:
  // Second by second. At no moment do two lead.
  void Pass(absl::Duration d, const std::vector<Candidate*>& running) {
    for (; d > absl::ZeroDuration(); d -= absl::Seconds(1)) {
      for (Candidate* candidate : {&a_, &b_}) candidate->Advance(absl::Seconds(1));
      for (Candidate* candidate : running) candidate->Run();
      ASSERT_FALSE(a_.leads() && b_.leads());
    }
  }
  void ElectA() {
    a_.Run();
    b_.Run();
    ASSERT_TRUE(a_.leads());
    ASSERT_FALSE(b_.leads());
  }

  Server server_;
  // Clocks of two machines: days apart, and one of them years behind.
  Candidate a_{server_, "a", absl::Hours(100), absl::FromUnixSeconds(1'700'000'000)};
  Candidate b_{server_, "b", absl::Seconds(3), absl::UnixEpoch()};
};

TEST_F(ElectionTest, TheFirstOneLeadsAndTheOtherSaysWho) {
  ElectA();
  EXPECT_EQ(b_.machine_.why(), "a has the lease");
  EXPECT_EQ(server_.lease().holder, "a");
  EXPECT_EQ(server_.lease().duration, absl::Seconds(15));
  EXPECT_EQ(server_.lease().renewed, "2023-11-14T22:13:20.000000Z");
  Pass(absl::Minutes(10), {&a_, &b_});
  EXPECT_TRUE(a_.leads());
  EXPECT_LE(a_.requests, 303) << "a renewal every two seconds";
}

TEST_F(ElectionTest, WhoDiesIsFollowedWhenItsRenewalHasRunOut) {
  ElectA();
  Pass(absl::Seconds(4), {&a_, &b_});
  Pass(absl::Seconds(13), {&b_});
  EXPECT_FALSE(b_.leads());
  Pass(absl::Seconds(5), {&b_});
  EXPECT_TRUE(b_.leads());
  EXPECT_EQ(server_.lease().transitions, 1);
  a_.Run();
  EXPECT_EQ(a_.machine_.role(), Role::kLost);
}

// A holder whose wall clock is years ahead, behind or stands still is believed all the same.
TEST_F(ElectionTest, WallClocksDoNotMatter) {
  ElectA();
  for (const absl::Duration step : {absl::Hours(100'000), -absl::Hours(200'000), absl::Hours(3)}) {
    a_.wall_ += step;
    Pass(absl::Seconds(30), {&a_, &b_});
    EXPECT_TRUE(a_.leads());
  }
}

// It looks for the first time at a Lease that says it ended long ago, or ends in years.
TEST_F(ElectionTest, WhoComesLaterWaitsForAWholeLease) {
  kube::Lease old{.holder = "x", .duration = absl::Seconds(15), .renewed = "1999-01-01T00:00:00Z"};
  ASSERT_TRUE(server_.Write(old).ok());
  Pass(absl::Seconds(14), {&b_});
  EXPECT_FALSE(b_.leads());
  Pass(absl::Seconds(4), {&b_});
  EXPECT_TRUE(b_.leads());
}

TEST_F(ElectionTest, OfTwoThatClaimAtOnceOneWins) {
  a_.machine_.Read(server_.Read(), a_.now_);
  b_.machine_.Read(server_.Read(), b_.now_);
  const Election::Next of_a = a_.machine_.Take(a_.now_, a_.wall_);
  const Election::Next of_b = b_.machine_.Take(b_.now_, b_.wall_);
  ASSERT_EQ(of_a.what, What::kWrite);
  ASSERT_EQ(of_b.what, What::kWrite);
  b_.machine_.Wrote(server_.Write(of_b.lease), b_.now_);
  a_.machine_.Wrote(server_.Write(of_a.lease), a_.now_);
  EXPECT_TRUE(b_.leads());
  EXPECT_FALSE(a_.leads());
  Pass(absl::Seconds(5), {&a_, &b_});
  EXPECT_EQ(a_.machine_.why(), "b has the lease");
  EXPECT_TRUE(b_.leads());
}

TEST_F(ElectionTest, AnApiServerThatIsAwayForAShortTimeChangesNothing) {
  ElectA();
  server_.up = false;
  Pass(absl::Seconds(7), {&a_, &b_});
  EXPECT_TRUE(a_.leads());
  server_.up = true;
  Pass(absl::Seconds(20), {&a_, &b_});
  EXPECT_TRUE(a_.leads());
}

TEST_F(ElectionTest, AnApiServerThatIsAwayForLongEndsTheLeader) {
  ElectA();
  server_.up = false;
  Pass(absl::Seconds(10), {&a_, &b_});
  EXPECT_EQ(a_.machine_.role(), Role::kLost);
  EXPECT_THAT(a_.machine_.why(),
              HasSubstr("the lease was not renewed for 10s: the API server is away"));
  server_.up = true;
  Pass(absl::Seconds(60), {&a_, &b_});
  EXPECT_TRUE(b_.leads()) << "who was lost does not come back";
  EXPECT_FALSE(a_.leads());
}

// The leader is cut off, the other is not.
TEST_F(ElectionTest, APartitionedLeaderIsLostBeforeAnotherIsElected) {
  ElectA();
  Server nothing;
  nothing.up = false;
  a_.server_ = &nothing;
  Pass(absl::Minutes(1), {&a_, &b_});
  EXPECT_TRUE(b_.leads());
  EXPECT_EQ(a_.machine_.role(), Role::kLost);
}

TEST_F(ElectionTest, ALeaderThatWasHaltedIsNoneWhenItGoesOn) {
  ElectA();
  Pass(absl::Minutes(1), {&b_});
  EXPECT_TRUE(b_.leads());
  EXPECT_EQ(a_.machine_.Take(a_.now_, a_.wall_).what, What::kWait) << "it writes nothing";
  EXPECT_EQ(a_.machine_.role(), Role::kLost);
}

// The renewal counts from when it was sent.
TEST_F(ElectionTest, AnAnswerThatComesTooLateIsNoRenewal) {
  ElectA();
  a_.Advance(absl::Seconds(2));
  const Election::Next next = a_.machine_.Take(a_.now_, a_.wall_);
  ASSERT_EQ(next.what, What::kWrite);
  a_.Advance(absl::Seconds(7));
  const absl::StatusOr<kube::Lease> written = server_.Write(next.lease);
  a_.machine_.Wrote(written, a_.now_);
  EXPECT_EQ(a_.machine_.leads_until(), a_.now_ + absl::Seconds(3));

  Candidate late(server_, "late");
  server_.Delete();
  late.machine_.Read(server_.Read(), late.now_);
  const Election::Next claim = late.machine_.Take(late.now_, late.wall_);
  late.Advance(absl::Seconds(11));
  late.machine_.Wrote(server_.Write(claim.lease), late.now_);
  EXPECT_FALSE(late.leads());
}

TEST_F(ElectionTest, AnAnswerThatIsLostIsLookedAfter) {
  server_.loses_answers = true;
  a_.Run();
  EXPECT_FALSE(a_.leads()) << "it does not know";
  EXPECT_EQ(server_.lease().holder, "a");
  server_.loses_answers = false;
  Pass(absl::Seconds(2), {&a_});
  EXPECT_TRUE(a_.leads());

  server_.loses_answers = true;
  Pass(absl::Seconds(3), {&a_});
  server_.loses_answers = false;
  Pass(absl::Seconds(20), {&a_, &b_});
  EXPECT_TRUE(a_.leads()) << "the conflict was with itself";
  EXPECT_EQ(server_.lease().transitions, 0);
}

TEST_F(ElectionTest, WhoGivesItBackIsFollowedAtOnce) {
  ElectA();
  Pass(absl::Seconds(4), {&a_, &b_});
  ASSERT_TRUE(server_.Write(*a_.machine_.Release(a_.wall_)).ok());
  EXPECT_FALSE(a_.leads());
  EXPECT_EQ(server_.lease().holder, "");
  Pass(absl::Seconds(2), {&b_});
  EXPECT_TRUE(b_.leads());
  EXPECT_FALSE(a_.machine_.Release(a_.wall_).has_value());
}

TEST_F(ElectionTest, SomebodyElseTakesItAway) {
  ElectA();
  kube::Lease stolen = server_.lease();
  stolen.holder = "x";
  ASSERT_TRUE(server_.Write(stolen).ok());
  Pass(absl::Seconds(2), {&a_});
  EXPECT_EQ(a_.machine_.role(), Role::kLost);
  EXPECT_EQ(a_.machine_.why(), "x has the lease");
}

// Its leader does not know yet.
TEST_F(ElectionTest, ADeletedLeaseIsNotFreeBeforeItsTime) {
  ElectA();
  Pass(absl::Seconds(4), {&a_, &b_});
  server_.Delete();
  Pass(absl::Seconds(12), {&b_});
  EXPECT_FALSE(b_.leads());
  a_.Run();
  EXPECT_EQ(a_.machine_.role(), Role::kLost);
  Pass(absl::Seconds(6), {&b_});
  EXPECT_TRUE(b_.leads());
}

TEST_F(ElectionTest, WhatCannotBeWrittenIsNotAskedForWithoutEnd) {
  for (const absl::Status& why :
       {absl::NotFoundError("no such namespace"), absl::PermissionDeniedError("forbidden")}) {
    Candidate c(server_, "c");
    c.machine_.Read(absl::NotFoundError("none"), c.now_);
    ASSERT_EQ(c.machine_.Take(c.now_, c.wall_).what, What::kWrite);
    c.machine_.Wrote(why, c.now_);
    EXPECT_EQ(c.machine_.why(), why.message());
    EXPECT_EQ(c.machine_.Take(c.now_, c.wall_).at, c.now_ + absl::Seconds(2));
  }
}

}  // namespace
}  // namespace capstan::cluster
