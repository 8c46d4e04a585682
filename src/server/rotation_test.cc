// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "server/observe.h"
#include "server/rotation_fixture.h"

namespace capstan::server {
namespace {

using testing::Agent;
using ::testing::HasSubstr;
using testing::RotationTest;
using trust::Bundle;
using trust::testing::TestNow;
using trust::testing::TestPki;

TEST_F(RotationTest, InOneStrokeItWaitsForEverybodyAtEachGate) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Agent two = Join("two");
  Acknowledge(one);
  Acknowledge(two);
  absl::StatusOr<Outcome> outcome = Offer(b_);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->steps.size(), 1u);  // trust at once, the rest through gates
  EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(a_), RootOf(b_)}));
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  EXPECT_EQ(View().record.phase, "both-trusted");

  Acknowledge(one);
  Pass(absl::Seconds(30), {&one, &two});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  EXPECT_THAT(View().decision.gate.summary, HasSubstr(two.id));
  Acknowledge(two);
  Pass(absl::Seconds(9), {&one, &two});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);  // it soaks
  Pass(absl::Seconds(2), {&one, &two});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
  EXPECT_EQ(View().record.phase, "new-issuer");

  Reissue(one);
  Pass(absl::Seconds(30), {&one, &two});
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
  EXPECT_THAT(View().decision.gate.summary, HasSubstr(two.id));
  Reissue(two);
  Pass(absl::Seconds(12), {&one, &two});
  EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(b_)}));
  EXPECT_FALSE(View().record.finished());
  Acknowledge(one);
  Acknowledge(two);
  Pass(absl::Seconds(2), {&one, &two});
  EXPECT_TRUE(View().record.finished());
  EXPECT_EQ(View().record.outcome, "done");
  EXPECT_TRUE(View().exempt.empty());
}

TEST_F(RotationTest, TheAbsentHoldItAlsoAcrossARestartUntilTheyAreExcludedByName) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Agent away = Join("away");
  Acknowledge(one);
  plane_->Disconnected(away.caller, away.instance, away.generation);
  ASSERT_TRUE(Offer(b_).ok());
  executor_.Advance(absl::Seconds(1));  // the population is written behind
  Restart();
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  Connect(one);
  Acknowledge(one);
  Pass(absl::Seconds(30), {&one});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  ASSERT_EQ(View().decision.gate.holders.size(), 1u);
  EXPECT_EQ(View().decision.gate.holders[0].kind, rotation::Holder::Kind::kAbsent);
  EXPECT_EQ(View().decision.gate.holders[0].name, absl::StrCat(away.id, "#i1"));

  EXPECT_EQ(plane_->keeper().Exclude("spiffe://cluster.local/ns/x/sa/y", "gone").code(),
            absl::StatusCode::kNotFound);
  ASSERT_TRUE(plane_->keeper().Exclude(away.id, "decommissioned").ok());
  Pass(absl::Seconds(12), {&one});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
  ASSERT_EQ(View().exempt.size(), 1u);
  EXPECT_THAT(View().exempt[0].why, HasSubstr("decommissioned"));
  Restart();
  EXPECT_EQ(View().exempt.size(), 1u);  // for ever in the report
}

TEST_F(RotationTest, APatternPassesOverTheAbsentNowAndLaterAndNobodyWhoIsConnected) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Agent gone = Join("gone");
  Agent later = Join("later");
  Acknowledge(one);
  plane_->Disconnected(gone.caller, gone.instance, gone.generation);
  ASSERT_TRUE(Offer(b_).ok());
  Acknowledge(one);
  Pass(absl::Seconds(15), {&one});
  const std::string everybody = "spiffe://cluster.local/*";
  EXPECT_EQ(plane_->keeper().Exclude("*", "x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(
      std::string(plane_->keeper().Exclude("spiffe://cluster.local/*later*", "x").message()),
      HasSubstr("who is connected is excluded by name"));
  ASSERT_TRUE(plane_->keeper().Exclude(everybody, "the namespace is gone").ok());
  Pass(absl::Seconds(15), {&one});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id) << "the other one is connected, and lags";
  plane_->Disconnected(later.caller, later.instance, later.generation);
  Pass(absl::Seconds(15), {&one});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
  EXPECT_THAT(View().exempt, ::testing::SizeIs(3))
      << "the pattern, and each of those whom it let pass";
}

TEST_F(RotationTest, ANackHaltsItWithItsText) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Acknowledge(one);
  ASSERT_TRUE(Offer(b_).ok());
  one.nack = "Failed to load trusted CA certificates";
  Acknowledge(one);
  Pass(absl::Seconds(60), {&one});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  EXPECT_THAT(View().decision.gate.summary, HasSubstr("Failed to load trusted CA"));
}

TEST_F(RotationTest, ABundleThatIsRefusedIsLeftWithoutAskingWhoRefusedIt) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Acknowledge(one);
  ASSERT_TRUE(Offer(b_).ok());
  one.nack = "Failed to load trusted CA certificates";
  Acknowledge(one);
  Pass(absl::Seconds(12), {&one});
  ASSERT_TRUE(plane_->keeper().Steer(Steering::kRollback).ok());
  Pass(absl::Seconds(12), {&one});
  EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(a_)}));
  EXPECT_FALSE(View().record.finished());  // it has accepted nothing since
  one.nack.clear();
  Acknowledge(one);
  Pass(absl::Seconds(2), {&one});
  EXPECT_EQ(View().record.outcome, "rolled-back");
  EXPECT_TRUE(View().record.finished());
}

TEST_F(RotationTest, FromEachPhaseThereIsAWayBackAndTheContentIsRefusedFromThenOn) {
  for (const char* phase : {"both-trusted", "new-issuer"}) {
    SCOPED_TRACE(phase);
    ASSERT_TRUE(Offer(a_).ok());
    Agent one = Join(phase);
    Acknowledge(one);
    const TestPki next = TestPki::Make(phase);
    ASSERT_TRUE(Offer(next).ok());
    if (std::string(phase) == "new-issuer") {
      Acknowledge(one);
      Pass(absl::Seconds(12), {&one});
      ASSERT_EQ(plane_->trust()->issuer, next.authority().id);
      Reissue(one);
      EXPECT_FALSE(plane_->keeper().Steer(Steering::kAbort).ok());
    }
    ASSERT_TRUE(plane_->keeper().Steer(Steering::kRollback).ok());
    EXPECT_FALSE(plane_->keeper().Steer(Steering::kRollback).ok());
    EXPECT_EQ(Offer(next).status().code(), absl::StatusCode::kFailedPrecondition);
    executor_.Advance(absl::Seconds(1));  // its leaf is written behind
    Restart();
    Connect(one);
    for (int i = 0; i < 4; ++i) {
      Acknowledge(one);
      Pass(absl::Seconds(12), {&one});
      if (one.leaf.authority_id() != plane_->trust()->issuer.hex()) Reissue(one);
    }
    EXPECT_TRUE(View().record.finished());
    EXPECT_EQ(View().record.outcome, "rolled-back");
    EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(a_)}));
    EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
    EXPECT_EQ(Offer(next).status().code(), absl::StatusCode::kFailedPrecondition);
    plane_->Disconnected(one.caller, one.instance, one.generation);
    clock_.Advance(absl::Hours(48));  // its leaf expires, it is nobody's concern any more
  }
}

TEST_F(RotationTest, OnceTheOldRootIsGoneThereIsNoWayBackButForward) {
  ASSERT_TRUE(Offer(a_).ok());
  ASSERT_TRUE(Offer(b_).ok());
  Pass(absl::Seconds(40), {});
  EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(b_)}));
  EXPECT_FALSE(plane_->keeper().Steer(Steering::kRollback).ok());
  ASSERT_TRUE(Offer(a_).ok());  // a rotation like any other
  Pass(absl::Seconds(40), {});
  EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(a_)}));
  EXPECT_EQ(View().record.number, 2);
}

TEST_F(RotationTest, AClockThatJumpsAWeekDropsNothing) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Agent away = Join("away");
  Acknowledge(one);
  plane_->Disconnected(away.caller, away.instance, away.generation);
  ASSERT_TRUE(Offer(b_).ok());
  ASSERT_TRUE(plane_->keeper().Exclude("none", "x").code() == absl::StatusCode::kNotFound);
  Acknowledge(one);
  clock_.StepWallClock(absl::Hours(24 * 7));
  one.clock_ahead = -absl::Hours(24 * 7);
  Pass(absl::Seconds(120), {&one});
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
}

TEST_F(RotationTest, WhoHadExpiredByAClockThatWasAheadHoldsAgainWhenItIsRight) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Agent away = Join("away");
  Acknowledge(one);
  Acknowledge(away);
  ASSERT_TRUE(Offer(b_).ok());
  Acknowledge(one);
  Acknowledge(away);
  Pass(absl::Seconds(12), {&one, &away});
  ASSERT_EQ(plane_->trust()->issuer, b_.authority().id);
  plane_->Disconnected(away.caller, away.instance, away.generation);
  Reissue(one);
  for (absl::Duration week : {absl::Hours(24 * 7), -absl::Hours(24 * 7)}) {
    clock_.StepWallClock(week);
    one.clock_ahead -= week;
    Pass(absl::Seconds(30), {&one});
    EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_))) << week;
  }
  EXPECT_THAT(View().decision.gate.summary, HasSubstr(away.id));
}

TEST_F(RotationTest, AnUnusedJoinFileWithoutTheNewRootHoldsIt) {
  ASSERT_TRUE(Offer(a_).ok());
  control::v1::CreateTokenRequest request;
  request.set_spiffe_id("spiffe://cluster.local/ns/late/sa/late");
  request.mutable_ttl()->set_seconds(60);
  ASSERT_TRUE(plane_->CreateToken(request).ok());
  ASSERT_TRUE(Offer(b_).ok());
  Pass(absl::Seconds(30), {});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  EXPECT_THAT(View().decision.gate.summary, HasSubstr("join-file"));
  Pass(absl::Seconds(60), {});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
}

TEST_F(RotationTest, WhereOthersTakeTheirFirstTrustTheNewRootIsBeforeItIsReliedUpon) {
  const auto serving_root = [&] { return plane_->GetStatus().serving_root_fingerprint(); };
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Acknowledge(one);
  ASSERT_TRUE(Offer(b_).ok());
  Acknowledge(one);
  places_.Lacks("web");
  Pass(absl::Seconds(30), {&one});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  EXPECT_EQ(places_.asked_sequence, 2);
  EXPECT_THAT(View().decision.gate.summary, HasSubstr("1 bootstrap; config-map:web: it lacks it"));
  places_.lacking.clear();
  Pass(absl::Seconds(12), {&one});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
  EXPECT_EQ(serving_root(), RootOf(b_).FingerprintHex());
}

TEST_F(RotationTest, TheControlPlanesOwnCertificateWaitsForThemToo) {
  const auto serving_root = [&] { return plane_->GetStatus().serving_root_fingerprint(); };
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Acknowledge(one);
  ASSERT_TRUE(Offer(b_).ok());
  Acknowledge(one);
  places_.Lacks("web");
  places_.lacks_now = [&] { return plane_->trust()->issuer == b_.authority().id; };
  Pass(absl::Seconds(12), {&one});
  ASSERT_EQ(plane_->trust()->issuer, b_.authority().id);
  Reissue(one);
  Pass(absl::Seconds(60), {&one});
  EXPECT_EQ(serving_root(), RootOf(a_).FingerprintHex());
  EXPECT_EQ(View().decision.gate.gate.kind, rotation::GateKind::kAgents);
  EXPECT_THAT(View().decision.gate.summary, HasSubstr("1 bootstrap; config-map:web: it lacks it"));
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
  ASSERT_TRUE(plane_->keeper().Exclude("config-map:web", "nothing runs there").ok());
  EXPECT_EQ(serving_root(), RootOf(b_).FingerprintHex());
  Pass(absl::Seconds(12), {&one});
  EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(b_)}));
}

TEST_F(RotationTest, LeavesThatOthersMayHaveSignedHoldTheLastGateOfTheirRoot) {
  foreign_leaf_ttl_ = absl::Hours(24);
  Restart();
  ASSERT_TRUE(Offer(a_).ok());
  ASSERT_TRUE(Offer(b_).ok());
  Pass(absl::Seconds(40), {});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
  ASSERT_EQ(View().decision.gate.holders.size(), 1u);
  EXPECT_EQ(View().decision.gate.holders[0].kind, rotation::Holder::Kind::kForeign);
  EXPECT_EQ(View().decision.gate.holders[0].until, TestNow() + absl::Hours(24));
  Restart();
  Pass(absl::Seconds(40), {});
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
  clock_.Advance(absl::Hours(24));
  Pass(absl::Seconds(20), {});
  EXPECT_FALSE(plane_->trust()->bundle.Contains(RootOf(a_)));
}

TEST_F(RotationTest, AGeneratedRootBeginsEarlyEnoughForClocksThatAreBehind) {
  ASSERT_TRUE(Offer(a_).ok());
  control::v1::StartRotationRequest request;
  request.set_generate(true);
  const control::v1::RotationPlan plan = *plane_->PlanRotation(request);
  for (const auto& finding : plan.findings()) EXPECT_NE(finding.code(), "not-yet-valid-there");
}

TEST_F(RotationTest, ADeclaredSignerHoldsTheLastGateOfItsRootForAsLongAsItIsDeclared) {
  foreign_signers_ = {{"west", RootOf(a_).FingerprintHex().substr(0, 16)}};
  Restart();
  ASSERT_TRUE(Offer(a_).ok());
  ASSERT_TRUE(Offer(b_).ok());
  clock_.Advance(absl::Hours(24 * 30));
  Pass(absl::Seconds(40), {});
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
  ASSERT_EQ(View().decision.gate.holders.size(), 1u);
  EXPECT_EQ(View().decision.gate.holders[0].name, "west");
  EXPECT_EQ(View().decision.gate.holders[0].kind, rotation::Holder::Kind::kForeign);
  foreign_signers_.clear();
  Restart();
  Pass(absl::Seconds(40), {});
  EXPECT_FALSE(plane_->trust()->bundle.Contains(RootOf(a_)));
}

TEST_F(RotationTest, PausedItRestsAndResumedItGoesOn) {
  ASSERT_TRUE(Offer(a_).ok());
  ASSERT_TRUE(Offer(b_).ok());
  ASSERT_TRUE(plane_->keeper().Steer(Steering::kPause).ok());
  EXPECT_FALSE(plane_->keeper().Steer(Steering::kPause).ok());
  Pass(absl::Seconds(60), {});
  Restart();
  Pass(absl::Seconds(60), {});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  ASSERT_TRUE(plane_->keeper().Steer(Steering::kResume).ok());
  Pass(absl::Seconds(60), {});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
}

TEST_F(RotationTest, TheKeyOfARetiredAuthorityIsDestroyedAfterItsTime) {
  ASSERT_TRUE(Offer(a_).ok());
  ASSERT_TRUE(Offer(b_).ok());
  Pass(absl::Seconds(40), {});
  ASSERT_TRUE(View().record.finished());
  auto sealed = [&] {
    const store::State state = *store_.Load();
    for (const store::AuthorityRecord& record : state.authorities) {
      if (record.id == a_.authority().id.hex()) return record.sealed_key;
    }
    return std::string("none");
  };
  EXPECT_NE(sealed(), "");
  clock_.Advance(absl::Hours(24 * 7));
  executor_.Advance(absl::Seconds(2));
  EXPECT_EQ(sealed(), "");
}

TEST_F(RotationTest, WhatACrashMayHaveLostKeepsTheOldRoot) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  executor_.Advance(absl::Seconds(1));
  Restart();  // everything was written: nothing is missing
  EXPECT_TRUE(store_.Load()->unseen.empty());
  Reissue(one);
  Restart();  // in the moment after the answer
  const std::string signer = absl::StrCat("authority:", a_.authority().id.hex());
  ASSERT_EQ(store_.Load()->unseen.size(), 1u);
  EXPECT_EQ(store_.Load()->unseen[0].signer, signer);
  EXPECT_EQ(store_.Load()->unseen[0].until, clock_.Now() + absl::Hours(24 + 1));
  EXPECT_EQ(store_.Journal(1)->at(0).kind, "unrecorded");
  Restart();  // it is not forgotten, nor found again
  EXPECT_EQ(store_.Load()->unseen.size(), 1u);
  EXPECT_TRUE(store_.Load()->unwritten.empty());

  Connect(one);
  Acknowledge(one);
  ASSERT_TRUE(Offer(b_).ok());
  Acknowledge(one);
  Pass(absl::Seconds(12), {&one});
  ASSERT_EQ(View().record.phase, "new-issuer");
  Reissue(one);
  Pass(absl::Seconds(30), {&one});
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
  ASSERT_EQ(View().decision.gate.holders.size(), 1u);
  EXPECT_EQ(View().decision.gate.holders[0].kind, rotation::Holder::Kind::kUnrecorded);
  EXPECT_EQ(View().decision.gate.holders[0].name, signer);
  // What B signed last is of no matter to the root that leaves.
  Reissue(one);
  Restart();
  Connect(one);
  Acknowledge(one);
  Pass(absl::Seconds(3), {&one});
  EXPECT_EQ(View().decision.gate.holders.size(), 1u);
  ASSERT_TRUE(plane_->keeper().Exclude(signer, "there is only one workload").ok());
  Pass(absl::Seconds(12), {&one});
  EXPECT_FALSE(plane_->trust()->bundle.Contains(RootOf(a_)));
}

TEST_F(RotationTest, WhatACrashMayHaveLostEndsByItself) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Restart();
  ASSERT_EQ(store_.Load()->unseen.size(), 1u);
  Connect(one);
  Acknowledge(one);
  ASSERT_TRUE(Offer(b_).ok());
  Acknowledge(one);
  Pass(absl::Seconds(12), {&one});
  clock_.StepWallClock(absl::Hours(24));
  Reissue(one);
  Pass(absl::Seconds(30), {&one});
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
  clock_.StepWallClock(absl::Hours(1));
  Pass(absl::Seconds(12), {&one});
  EXPECT_FALSE(plane_->trust()->bundle.Contains(RootOf(a_)));
}

}  // namespace
}  // namespace capstan::server
