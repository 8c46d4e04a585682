// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "rotation/preflight_fixture.h"
#include "trust/ca_crl.h"

namespace capstan::rotation::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using trust::AuthorityState;
using trust::Bundle;
using trust::testing::MakeCrl;
using trust::testing::MakeIntermediate;
using trust::testing::MakeRoot;
using trust::testing::TestNow;
using trust::testing::TestPki;

TEST_F(PreflightTest, ASoundReplacementIsOnlyNoted) {
  const std::vector<Finding> findings = Look(FromA(MadeFrom(B())));
  EXPECT_FALSE(HasErrors(findings)) << Text(findings);
  for (const Finding& finding : findings) {
    EXPECT_EQ(finding.severity, kNote) << Text({finding});
    EXPECT_EQ(finding.code, "same-subject");  // as in Istio's makefile
  }
  EXPECT_THAT(findings, Not(IsEmpty()));
}

TEST_F(PreflightTest, WhatOpenSslMakesIsSoundToo) {
  const std::vector<Finding> findings = LookAt({});
  EXPECT_THAT(findings, IsEmpty()) << Text(findings);
}

TEST_F(PreflightTest, TheOrderIsThatOfSeverityAndIsStable) {
  const Recipe many{
      .root_key = "EC -pkeyopt ec_paramgen_curve:P-521",
      .extensions = absl::StrCat(kIntermediateExtensions, "1.2.3.4=critical,ASN1:NULL\n"),
      .root_flags = "-sha1",
      .flags = "-set_serial -5"};
  const PreflightInput input = FromA(cas_.Make(many));
  const std::vector<Finding> findings = Look(input);
  EXPECT_TRUE(
      std::is_sorted(findings.begin(), findings.end(),
                     [](const Finding& a, const Finding& b) { return a.severity < b.severity; }));
  EXPECT_TRUE(HasErrors(findings));
  EXPECT_EQ(findings, Look(input));
}

// ── Pairs ────────────────────────────────────────────────────────────────────────────────────────

TEST_F(PreflightTest, ALeafOfThePresentIssuerMustVerifyNow) {
  PreflightInput input = FromA(MadeFrom(B()));
  input.now_is.trust.bundle = Bundle::Of({MakeRoot({"Other"}).certificate});
  const std::vector<Finding> findings = Look(input);
  EXPECT_THAT(findings, Finds(kError, "pair-refused",
                              "the present issuer is refused by who trusts the roots that are "
                              "there now"));
  EXPECT_THAT(findings, Finds(kError, "pair-refused",
                              "the present issuer is refused by who trusts the old and the new"));
}

TEST_F(PreflightTest, ALeafOfTheNewIssuerMustVerifyFromBothTrustedOn) {
  Made crossed = MadeFrom(B());
  const trust::testing::TestCa other = MakeRoot({"Other"});
  crossed.authority.root = other.certificate;  // which did not sign the intermediate
  const std::vector<Finding> findings = Look(FromA(crossed));
  EXPECT_THAT(findings, Finds(kError, "pair-refused",
                              "the new issuer is refused by who trusts the old and the new"));
  EXPECT_THAT(findings, Finds(kError, "pair-refused",
                              "the new issuer is refused by who trusts the new roots alone"));
}

TEST_F(PreflightTest, ALeafThatStaysInUseMustVerifyUnderTheNewRootsToo) {
  PreflightInput input = FromA(MadeFrom(A()));  // and its own root is to stay
  const TestPki second{A().root, MakeIntermediate(A().root, {"Second", "a2"})};
  input.candidate.authority = second.authority();
  input.signers[second.authority().id] = SignerOf(second.intermediate);
  EXPECT_FALSE(HasErrors(Look(input))) << Text(Look(input));
  input.now_is.authorities.begin()->second.authority.intermediates = {B().intermediate.certificate};
  EXPECT_THAT(Look(input), Finds(kError, "pair-refused",
                                 "the present issuer is refused by who trusts the new roots"));
}

TEST_F(PreflightTest, LeavesOfARetiringAuthorityCountWhileTheyLive) {
  PreflightInput input = FromA(MadeFrom(B()));
  const TestPki third = TestPki::Make("c");
  input.now_is.authorities.insert(
      {third.authority().id,
       Standing{third.authority(), AuthorityState::kRetiring, false, TestNow() + absl::Hours(9)}});
  EXPECT_THAT(Look(input), Finds(kError, "pair-refused", third.authority().id.hex()));
  input.now_is.authorities.at(third.authority().id).reserved_until = TestNow() - absl::Hours(1);
  EXPECT_FALSE(HasErrors(Look(input)));
}

TEST_F(PreflightTest, BothRolesAreTried) {
  EXPECT_THAT(LookAt({.extensions =
                          absl::StrCat(kIntermediateExtensions, "extendedKeyUsage=serverAuth\n")}),
              Finds(kError, "pair-refused", "as a client"));
  EXPECT_THAT(LookAt({.extensions =
                          absl::StrCat(kIntermediateExtensions, "extendedKeyUsage=clientAuth\n")}),
              Finds(kError, "pair-refused", "as a server"));
}

TEST_F(PreflightTest, LeavesThatVerifyWhereTheyNeedNotAreNoted) {
  trust::testing::CaSpec same_key{"Root CA"};  // another certificate of the old root's key and name
  same_key.key = &A().root.key;
  const trust::testing::TestCa twin = MakeRoot(same_key);
  const TestPki pki{twin, MakeIntermediate(twin, {"Intermediate CA", "b"})};
  const std::vector<Finding> findings = Look(FromA(MadeFrom(pki)));
  EXPECT_THAT(findings, Finds(kNote, "pair-crosses",
                              "the present issuer is accepted by who trusts the new roots alone"));
  EXPECT_THAT(findings, Finds(kNote, "pair-crosses",
                              "the new issuer is accepted by who trusts the old roots alone"));
  EXPECT_THAT(findings, Finds(kNote, "same-key-roots", "renewed"));
  EXPECT_FALSE(HasErrors(findings)) << Text(findings);
  EXPECT_THAT(Of(Look(FromA(MadeFrom(B()))), "pair-crosses"), IsEmpty());
}

TEST_F(PreflightTest, AKeyThatCannotSignIsFoundByTrial) {
  PreflightInput input = FromA(MadeFrom(B()));
  input.signers[B().authority().id] = SignerOf(A().intermediate);
  EXPECT_THAT(Look(input), Finds(kError, "trial-failed", "the new issuer cannot sign"));
}

TEST_F(PreflightTest, WithoutAKeyTheChainIsTried) {
  Made keyless = MadeFrom(B());
  keyless.signer = nullptr;
  const std::vector<Finding> sound = Look(FromA(keyless));
  EXPECT_THAT(sound, Finds(kNote, "no-key", "rest in both-trusted"));
  EXPECT_FALSE(HasErrors(sound)) << Text(sound);
  keyless.authority.root = MakeRoot({"Other"}).certificate;
  EXPECT_THAT(Look(FromA(keyless)), Finds(kError, "pair-refused", "the new issuer"));
  EXPECT_THAT(Of(Look(FromA(MadeFrom(B()))), "no-key"), IsEmpty());
}

// ── The way ──────────────────────────────────────────────────────────────────────────────────────

TEST_F(PreflightTest, AWishThatCannotBeReachedIsAnError) {
  PreflightInput input = FromA(MadeFrom(B()));
  input.candidate.bundle = Bundle::Of({A().root.certificate});
  EXPECT_THAT(Look(input), Finds(kError, "no-way", "does not hold the root"));
  input = FromA(MadeFrom(B()));
  input.now_is.authorities.insert(
      {B().authority().id, Standing{B().authority(), AuthorityState::kRevoked, false, {}}});
  EXPECT_THAT(Look(input), Finds(kError, "no-way", "revoked"));
}

TEST_F(PreflightTest, WhatTheReaderToleratedIsRepeated) {
  PreflightInput input = FromA(MadeFrom(B()));
  input.candidate =
      CandidateOf(B().Set({B().root.certificate, B().root.certificate}));  // duplicates
  EXPECT_THAT(Look(input), Finds(kWarning, "source", "repeats 1 root"));
}

TEST_F(PreflightTest, CrlsMustCoverEveryChainInUse) {
  PreflightInput input = FromA(MadeFrom(B()));
  const std::vector<x509::Crl> of_b = {MakeCrl(B().root), MakeCrl(B().intermediate)};
  input.candidate.crls = of_b;
  EXPECT_THAT(Look(input), Finds(kError, "crl", "in use until"));
  input.candidate.crls.push_back(MakeCrl(A().root));
  input.candidate.crls.push_back(MakeCrl(A().intermediate));
  EXPECT_THAT(Of(Look(input), "crl"), IsEmpty()) << Text(Look(input));
  input.candidate.crls.erase(input.candidate.crls.begin());
  EXPECT_THAT(Look(input), Finds(kError, "crl", "no CRL there is signed by"));
}

TEST_F(PreflightTest, CrlsThatEndSoonOrWouldGoAreWarnedOf) {
  PreflightInput input = FromA(MadeFrom(B()));
  input.now_is.trust.crls = {MakeCrl(A().root), MakeCrl(A().intermediate)};
  EXPECT_THAT(Look(input), Finds(kWarning, "crls-dropped", "2 CRLs"));
  input.candidate.crls = {
      MakeCrl(B().root), MakeCrl(A().root), MakeCrl(A().intermediate),
      MakeCrl(B().intermediate, TestNow() - absl::Hours(1), TestNow() + absl::Hours(6))};
  const std::vector<Finding> findings = Look(input);
  EXPECT_THAT(findings, Finds(kWarning, "crl-ends", "refuses every leaf"));
  EXPECT_THAT(Of(findings, "crls-dropped"), IsEmpty());
}

TEST_F(PreflightTest, ACaThatCannotSignCrlsIsNotedOrRefused) {
  const trust::testing::TestCa root = MakeRoot({"Root B"});
  trust::testing::CaSpec spec{"Intermediate B"};
  spec.key_usage = x509::kKeyCertSign;
  const TestPki pki{root, MakeIntermediate(root, spec)};
  PreflightInput input = FromA(MadeFrom(pki));
  EXPECT_THAT(Look(input), Finds(kNote, "no-crl-sign", "cRLSign"));
  input.candidate.crls = {MakeCrl(root)};
  EXPECT_THAT(Look(input), Finds(kError, "crl", "lacks cRLSign"));
}

// Every sound pair of key types is without errors, with a key of either kind at the root.
RC_GTEST_PROP(PreflightProperty, ASoundPairOfAnyKeysIsWithoutErrors, ()) {
  using x509::KeyType;
  static const auto& keys = *new std::vector<x509::PrivateKey>([] {
    std::vector<x509::PrivateKey> made;
    for (KeyType type : {KeyType::kRsa2048, KeyType::kRsa3072, KeyType::kRsa4096,
                         KeyType::kEcdsaP256, KeyType::kEcdsaP384}) {
      for (int i = 0; i < 4; ++i) made.push_back(*x509::PrivateKey::Generate(type));
    }
    return made;
  }());
  // Root and intermediate of both sides: different keys of any type.
  const auto type = [] { return *rc::gen::inRange<size_t>(0, 5); };
  const auto pki = [&](size_t first, const std::string& locality) {
    trust::testing::CaSpec root{"Root CA"};
    root.key = &keys[type() * 4 + first];
    trust::testing::CaSpec intermediate{"Intermediate CA", locality};
    intermediate.key = &keys[type() * 4 + first + 1];
    const trust::testing::TestCa made = MakeRoot(root);
    return TestPki{made, MakeIntermediate(made, intermediate)};
  };
  struct Access : PreflightTest {
    using PreflightTest::From;
    using PreflightTest::Text;
    void TestBody() override {}
  };
  const PreflightInput input = Access::From(MadeFrom(pki(0, "a")), MadeFrom(pki(2, "b")));
  const std::vector<Finding> findings = Documented(input, TestNow());
  RC_LOG() << Access::Text(findings);
  RC_ASSERT(!HasErrors(findings));
  RC_ASSERT(std::none_of(findings.begin(), findings.end(),
                         [](const Finding& f) { return f.severity == Severity::kWarning; }));
}

}  // namespace
}  // namespace capstan::rotation::testing
