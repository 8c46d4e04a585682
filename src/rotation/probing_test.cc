// SPDX-License-Identifier: Apache-2.0
#include "rotation/probing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "rotation/gate.h"
#include "trust/testing.h"

namespace capstan::rotation {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using trust::AuthorityId;
using trust::AuthorityState;
using trust::Bundle;
using trust::testing::TestNow;
using trust::testing::TestPki;

class ProbingTest : public ::testing::Test {
 protected:
  Situation With(const Bundle& bundle, const TestPki& issuer, AuthorityState of_a,
                 AuthorityState of_b) const {
    Situation situation{
        {{"lineage", 5}, bundle, 3, issuer.authority().id, 0, {}}, {}, issuer.authority().id};
    situation.authorities.insert({Id(a_), {a_.authority(), of_a, true, Later()}});
    situation.authorities.insert({Id(b_), {b_.authority(), of_b, true, Later()}});
    return situation;
  }
  Situation BothTrusted() const {
    return With(Both(), a_, AuthorityState::kActive, AuthorityState::kPrepared);
  }
  Situation NewIssuer() const {
    return With(Both(), b_, AuthorityState::kRetiring, AuthorityState::kActive);
  }
  Situation RootB() const {
    return With(OnlyB(), b_, AuthorityState::kRetired, AuthorityState::kActive);
  }
  Wish WishForB() const { return {OnlyB(), {}, Id(b_)}; }

  static AuthorityId Id(const TestPki& pki) { return pki.authority().id; }
  Bundle OnlyA() const { return Bundle::Of({a_.root.certificate}); }
  Bundle OnlyB() const { return Bundle::Of({b_.root.certificate}); }
  Bundle Both() const { return Union(OnlyA(), OnlyB()); }
  static absl::Time Later() { return TestNow() + absl::Hours(24); }

  const TestPki a_ = TestPki::Make("a");
  const TestPki b_ = TestPki::Make("b");
};

TEST_F(ProbingTest, NothingBeforeTheNewRootIsPublished) {
  Situation now_is = With(OnlyA(), a_, AuthorityState::kActive, AuthorityState::kPrepared);
  EXPECT_EQ(PhaseOf(now_is, WishForB()), Phase::kRootA);
  EXPECT_EQ(ProbingOf(now_is, WishForB(), TestNow()), Probing{});
}

TEST_F(ProbingTest, BothTrustedTriesTheIssuerAndTheOneToCome) {
  ASSERT_EQ(PhaseOf(BothTrusted(), WishForB()), Phase::kBothTrusted);
  const Probing probing = ProbingOf(BothTrusted(), WishForB(), TestNow());
  EXPECT_THAT(probing.accepted, ElementsAre(Id(a_), Id(b_)));
  EXPECT_THAT(probing.refused, IsEmpty());
}

TEST_F(ProbingTest, WithoutBothKeysThereIsNothingToCompare) {
  for (const TestPki* pki : {&a_, &b_}) {
    Situation now_is = BothTrusted();
    now_is.authorities.at(Id(*pki)).has_key = false;
    EXPECT_TRUE(ProbingOf(now_is, WishForB(), TestNow()).empty());
  }
  Situation unknown = BothTrusted();
  unknown.authorities.erase(Id(b_));
  EXPECT_TRUE(ProbingOf(unknown, WishForB(), TestNow()).empty());
  Situation revoked = BothTrusted();
  revoked.authorities.at(Id(b_)).state = AuthorityState::kRevoked;
  EXPECT_TRUE(ProbingOf(revoked, WishForB(), TestNow()).empty());
}

TEST_F(ProbingTest, AnAuthorityThatExpiredCannotSignAProbe) {
  const absl::Time end = b_.intermediate.certificate.not_after();
  EXPECT_FALSE(ProbingOf(BothTrusted(), WishForB(), end - absl::Seconds(1)).empty());
  EXPECT_TRUE(ProbingOf(BothTrusted(), WishForB(), end).empty());
  EXPECT_TRUE(ProbingOf(BothTrusted(), WishForB(),
                        b_.intermediate.certificate.not_before() - absl::Seconds(1))
                  .empty());
}

TEST_F(ProbingTest, TheFirstIssuerIsNotTried) {
  Situation first = BothTrusted();
  first.trust.issuer_epoch = 0;
  EXPECT_TRUE(ProbingOf(first, WishForB(), TestNow()).empty());
}

TEST_F(ProbingTest, TheNewIssuerTriesItselfFirstAndThenThoseBeforeIt) {
  ASSERT_EQ(PhaseOf(NewIssuer(), WishForB()), Phase::kNewIssuer);
  EXPECT_THAT(ProbingOf(NewIssuer(), WishForB(), TestNow()).accepted, ElementsAre(Id(b_), Id(a_)));
  Situation no_key = NewIssuer();
  no_key.authorities.at(Id(a_)).has_key = false;
  EXPECT_THAT(ProbingOf(no_key, WishForB(), TestNow()).accepted, ElementsAre(Id(b_)));
  Situation never_signed = NewIssuer();
  never_signed.authorities.at(Id(a_)).state = AuthorityState::kPrepared;
  EXPECT_THAT(ProbingOf(never_signed, WishForB(), TestNow()).accepted, ElementsAre(Id(b_)));
  Situation no_control = NewIssuer();
  no_control.authorities.at(Id(b_)).has_key = false;
  EXPECT_TRUE(ProbingOf(no_control, WishForB(), TestNow()).empty());
}

TEST_F(ProbingTest, OnceTheRootIsGoneItsClientsMustBeRefused) {
  ASSERT_EQ(PhaseOf(RootB(), WishForB()), Phase::kRootB);
  const Probing probing = ProbingOf(RootB(), WishForB(), TestNow());
  EXPECT_THAT(probing.accepted, ElementsAre(Id(b_)));
  EXPECT_THAT(probing.refused, ElementsAre(Id(a_)));
}

TEST_F(ProbingTest, NothingIsTriedOnceNoLeafIsLeft) {
  EXPECT_TRUE(ProbingOf(RootB(), WishForB(), Later()).empty());
  Situation no_key = RootB();
  no_key.authorities.at(Id(a_)).has_key = false;
  EXPECT_TRUE(ProbingOf(no_key, WishForB(), TestNow()).empty());
  // A retired authority whose root stays is accepted and proves nothing.
  Situation stays = RootB();
  stays.trust.bundle = Both();
  EXPECT_TRUE(ProbingOf(stays, {Both(), {}, Id(b_)}, TestNow()).empty());
}

}  // namespace
}  // namespace capstan::rotation
