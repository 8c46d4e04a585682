// SPDX-License-Identifier: Apache-2.0
#include "rotation/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "rotation/canary.h"
#include "trust/testing.h"

namespace capstan::rotation {
namespace {

using ::testing::HasSubstr;
using trust::AuthorityState;
using trust::Bundle;
using trust::testing::TestNow;
using trust::testing::TestPki;

class MachineTest : public ::testing::Test {
 protected:
  MachineTest() {
    for (const TestPki* pki : {&A(), &B()}) {
      const bool active = pki == &A();
      is_.authorities.insert(
          {pki->authority().id,
           {pki->authority(), active ? AuthorityState::kActive : AuthorityState::kPrepared, true,
            active ? TestNow() + absl::Hours(24) : absl::InfinitePast()}});
    }
    rotation_.policy.soak = absl::Seconds(30);
    rotation_.phase_since = now_.wall;
    seen_.anybody = true;
    seen_.clock_offset = absl::ZeroDuration();
  }

  static const TestPki& A() {
    static const auto& a = *new TestPki(TestPki::Make("a"));
    return a;
  }
  static const TestPki& B() {
    static const auto& b = *new TestPki(TestPki::Make("b"));
    return b;
  }
  static Bundle Roots(std::vector<const TestPki*> pkis) {
    std::vector<x509::Certificate> roots;
    for (const TestPki* pki : pkis) roots.push_back(pki->root.certificate);
    return Bundle::Of(std::move(roots));
  }

  Decision Decide() {
    const Question question = machine_.Ask(is_, wish_, rotation_, now_);
    return machine_.Decide(question, seen_, rotation_, now_);
  }
  // Decides and does what was decided, until nothing more can be done at this moment.
  Decision Walk() {
    Decision decision = Decide();
    while (decision.step.has_value()) {
      is_ = decision.step->after;
      steps_.push_back(decision.step->kind);
      decision = Decide();
    }
    return decision;
  }
  void Pass(absl::Duration d) {
    now_.wall += d;
    now_.monotonic += d;
  }
  static Holder Somebody(Holder::Kind kind) { return {kind, "spiffe://td/a#1", "because"}; }

  Situation is_{
      {{"lineage", 5}, Roots({&A()}), 3, A().authority().id, 0, {}}, {}, A().authority().id};
  Wish wish_{Roots({&B()}), {}, B().authority().id};
  Rotation rotation_;
  Observation seen_;
  Instant now_{TestNow(), absl::Hours(7)};
  Machine machine_;
  std::vector<StepKind> steps_;
};

TEST_F(MachineTest, InOneStrokeEachRemovalWaitsForItsGateAndItsSoak) {
  Decision decision = Walk();
  EXPECT_EQ(steps_, std::vector{StepKind::kAddRoots});
  EXPECT_EQ(decision.gate.gate.kind, GateKind::kTrust);
  EXPECT_EQ(decision.gate.gate.bundle.sequence, 6);
  EXPECT_EQ(decision.gate.soak_left, absl::Seconds(30));
  EXPECT_EQ(decision.look_again, absl::Seconds(30));
  Pass(absl::Seconds(29));
  EXPECT_FALSE(Decide().step.has_value());
  Pass(absl::Seconds(1));
  decision = Walk();
  EXPECT_EQ(steps_,
            (std::vector{StepKind::kAddRoots, StepKind::kSwitchIssuer, StepKind::kMoveServing}));
  EXPECT_EQ(decision.gate.gate.kind, GateKind::kMove);
  EXPECT_TRUE(decision.gate.gate.irreversible());
  EXPECT_TRUE(decision.gate.gate.leaving.contains(A().authority().id));
  Pass(absl::Seconds(30));
  decision = Walk();
  EXPECT_EQ(steps_.back(), StepKind::kDropRoots);
  EXPECT_TRUE(decision.finished);
  EXPECT_EQ(is_.trust.bundle, Roots({&B()}));
}

TEST_F(MachineTest, OneWhoIsNotThereHoldsAndTheSoakBeginsAnew) {
  Walk();
  Pass(absl::Seconds(20));
  for (auto kind : {Holder::Kind::kLaggard, Holder::Kind::kAbsent, Holder::Kind::kUnproven,
                    Holder::Kind::kJoinFile, Holder::Kind::kForeign, Holder::Kind::kUnrecorded}) {
    seen_.holders = {Somebody(kind)};
    Decision decision = Decide();
    EXPECT_FALSE(decision.step.has_value());
    EXPECT_FALSE(decision.gate.open);
    EXPECT_THAT(decision.gate.summary, HasSubstr("spiffe://td/a#1: because"));
    EXPECT_THAT(decision.gate.summary, HasSubstr(std::string(HolderKindName(kind))));
  }
  seen_.holders.clear();
  EXPECT_EQ(Decide().gate.soak_left, absl::Seconds(30));
}

TEST_F(MachineTest, ANewNamespaceKeepsItShutForAMomentAndTheSoakGoesOn) {
  Walk();
  Pass(absl::Seconds(20));
  seen_.holders = {Somebody(Holder::Kind::kBootstrap)};
  EXPECT_FALSE(Decide().step.has_value());
  EXPECT_THAT(Decide().gate.summary, HasSubstr("1 bootstrap"));
  EXPECT_EQ(Decide().gate.soak_left, absl::Seconds(10));
  Pass(kBlink + absl::Seconds(1));
  EXPECT_FALSE(Decide().step.has_value());
  seen_.holders.clear();
  EXPECT_EQ(Decide().gate.soak_left, absl::Seconds(30)) << "that was more than a moment";
}

TEST_F(MachineTest, WhoIsAwayForAMomentKeepsItShutAndTheSoakGoesOn) {
  Walk();
  for (int i = 0; i < 6; ++i) {  // in turn, for longer than the soak together
    Pass(absl::Seconds(5));
    seen_.holders = {Somebody(Holder::Kind::kAbsent)};
    seen_.holders[0].name = absl::StrCat("spiffe://td/a#", i);
    EXPECT_FALSE(Decide().step.has_value());
    EXPECT_EQ(Decide().gate.soak_left, absl::Seconds(25 - 5 * i));
  }
  seen_.holders.clear();
  EXPECT_TRUE(Decide().step.has_value());
}

TEST_F(MachineTest, WhoLackedNothingAndConnectsAnewHoldsNothingForAMoment) {
  Walk();
  Pass(absl::Seconds(30));
  seen_.holders = {Somebody(Holder::Kind::kAbsent)};
  EXPECT_FALSE(Decide().step.has_value());
  seen_.holders[0].returning = true;
  EXPECT_TRUE(Decide().step.has_value());
  Pass(kBlink + absl::Seconds(1));
  EXPECT_FALSE(Decide().step.has_value()) << "it stays away";
  // Another one, and others in turn, do not add up.
  for (int i = 0; i < 5; ++i) {
    seen_.holders[0].name = absl::StrCat("spiffe://td/a#", i);
    EXPECT_TRUE(Decide().gate.holders.empty()) << i;
    Pass(absl::Seconds(5));
  }
}

TEST_F(MachineTest, WhoIsAwayForLongerBeginsTheSoakAnew) {
  Walk();
  seen_.holders = {Somebody(Holder::Kind::kLaggard)};
  EXPECT_GT(Decide().gate.soak_left, absl::ZeroDuration());
  Pass(kBlink + absl::Seconds(1));
  EXPECT_EQ(Decide().gate.soak_left, absl::ZeroDuration());
  seen_.holders.clear();
  EXPECT_EQ(Decide().gate.soak_left, absl::Seconds(30));
}

TEST_F(MachineTest, TheAbsentAreWaitedForUntilTheirDeadlineAndOthersForEver) {
  Walk();
  rotation_.policy.absent_deadline = absl::Hours(2);
  rotation_.policy.soak = absl::ZeroDuration();
  seen_.holders = {Somebody(Holder::Kind::kAbsent)};
  Pass(absl::Hours(2) - absl::Seconds(1));
  EXPECT_FALSE(Decide().step.has_value());
  Pass(absl::Seconds(1));
  Decision decision = Decide();
  ASSERT_TRUE(decision.step.has_value());
  ASSERT_EQ(decision.passed_over.size(), 1u);
  EXPECT_EQ(decision.passed_over[0].name, "spiffe://td/a#1");
  EXPECT_THAT(decision.passed_over[0].why, HasSubstr("deadline of 2h"));
  seen_.holders = {Somebody(Holder::Kind::kLaggard)};
  Pass(absl::Hours(24));
  EXPECT_FALSE(Decide().step.has_value());
}

TEST_F(MachineTest, ADeadlineByAClockThatNobodyConfirmsIsNone) {
  Walk();
  rotation_.policy.absent_deadline = absl::Hours(2);
  rotation_.policy.soak = absl::ZeroDuration();
  seen_.holders = {Somebody(Holder::Kind::kAbsent)};
  now_.wall += absl::Hours(24 * 7);  // the clock jumped
  seen_.clock_offset = -absl::Hours(24 * 7);
  EXPECT_FALSE(Decide().step.has_value());
  seen_.clock_offset.reset();
  EXPECT_FALSE(Decide().step.has_value());
}

TEST_F(MachineTest, NoGateOpensWhileTheClocksDisagree) {
  rotation_.policy.soak = absl::ZeroDuration();
  seen_.clock_offset = absl::Seconds(61);
  Decision decision = Walk();
  // Trust is added at once; by this clock, whoever lacks it may look expired and is not.
  EXPECT_EQ(steps_.back(), StepKind::kAddRoots);
  ASSERT_EQ(decision.gate.holders.size(), 1u);
  EXPECT_EQ(decision.gate.holders[0].kind, Holder::Kind::kClock);
  EXPECT_THAT(decision.gate.summary, HasSubstr("behind the median of its agents' clocks"));
  seen_.clock_offset.reset();
  EXPECT_THAT(Walk().gate.summary, HasSubstr("no agent is connected"));
  seen_.clock_offset = -absl::Seconds(60);
  EXPECT_TRUE(Walk().finished);
}

TEST_F(MachineTest, WhereNobodyEverWasNobodyHasToConfirmTheClock) {
  rotation_.policy.soak = absl::ZeroDuration();
  seen_ = {};
  EXPECT_TRUE(Walk().finished);
}

TEST_F(MachineTest, WhereAStockAgentsWordIsAllThereIsItSoaksForLonger) {
  seen_.holders.clear();
  seen_.by_word = 1;
  EXPECT_FALSE(Walk().step.has_value());
  now_.monotonic += rotation_.policy.soak;
  EXPECT_EQ(Decide().gate.soak_left, rotation_.policy.soak_stock_agents - rotation_.policy.soak);
  seen_.by_word = 0;  // its Envoy was read
  EXPECT_TRUE(Decide().step.has_value());
}

TEST(StandsForTest, APatternIsForTheAbsent) {
  const auto absent = [](std::string name) {
    return Holder{Holder::Kind::kAbsent, std::move(name), "off"};
  };
  const Holder one = absent("spiffe://td/ns/old/sa/a#pod:1");
  EXPECT_TRUE(StandsFor(one.name, one));
  EXPECT_TRUE(StandsFor("spiffe://td/ns/old/*", one));
  EXPECT_TRUE(StandsFor("spiffe://td/*/sa/a#*", one));
  EXPECT_TRUE(StandsFor("spiffe://td/ns/old/sa/a#pod:1*", one)) << "* stands for nothing, too";
  EXPECT_FALSE(StandsFor("spiffe://td/ns/ol/*", one));
  EXPECT_FALSE(StandsFor("spiffe://td/*#csr:*", one));
  EXPECT_FALSE(StandsFor("*/sa/b*", one));
  Holder laggard = one;
  laggard.kind = Holder::Kind::kLaggard;
  EXPECT_FALSE(StandsFor("spiffe://td/ns/old/*", laggard));
  EXPECT_TRUE(StandsFor(laggard.name, laggard));
}

TEST_F(MachineTest, TheExcludedArePassedOverAndNotRecordedTwice) {
  Walk();
  rotation_.policy.soak = absl::ZeroDuration();
  seen_.holders = {Somebody(Holder::Kind::kLaggard)};
  rotation_.exempt["spiffe://td/a#1"] = {"spiffe://td/a#1", "excluded", now_.wall};
  Decision decision = Decide();
  EXPECT_TRUE(decision.step.has_value());
  EXPECT_TRUE(decision.passed_over.empty());
}

TEST_F(MachineTest, APausedRotationRestsThoughItsGateIsOpen) {
  rotation_.paused = true;
  EXPECT_FALSE(Decide().step.has_value());
  EXPECT_THAT(Decide().gate.summary, HasSubstr("paused"));
  rotation_.paused = false;
  EXPECT_TRUE(Decide().step.has_value());
}

TEST_F(MachineTest, AnEmergencyKnowsNoGates) {
  rotation_.emergency = true;
  seen_.holders = {Somebody(Holder::Kind::kLaggard)};
  seen_.clock_offset.reset();
  EXPECT_TRUE(Walk().finished);
  EXPECT_EQ(is_.trust.bundle, Roots({&B()}));
}

TEST_F(MachineTest, TheWayBackIsGatedTheSame) {
  rotation_.policy.soak = absl::ZeroDuration();
  wish_.bundle = Roots({&A(), &B()});
  seen_.holders.clear();
  while (true) {
    Decision decision = Decide();
    if (!decision.step.has_value() || decision.step->kind == StepKind::kRetire) break;
    is_ = decision.step->after;
  }
  EXPECT_EQ(is_.trust.issuer, B().authority().id);
  wish_ = {Roots({&A()}), {}, A().authority().id};
  seen_.holders = {Somebody(Holder::Kind::kLaggard)};
  EXPECT_EQ(Decide().gate.gate.kind, GateKind::kTrust);
  EXPECT_FALSE(Decide().step.has_value());
  seen_.holders.clear();
  steps_.clear();
  EXPECT_TRUE(Walk().finished);
  EXPECT_EQ(steps_, (std::vector{StepKind::kSwitchIssuer, StepKind::kDropRoots}));
  EXPECT_EQ(is_.trust.bundle, Roots({&A()}));
}

TEST_F(MachineTest, AnIntermediateUnderTheSameRootRetiresItsPredecessorThroughTheMoveGate) {
  const trust::testing::TestCa next =
      trust::testing::MakeIntermediate(A().root, {"Intermediate CA", "next"});
  const trust::Authority authority{trust::AuthorityId::Of(next.certificate),
                                   next.certificate,
                                   {next.certificate},
                                   A().root.certificate};
  is_.authorities.insert({authority.id, {authority, AuthorityState::kPrepared, true}});
  wish_ = {Roots({&A()}), {}, authority.id};
  EXPECT_EQ(Walk().gate.gate.kind, GateKind::kTrust);
  Pass(absl::Seconds(30));
  Decision decision = Walk();
  EXPECT_EQ(steps_, std::vector{StepKind::kSwitchIssuer});
  EXPECT_EQ(decision.gate.gate.kind, GateKind::kMove);
  EXPECT_FALSE(decision.gate.gate.irreversible());
  EXPECT_TRUE(decision.gate.gate.leaving.contains(A().authority().id));
  EXPECT_FALSE(decision.gate.gate.stays.contains(A().authority().id));
  EXPECT_EQ(PhaseOf(is_, wish_), Phase::kNewIssuer);
  Pass(absl::Seconds(30));
  EXPECT_TRUE(Walk().finished);
  EXPECT_EQ(is_.authorities.at(A().authority().id).state, AuthorityState::kRetired);
  EXPECT_EQ(PhaseOf(is_, wish_), Phase::kRootB);
}

TEST_F(MachineTest, ACanaryComesBetweenTheTrustAndTheSwitch) {
  wish_.canary = *trust::Canary::Parse("namespace=web");
  Decision decision = Walk();
  EXPECT_EQ(steps_, std::vector{StepKind::kAddRoots});
  EXPECT_EQ(decision.next, "start-canary");
  EXPECT_EQ(decision.gate.gate.kind, GateKind::kTrust);
  EXPECT_EQ(decision.gate.gate.canary, wish_.canary);
  Pass(absl::Seconds(30));
  decision = Walk();
  EXPECT_EQ(steps_.back(), StepKind::kStartCanary);
  EXPECT_EQ(is_.trust.issuer, A().authority().id);
  EXPECT_EQ(is_.trust.issuer_epoch, 3);
  EXPECT_EQ(is_.authorities.at(B().authority().id).state, AuthorityState::kActive);
  EXPECT_EQ(CanaryOf(is_, wish_)->authority, B().authority().id);
  EXPECT_EQ(PhaseOf(is_, wish_), Phase::kBothTrusted);
  EXPECT_EQ(decision.gate.gate.kind, GateKind::kCanary);
  EXPECT_EQ(decision.gate.gate.accepted, B().authority().id);
  EXPECT_EQ(decision.gate.soak_left, absl::Seconds(30));
  Pass(absl::Seconds(30));
  decision = Walk();
  EXPECT_EQ(is_.trust.issuer, B().authority().id);
  EXPECT_EQ(is_.trust.issuer_epoch, 4);
  EXPECT_FALSE(CanaryOf(is_, wish_).has_value());
  EXPECT_EQ(is_.authorities.at(A().authority().id).state, AuthorityState::kRetiring);
  Pass(absl::Seconds(30));
  EXPECT_TRUE(Walk().finished);
}

TEST_F(MachineTest, ACanaryIsLookedAtForAWhileHoweverShortTheSoak) {
  wish_.canary = *trust::Canary::Parse("percent=10");
  rotation_.policy.soak = absl::ZeroDuration();
  EXPECT_EQ(Walk().gate.soak_left, kLeastCanarySoak);
}

TEST_F(MachineTest, HarmTurnsBackAtOnceAndPausedAndUnlessItIsExempt) {
  wish_.canary = *trust::Canary::Parse("namespace=web");
  rotation_.policy.soak = absl::ZeroDuration();
  seen_.alarms = {{"spiffe://td/a#1", "its Envoy refused"}};
  EXPECT_EQ(Decide().turn_back, "");  // there is no canary yet
  Decision decision = Walk();
  EXPECT_EQ(steps_.back(), StepKind::kStartCanary);
  EXPECT_EQ(decision.turn_back, "spiffe://td/a#1: its Envoy refused");
  EXPECT_THAT(decision.gate.summary, HasSubstr("its Envoy refused"));
  EXPECT_FALSE(decision.gate.open);
  Pass(absl::Hours(1));
  EXPECT_FALSE(Decide().step.has_value());
  rotation_.paused = true;
  EXPECT_NE(Decide().turn_back, "");
  rotation_.exempt["spiffe://td/a#1"] = {"spiffe://td/a#1", "excluded", now_.wall};
  EXPECT_EQ(Decide().turn_back, "");
}

TEST_F(MachineTest, TheWayBackFromACanaryEndsItFirst) {
  wish_.canary = *trust::Canary::Parse("namespace=web");
  rotation_.policy.soak = absl::ZeroDuration();
  Walk();
  steps_.clear();
  wish_ = {Roots({&A()}), {}, A().authority().id};
  seen_.holders = {Somebody(Holder::Kind::kLaggard)};
  Decision decision = Walk();
  EXPECT_EQ(steps_, std::vector{StepKind::kEndCanary});
  EXPECT_EQ(is_.authorities.at(B().authority().id).state, AuthorityState::kRetiring);
  EXPECT_EQ(is_.trust.issuer_epoch, 3);
  EXPECT_EQ(decision.gate.gate.kind, GateKind::kMove);
  EXPECT_TRUE(decision.gate.gate.leaving.contains(B().authority().id));
  seen_.holders.clear();
  EXPECT_TRUE(Walk().finished);
  EXPECT_EQ(is_.trust.bundle, Roots({&A()}));
  EXPECT_EQ(is_.authorities.at(B().authority().id).state, AuthorityState::kRetired);
}

TEST_F(MachineTest, ACanaryThatIsNotWishedAnyMoreEndsWhateverIsWishedInstead) {
  wish_.canary = *trust::Canary::Parse("namespace=web");
  rotation_.policy.soak = absl::ZeroDuration();
  Walk();
  const TestPki c = TestPki::Make("c");
  is_.authorities.insert({c.authority().id, {c.authority(), AuthorityState::kPrepared, true}});
  wish_ = {Roots({&c}), {}, c.authority().id, wish_.canary};
  steps_.clear();
  Walk();
  EXPECT_EQ(steps_,
            (std::vector{StepKind::kEndCanary, StepKind::kAddRoots, StepKind::kStartCanary}));
  EXPECT_EQ(CanaryOf(is_, wish_)->authority, c.authority().id);
}

TEST_F(MachineTest, TheFirstWishWaitsForNobody) {
  is_.trust = {{"lineage", 0}, {}, 0, A().authority().id, 0, {}};
  is_.serving.reset();
  is_.authorities.at(A().authority().id).state = AuthorityState::kPrepared;
  wish_ = {Roots({&A()}), {}, A().authority().id};
  seen_ = {};
  EXPECT_TRUE(Walk().finished);
  EXPECT_EQ(is_.trust.issuer_epoch, 1);
}

TEST_F(MachineTest, PhasesAreAFunctionOfWhatIsAndWhatIsWished) {
  EXPECT_EQ(PhaseOf(is_, wish_), Phase::kRootA);
  rotation_.policy.soak = absl::ZeroDuration();
  std::vector<Phase> seen;
  Decision decision = Decide();
  while (decision.step.has_value()) {
    is_ = decision.step->after;
    if (seen.empty() || seen.back() != PhaseOf(is_, wish_)) seen.push_back(PhaseOf(is_, wish_));
    decision = Decide();
  }
  EXPECT_EQ(seen, (std::vector{Phase::kBothTrusted, Phase::kNewIssuer, Phase::kRootB}));
}

}  // namespace
}  // namespace capstan::rotation
