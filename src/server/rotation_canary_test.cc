// SPDX-License-Identifier: Apache-2.0
// Rotations in which some workloads go first.
#include <gmock/gmock.h>

#include "server/rotation_fixture.h"

namespace capstan::server {
namespace {

using testing::Agent;
using ::testing::HasSubstr;
using testing::RotationTest;
using trust::Bundle;
using trust::testing::TestPki;

// Two workloads, of which the canary is "web", in a rotation to B.
class CanaryTest : public RotationTest {
 protected:
  CanaryTest() {
    EXPECT_TRUE(offered_);
    web_.failed = rest_.failed = 0;
    Acknowledge(web_);
    Acknowledge(rest_);
  }
  void Begin(const std::string& canary = "namespace=web") {
    const absl::StatusOr<Outcome> begun =
        plane_->Offer(b_.Set({}), {.source = "managed", .canary = *trust::Canary::Parse(canary)});
    ASSERT_TRUE(begun.ok()) << begun.status();
    Acknowledge(web_);
    Acknowledge(rest_);
    Pass(absl::Seconds(12), {&web_, &rest_});
    ASSERT_EQ(StateOf(b_), trust::AuthorityState::kActive);
    ASSERT_EQ(View().decision.gate.gate.kind, rotation::GateKind::kCanary);
  }
  trust::AuthorityState StateOf(const TestPki& pki) {
    return plane_->keeper().situation()->authorities.at(pki.authority().id).state;
  }
  std::string DirectedTo(const Agent& agent) {
    return plane_->UpdateFor(*spiffe::SpiffeId::Parse(agent.id))->renewal().authority_id();
  }
  // What the plane turned back for, to its end.
  void ExpectTurnsBack(const std::string& why) {
    Pass(absl::Seconds(2), {&web_, &rest_});
    EXPECT_EQ(StateOf(b_), trust::AuthorityState::kRetiring);
    EXPECT_EQ(View().record.outcome, "rolled-back");
    EXPECT_THAT(View().record.turned_why, HasSubstr(why));
    EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
    EXPECT_EQ(DirectedTo(web_), a_.authority().id.hex());
    // B stays trusted until its leaves are gone.
    Pass(absl::Seconds(30), {&web_, &rest_});
    EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(b_)));
    web_.leaf_nack.clear();
    web_.probes.clear();
    Reissue(web_);
    EXPECT_EQ(web_.leaf.authority_id(), a_.authority().id.hex());
    Pass(absl::Seconds(12), {&web_, &rest_});
    EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(a_)}));
    Acknowledge(web_);
    Acknowledge(rest_);
    Pass(absl::Seconds(2), {&web_, &rest_});
    EXPECT_TRUE(View().record.finished());
    EXPECT_EQ(plane_->GetRotation()->state(), "rolled-back");
    EXPECT_THAT(plane_->GetRotation()->turned_why(), HasSubstr(why));
  }

  const bool offered_ = Offer(a_).ok();
  Agent web_ = Join("web");
  Agent rest_ = Join("rest");
};

TEST_F(CanaryTest, TheNewAuthoritySignsForItFirstAndForEverybodyWhenItDidWell) {
  Begin();
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  EXPECT_EQ(plane_->trust()->issuer_epoch, 1);
  EXPECT_EQ(View().record.phase, "both-trusted");
  EXPECT_EQ(DirectedTo(web_), b_.authority().id.hex());
  EXPECT_EQ(DirectedTo(rest_), "");
  // Nothing that B signs outlives what is on disk.
  EXPECT_GT(plane_->keeper().situation()->authorities.at(b_.authority().id).reserved_until,
            clock_.Now() + absl::Hours(24));
  Pass(absl::Seconds(60), {&web_, &rest_});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);  // the canary has not moved
  EXPECT_THAT(View().decision.gate.summary, HasSubstr(web_.id));
  Reissue(rest_);
  EXPECT_EQ(rest_.leaf.authority_id(), a_.authority().id.hex());
  Reissue(web_);
  EXPECT_EQ(web_.leaf.authority_id(), b_.authority().id.hex());
  Pass(absl::Seconds(14), {&web_, &rest_});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);  // it soaks
  const control::v1::Rotation said = *plane_->GetRotation();
  EXPECT_EQ(said.canary().selector(), "namespace=web");
  EXPECT_TRUE(said.canary().signing());
  EXPECT_EQ(said.canary().population(), 1);
  EXPECT_EQ(said.canary().moved(), 1);
  EXPECT_EQ(said.canary().others(), 1);
  EXPECT_EQ(said.canary().untold(), 0);
  const control::v1::ListFleetResponse fleet = plane_->ListFleet();
  for (const control::v1::Workload& workload : fleet.workloads()) {
    EXPECT_EQ(workload.state(), "acknowledged") << workload.why();
  }
  Pass(absl::Seconds(3), {&web_, &rest_});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
  EXPECT_EQ(plane_->trust()->issuer_epoch, 2);
  EXPECT_EQ(DirectedTo(rest_), b_.authority().id.hex());
  Reissue(rest_);
  Pass(absl::Seconds(12), {&web_, &rest_});
  Acknowledge(web_);
  Acknowledge(rest_);
  Pass(absl::Seconds(2), {&web_, &rest_});
  EXPECT_TRUE(View().record.finished());
  EXPECT_EQ(View().record.outcome, "done");
}

TEST_F(CanaryTest, ARestartInTheMiddleGoesOnWithIt) {
  Begin();
  executor_.Advance(absl::Seconds(1));
  Restart();
  Connect(web_);
  Connect(rest_);
  EXPECT_EQ(DirectedTo(web_), b_.authority().id.hex());
  EXPECT_EQ(DirectedTo(rest_), "");
  Reissue(web_);
  EXPECT_EQ(web_.leaf.authority_id(), b_.authority().id.hex());
  Pass(absl::Seconds(18), {&web_, &rest_});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
}

TEST_F(CanaryTest, WhereOthersRefuseMoreThanBeforeItTurnsBackByItself) {
  rest_.failed = 3;  // of before
  Begin();
  Reissue(web_);
  Pass(absl::Seconds(5), {&web_, &rest_});
  EXPECT_EQ(View().record.outcome, "done");
  rest_.failed = 5;
  ExpectTurnsBack(
      absl::StrCat(rest_.id, "#i1: its Envoy refused the certificate of a peer 2 times"));
  const auto journal = *store_.Journal(100);
  EXPECT_TRUE(std::any_of(journal.begin(), journal.end(), [](const store::JournalEntry& entry) {
    return entry.kind == "rolled-back" &&
           entry.why.find("by itself, for the canary's harm") != std::string::npos;
  }));
}

TEST_F(CanaryTest, ARiseThatARestartSlippedOverIsSeenAllTheSame) {
  Begin();
  Reissue(web_);
  executor_.Advance(absl::Seconds(1));
  rest_.failed = 1;
  Restart();
  EXPECT_EQ(StateOf(b_), trust::AuthorityState::kActive);
  Connect(web_);
  Connect(rest_);
  ExpectTurnsBack("1 time since the canary began");
}

TEST_F(CanaryTest, ARestartOnTheWayBackGoesOnBackwards) {
  Begin();
  Reissue(web_);
  rest_.failed = 1;
  Pass(absl::Seconds(2), {&web_, &rest_});
  EXPECT_EQ(StateOf(b_), trust::AuthorityState::kRetiring);
  executor_.Advance(absl::Seconds(1));
  Restart();
  Connect(web_);
  Connect(rest_);
  ExpectTurnsBack("1 time");
}

TEST_F(CanaryTest, WhatTheCanaryItselfRefusesOfOthersIsNoAccountOfOthers) {
  Begin();
  Reissue(web_);
  web_.failed = 40;
  Pass(absl::Seconds(18), {&web_, &rest_});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
}

TEST_F(CanaryTest, ACanaryWhoseEnvoyRefusesTheNewLeafTurnsBackByItself) {
  Begin();
  Reissue(web_);
  web_.leaf_nack = "Failed to load private key";
  ExpectTurnsBack("refused default: Failed to load private key");
}

TEST_F(CanaryTest, AListenerThatRefusesTheNewAuthorityTurnsBackByItself) {
  Begin();
  Reissue(web_);
  for (const auto& [authority, verdict] :
       {std::pair{a_.authority().id, fleet::v1::ProbeResult::ACCEPTED},
        std::pair{b_.authority().id, fleet::v1::ProbeResult::UNKNOWN_CA}}) {
    fleet::v1::ProbeResult& probe = web_.probes.emplace_back();
    probe.set_target("127.0.0.1:15006");
    probe.set_authority_id(authority.hex());
    probe.set_verdict(verdict);
    probe.set_detail("alert 48, unknown ca");
    *probe.mutable_bundle() = web_.bundle;
  }
  ExpectTurnsBack("unknown ca");
}

TEST_F(CanaryTest, AnOperatorTurnsItBackTheSame) {
  Begin();
  Reissue(web_);
  Pass(absl::Seconds(2), {&web_, &rest_});
  EXPECT_TRUE(plane_->keeper().Steer(Steering::kRollback, "changed my mind").ok());
  ExpectTurnsBack("by the operator: changed my mind");
}

TEST_F(CanaryTest, ARotationThatIsAimedElsewhereKeepsItsCanary) {
  Begin();
  EXPECT_TRUE(plane_->keeper().Steer(Steering::kRollback).ok());
  const TestPki c = TestPki::Make("intermediateC");
  ASSERT_TRUE(Offer(c).ok());
  EXPECT_EQ(View().record.turned_why, "");
  Acknowledge(web_);
  Acknowledge(rest_);
  Pass(absl::Seconds(12), {&web_, &rest_});
  EXPECT_EQ(StateOf(b_), trust::AuthorityState::kRetiring);
  EXPECT_EQ(StateOf(c), trust::AuthorityState::kActive);
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  EXPECT_EQ(DirectedTo(web_), c.authority().id.hex());
  Restart();
  EXPECT_EQ(DirectedTo(web_), c.authority().id.hex());
}

TEST_F(CanaryTest, WhoTellsNothingIsCounted) {
  rest_.failed.reset();
  Begin();
  EXPECT_EQ(plane_->GetRotation()->canary().untold(), 1);
}

TEST_F(CanaryTest, ACanaryOfNobodyIsRefusedAndOneOfEverybodyIsTold) {
  control::v1::StartRotationRequest request;
  request.set_generate(true);
  request.set_canary("namespace=nowhere");
  absl::Status refused = plane_->StartRotation(request).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("selects none of the 2 workloads"), HasSubstr("rest, web")));
  const control::v1::RotationPlan::Finding finding =
      *plane_->PlanRotation(request)->findings().rbegin();
  EXPECT_EQ(finding.severity(), "error");
  EXPECT_EQ(finding.code(), "canary-selects-nobody");
  EXPECT_EQ(finding.where(), "--canary");
  request.set_canary("percent=0");
  EXPECT_EQ(plane_->StartRotation(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.set_canary("namespace=web");
  request.set_emergency(true);
  EXPECT_EQ(plane_->StartRotation(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.set_emergency(false);
  request.set_canary("percent=100");
  const control::v1::RotationPlan plan = *plane_->PlanRotation(request);
  EXPECT_THAT(plan.findings().rbegin()->what(), HasSubstr("selects all of the 2 workloads"));
  EXPECT_EQ(plan.canary().others(), 0);
  EXPECT_EQ(plan.steps(1).name(), "start-canary");
  EXPECT_THAT(plan.steps(2).gate(), HasSubstr("percent=100"));
  EXPECT_EQ(plane_->GetRotation()->number(), 0);
  request.set_canary("namespace=web");
  ASSERT_TRUE(plane_->StartRotation(request).ok());
  EXPECT_EQ(plane_->GetRotation()->canary().selector(), "namespace=web");
}

}  // namespace
}  // namespace capstan::server
