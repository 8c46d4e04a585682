// SPDX-License-Identifier: Apache-2.0
#include "rotation/step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "base/strings.h"
#include "trust/ca_crl.h"
#include "trust/testing.h"

namespace capstan::rotation {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using trust::AuthorityState;
using trust::Bundle;
using trust::testing::MakeCrl;
using trust::testing::TestNow;
using trust::testing::TestPki;

const std::vector<TestPki>& Pkis() {
  static const auto& pkis =
      *new std::vector<TestPki>{TestPki::Make("a"), TestPki::Make("b"), TestPki::Make("c")};
  return pkis;
}
const TestPki& A() {
  return Pkis()[0];
}
const TestPki& B() {
  return Pkis()[1];
}

Standing StandingOf(const TestPki& pki, AuthorityState state) {
  return {pki.authority(), state, true,
          state == AuthorityState::kPrepared ? absl::InfinitePast() : TestNow() + absl::Hours(24)};
}

Situation SituationWith(const Bundle& bundle, const TestPki& issuer) {
  Situation situation{
      {{"lineage", 5}, bundle, 3, issuer.authority().id, 0, {}}, {}, issuer.authority().id};
  for (const TestPki& pki : Pkis()) {
    situation.authorities.insert({pki.authority().id, StandingOf(pki, AuthorityState::kPrepared)});
  }
  situation.authorities.at(issuer.authority().id) = StandingOf(issuer, AuthorityState::kActive);
  return situation;
}

Wish WishFor(const Bundle& bundle, const TestPki& issuer) {
  return {bundle, {}, issuer.authority().id};
}

Bundle Roots(const std::vector<TestPki>& pkis) {
  std::vector<x509::Certificate> roots;
  for (const TestPki& pki : pkis) roots.push_back(pki.root.certificate);
  return Bundle::Of(std::move(roots));
}

std::vector<StepKind> Walk(Situation situation, const Wish& wish, Situation* end = nullptr) {
  std::vector<StepKind> kinds;
  while (std::optional<Step> step = NextStep(situation, wish, TestNow())) {
    kinds.push_back(step->kind);
    situation = step->after;
    if (kinds.size() > 20) ADD_FAILURE() << "does not end";
    if (kinds.size() > 20) break;
  }
  if (end != nullptr) *end = situation;
  return kinds;
}

TEST(StepTest, FourSmallStepsGiveTheFourPhases) {
  Situation phase = SituationWith(Roots({A()}), A());
  EXPECT_THAT(Walk(phase, WishFor(Roots({A()}), A())), ElementsAre());
  EXPECT_THAT(Walk(phase, WishFor(Roots({A(), B()}), A()), &phase),
              ElementsAre(StepKind::kAddRoots));
  EXPECT_EQ(phase.trust.version.sequence, 6);
  EXPECT_EQ(phase.trust.issuer_epoch, 3);  // a new root makes nobody ask for a certificate
  std::optional<Step> step = NextStep(phase, WishFor(Roots({A(), B()}), B()), TestNow());
  EXPECT_EQ(step->kind, StepKind::kSwitchIssuer);
  phase = step->after;
  EXPECT_EQ(phase.trust.version.sequence, 6);
  EXPECT_EQ(phase.trust.issuer_epoch, 4);
  EXPECT_EQ(phase.serving, A().authority().id);
  EXPECT_EQ(phase.authorities.at(A().authority().id).state, AuthorityState::kRetiring);
  EXPECT_THAT(Walk(phase, WishFor(Roots({A(), B()}), B())), ElementsAre(StepKind::kRetire));
  EXPECT_THAT(Walk(phase, WishFor(Roots({B()}), B()), &phase),
              ElementsAre(StepKind::kMoveServing, StepKind::kDropRoots));
  EXPECT_EQ(phase.serving, B().authority().id);
  EXPECT_EQ(phase.authorities.at(A().authority().id).state, AuthorityState::kRetired);
}

TEST(StepTest, OneStrokeTakesTheSafeOrder) {
  EXPECT_THAT(Walk(SituationWith(Roots({A()}), A()), WishFor(Roots({B()}), B())),
              ElementsAre(StepKind::kAddRoots, StepKind::kSwitchIssuer, StepKind::kMoveServing,
                          StepKind::kDropRoots));
}

TEST(StepTest, TheWayBackIsAWishLikeAnyOther) {
  Situation there = SituationWith(Roots({A()}), A());
  Walk(SituationWith(Roots({A(), B()}), A()), WishFor(Roots({A(), B()}), B()), &there);
  EXPECT_THAT(Walk(there, WishFor(Roots({A()}), A()), &there),
              ElementsAre(StepKind::kSwitchIssuer, StepKind::kDropRoots));
  EXPECT_EQ(there.authorities.at(A().authority().id).state, AuthorityState::kActive);
  EXPECT_EQ(there.trust.issuer_epoch, 5);
}

TEST(StepTest, WhatCannotBeReachedIsSaid) {
  Situation now_is = SituationWith(Roots({A()}), A());
  EXPECT_TRUE(CheckWish(now_is, WishFor(Roots({B()}), B()), TestNow()).ok());
  EXPECT_THAT(std::string(CheckWish(now_is, WishFor(Roots({A()}), B()), TestNow()).message()),
              HasSubstr("does not hold the root"));
  now_is.authorities.at(B().authority().id).has_key = false;
  EXPECT_THAT(std::string(CheckWish(now_is, WishFor(Roots({B()}), B()), TestNow()).message()),
              HasSubstr("key"));
  now_is.authorities.at(B().authority().id) = StandingOf(B(), AuthorityState::kRevoked);
  EXPECT_THAT(std::string(CheckWish(now_is, WishFor(Roots({B()}), B()), TestNow()).message()),
              HasSubstr("revoked"));
  now_is.authorities.erase(B().authority().id);
  EXPECT_FALSE(CheckWish(now_is, WishFor(Roots({B()}), B()), TestNow()).ok());
}

class CrlStepTest : public ::testing::Test {
 protected:
  std::vector<x509::Crl> CrlsOf(const TestPki& pki) {
    return {MakeCrl(pki.intermediate), MakeCrl(pki.root)};
  }
  Situation WithCrls(Situation situation, std::vector<x509::Crl> crls) {
    std::sort(crls.begin(), crls.end(), [](auto& a, auto& b) { return a.der() < b.der(); });
    situation.trust.crls = std::move(crls);
    situation.trust.crl_number = 1;
    return situation;
  }
};

TEST_F(CrlStepTest, CrlsOfBothIssuersAreThereWhileBothHaveLeaves) {
  Situation now_is = WithCrls(SituationWith(Roots({A(), B()}), A()), CrlsOf(A()));
  Wish wish = WishFor(Roots({A(), B()}), B());
  wish.crls = CrlsOf(B());
  ASSERT_TRUE(CheckWish(now_is, wish, TestNow()).ok());
  Situation end = now_is;
  for (StepKind kind : {StepKind::kAddCrls, StepKind::kSwitchIssuer}) {
    std::optional<Step> step = NextStep(end, wish, TestNow());
    ASSERT_EQ(step->kind, kind);
    end = step->after;
  }
  // Those of the retired go with it.
  EXPECT_THAT(Walk(end, wish), ElementsAre(StepKind::kRetire, StepKind::kSetCrls));
  EXPECT_TRUE(trust::CheckCovered(A().authority(), end.trust.crls, TestNow()).ok());
  EXPECT_TRUE(trust::CheckCovered(B().authority(), end.trust.crls, TestNow()).ok());
  wish.bundle = Roots({B()});
  EXPECT_THAT(Walk(end, wish, &end),
              ElementsAre(StepKind::kMoveServing, StepKind::kDropRoots, StepKind::kSetCrls));
  EXPECT_EQ(end.trust.crls.size(), 2u);
  EXPECT_EQ(end.trust.crl_number, 3);
}

TEST_F(CrlStepTest, CrlsThatWouldRefuseLeavesInUseAreRefused) {
  Situation now_is = SituationWith(Roots({A(), B()}), A());
  Wish wish = WishFor(Roots({A(), B()}), B());
  wish.crls = CrlsOf(B());  // and A's leaves have none
  absl::Status status = CheckWish(now_is, wish, TestNow());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("in use until"));
  now_is.authorities.at(A().authority().id).reserved_until = TestNow() - absl::Seconds(1);
  EXPECT_TRUE(CheckWish(now_is, wish, TestNow()).ok());
}

TEST_F(CrlStepTest, NoneGoBeforeAnIssuerWithoutAny) {
  Situation now_is = WithCrls(SituationWith(Roots({A(), B()}), A()), CrlsOf(A()));
  EXPECT_THAT(Walk(now_is, WishFor(Roots({A(), B()}), B())),
              ElementsAre(StepKind::kDropCrls, StepKind::kSwitchIssuer, StepKind::kRetire));
  EXPECT_THAT(Walk(now_is, WishFor(Roots({A(), B()}), A())), ElementsAre(StepKind::kSetCrls));
}

// From any situation to any wish, stopped and planned anew at every step: nobody ever loses what
// his peers need to verify him.
RC_GTEST_PROP(StepProperty, EveryWayIsSafeAndEnds, ()) {
  auto subset = [](int bits) {
    std::vector<TestPki> pkis;
    for (int i = 0; i < 3; ++i) {
      if ((bits >> i) & 1) pkis.push_back(Pkis()[i]);
    }
    return Roots(pkis);
  };
  const int from = *rc::gen::inRange(0, 3);
  Situation now_is =
      SituationWith(Union(subset(*rc::gen::inRange(0, 8)), subset(1 << from)), Pkis()[from]);
  for (int wishes = *rc::gen::inRange(1, 5); wishes > 0; --wishes) {
    const int to = *rc::gen::inRange(0, 3);
    Wish wish = WishFor(Union(subset(*rc::gen::inRange(0, 8)), subset(1 << to)), Pkis()[to]);
    RC_ASSERT(CheckWish(now_is, wish, TestNow()).ok());
    int steps = *rc::gen::inRange(0, 8);  // and then another wish comes in between
    while (std::optional<Step> step = NextStep(now_is, wish, TestNow())) {
      if (steps-- == 0) break;
      const Situation& after = step->after;
      RC_ASSERT(after.trust.version.sequence >= now_is.trust.version.sequence);
      RC_ASSERT((after.trust.version.sequence == now_is.trust.version.sequence) ==
                (after.trust.bundle == now_is.trust.bundle));
      RC_ASSERT((after.trust.issuer_epoch == now_is.trust.issuer_epoch) ==
                (after.trust.issuer == now_is.trust.issuer));
      // Who signs is trusted, before and after; so is who speaks for the control plane.
      RC_ASSERT(
          now_is.trust.bundle.Contains(after.authorities.at(after.trust.issuer).authority.root));
      RC_ASSERT(
          after.trust.bundle.Contains(after.authorities.at(after.trust.issuer).authority.root));
      RC_ASSERT(after.trust.bundle.Contains(after.authorities.at(*after.serving).authority.root));
      int active = 0;
      for (const auto& [id, standing] : after.authorities) {
        if (standing.state == AuthorityState::kActive) ++active;
        if (standing.state == AuthorityState::kRetiring)
          RC_ASSERT(after.trust.bundle.Contains(standing.authority.root));
      }
      RC_ASSERT(active == 1);
      now_is = after;
    }
    if (steps >= 0) {
      RC_ASSERT(now_is.trust.bundle == wish.bundle);
      RC_ASSERT(now_is.trust.issuer == wish.issuer);
    }
  }
}

}  // namespace
}  // namespace capstan::rotation
