// SPDX-License-Identifier: Apache-2.0
#include "authn/certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "authn/test_pki.h"
#include "base/status.h"

namespace capstan::authn {
namespace {

using ::testing::AllOf;
using testing::At;
using ::testing::HasSubstr;
using testing::LeafSpec;
using testing::Must;
using testing::TestCa;

class AuthenticateCertificateTest : public ::testing::Test {
 protected:
  LeafSpec Spec() const {
    return {.not_before = now_ - absl::Minutes(2), .not_after = now_ + absl::Hours(1)};
  }
  absl::StatusOr<Caller> Authenticate(const testing::Leaf& leaf, const trust::Bundle& bundle,
                                      absl::Duration later = absl::ZeroDuration()) const {
    return AuthenticateCertificate(leaf.chain, bundle, domain_, now_ + later);
  }
  void ExpectRefused(const absl::StatusOr<Caller>& caller,
                     const ::testing::Matcher<std::string>& why) {
    ASSERT_FALSE(caller.ok());
    EXPECT_EQ(caller.status().code(), absl::StatusCode::kUnauthenticated);
    EXPECT_THAT(std::string(caller.status().message()), why);
  }

  const absl::Time now_ = At("2026-03-01T12:00:00Z");
  const spiffe::TrustDomain domain_ = Must(spiffe::TrustDomain::Parse("cluster.local"));
  const TestCa a_{now_, "Root CA", true};
  const TestCa b_{now_, "Root CA", true};  // of the same name
};

TEST_F(AuthenticateCertificateTest, NamesTheCallerAndTheRootItChainsTo) {
  const testing::Leaf leaf = b_.Issue(Spec());
  absl::StatusOr<Caller> caller = Authenticate(leaf, Union(a_.bundle(), b_.bundle()));
  ASSERT_TRUE(caller.ok()) << caller.status();
  EXPECT_EQ(caller->id.ToString(), "spiffe://cluster.local/ns/default/sa/sleep");
  EXPECT_EQ(caller->proof, Caller::Proof::kCertificate);
  EXPECT_EQ(*caller->certificate, leaf.chain.front());
  EXPECT_EQ(caller->root_fingerprint, b_.root().fingerprint());
  EXPECT_EQ(caller->token_hash, "");
}

TEST_F(AuthenticateCertificateTest, ARootOfTheSameNameDoesNotDo) {
  ExpectRefused(Authenticate(a_.Issue(Spec()), b_.bundle()),
                AllOf(HasSubstr("does not chain to a root of the bundle"),
                      HasSubstr(absl::BytesToHexString(a_.root().subject_key_id())),
                      HasSubstr(absl::BytesToHexString(b_.root().subject_key_id()))));
}

TEST_F(AuthenticateCertificateTest, SaysWhenItExpired) {
  const testing::Leaf leaf = a_.Issue(Spec());
  EXPECT_TRUE(Authenticate(leaf, a_.bundle(), absl::Hours(1) - absl::Seconds(1)).ok());
  ExpectRefused(Authenticate(leaf, a_.bundle(), absl::Hours(1)),
                AllOf(HasSubstr("spiffe://cluster.local/ns/default/sa/sleep"),
                      HasSubstr("expired at 2026-03-01T13:00:00Z")));
}

TEST_F(AuthenticateCertificateTest, SaysFromWhenItIsValid) {
  ExpectRefused(Authenticate(a_.Issue(Spec()), a_.bundle(), -absl::Minutes(3)),
                AllOf(HasSubstr("not valid before 2026-03-01T11:58:00Z"), HasSubstr("clocks")));
}

TEST_F(AuthenticateCertificateTest, AnotherTrustDomainUnderTheSameRootIsRefused) {
  LeafSpec spec = Spec();
  spec.uris = {"spiffe://other.example/ns/default/sa/sleep"};
  ExpectRefused(Authenticate(a_.Issue(spec), a_.bundle()),
                AllOf(HasSubstr("spiffe://other.example/ns/default/sa/sleep"),
                      HasSubstr("trust domain here is cluster.local")));
}

TEST_F(AuthenticateCertificateTest, NeedsExactlyOneSpiffeId) {
  LeafSpec none = Spec();
  none.uris = {};
  none.dns = {"sleep.default.svc"};
  ExpectRefused(Authenticate(a_.Issue(none), a_.bundle()), HasSubstr("no X509-SVID"));
  LeafSpec two = Spec();
  two.uris.push_back("spiffe://cluster.local/ns/default/sa/other");
  ExpectRefused(Authenticate(a_.Issue(two), a_.bundle()), HasSubstr("no X509-SVID"));
  LeafSpec web = Spec();
  web.uris = {"https://cluster.local/ns/default/sa/sleep"};
  ExpectRefused(Authenticate(a_.Issue(web), a_.bundle()), HasSubstr("no X509-SVID"));
}

TEST_F(AuthenticateCertificateTest, TheControlPlanesOwnIdentityIsNoCaller) {
  LeafSpec spec = Spec();
  spec.uris = {spiffe::SpiffeId::ForControlPlane(domain_).ToString()};
  ExpectRefused(Authenticate(a_.Issue(spec), a_.bundle()), HasSubstr("reserved"));
}

TEST_F(AuthenticateCertificateTest, AProbeCertificateIsNoCaller) {
  LeafSpec spec = Spec();
  spec.uris = {spiffe::SpiffeId::ForProbe(domain_).ToString()};
  spec.extended_key_usage = {"clientAuth"};
  ExpectRefused(Authenticate(a_.Issue(spec), a_.bundle()),
                AllOf(HasSubstr("spiffe://cluster.local/capstan/probe"), HasSubstr("reserved")));
}

TEST_F(AuthenticateCertificateTest, ACertificateForServersOnlyIsRefused) {
  LeafSpec spec = Spec();
  spec.extended_key_usage = {"serverAuth"};
  ExpectRefused(Authenticate(a_.Issue(spec), a_.bundle()), HasSubstr("not trusted"));
}

TEST_F(AuthenticateCertificateTest, ACaIsNoCaller) {
  LeafSpec spec = Spec();
  spec.ca = true;
  EXPECT_FALSE(Authenticate(a_.Issue(spec), a_.bundle()).ok());
}

TEST_F(AuthenticateCertificateTest, WithoutItsIntermediateItDoesNotChain) {
  testing::Leaf leaf = a_.Issue(Spec());
  leaf.chain.pop_back();
  ExpectRefused(Authenticate(leaf, a_.bundle()),
                AllOf(HasSubstr("does not chain"), HasSubstr("intermediate")));
}

TEST_F(AuthenticateCertificateTest, NothingShownAndNothingTrusted) {
  ExpectRefused(AuthenticateCertificate({}, a_.bundle(), domain_, now_), HasSubstr("no client"));
  ExpectRefused(Authenticate(a_.Issue(Spec()), trust::Bundle()), HasSubstr("roots here: none"));
}

TEST_F(AuthenticateCertificateTest, ALeafNamedLikeAForeignChainDoesNotBorrowIt) {
  // The leaf of A with the intermediate of B: names match, no signature does.
  testing::Leaf leaf = a_.Issue(Spec());
  leaf.chain[1] = b_.issuer();
  EXPECT_FALSE(Authenticate(leaf, b_.bundle()).ok());
}

class AuthenticateLapsedTest : public AuthenticateCertificateTest {
 protected:
  absl::StatusOr<Caller> Rejoin(const testing::Leaf& leaf, const trust::Bundle& bundle,
                                absl::Duration later) const {
    return AuthenticateLapsedCertificate(leaf.chain, bundle, terms_, domain_, now_ + later, crls_);
  }

  RejoinTerms terms_{absl::Hours(24), {}, {}};
  std::vector<x509::Crl> crls_;
};

TEST_F(AuthenticateLapsedTest, TakesWhatExpiredWithinTheGrace) {
  const testing::Leaf leaf = a_.Issue(Spec());  // for an hour
  absl::StatusOr<Caller> caller = Rejoin(leaf, a_.bundle(), absl::Hours(25));
  ASSERT_TRUE(caller.ok()) << caller.status();
  EXPECT_EQ(caller->proof, Caller::Proof::kLapsedCertificate);
  EXPECT_EQ(caller->id.ToString(), "spiffe://cluster.local/ns/default/sa/sleep");
  EXPECT_EQ(caller->root_fingerprint, a_.root().fingerprint());
  ExpectRefused(Rejoin(leaf, a_.bundle(), absl::Hours(25) + absl::Seconds(1)),
                HasSubstr("longer ago than rejoin-grace (24h)"));
  ExpectRefused(Rejoin(leaf, a_.bundle(), absl::Minutes(30)), HasSubstr("has not lapsed"));
  ExpectRefused(Rejoin(leaf, a_.bundle(), -absl::Minutes(30)), HasSubstr("compare the clocks"));
  terms_.grace = absl::ZeroDuration();
  ExpectRefused(Rejoin(leaf, a_.bundle(), absl::Hours(1)), HasSubstr("rejoin-grace is off"));
}

TEST_F(AuthenticateLapsedTest, TakesWhatAKnownAuthoritySignedUnderARootThatLeft) {
  const testing::Leaf leaf = a_.Issue(Spec());
  ExpectRefused(Rejoin(leaf, b_.bundle(), absl::Minutes(1)), HasSubstr("is or was known here"));
  terms_.known = {b_.authority(), a_.authority()};
  EXPECT_TRUE(Rejoin(leaf, b_.bundle(), absl::Minutes(1)).ok());
  EXPECT_TRUE(Rejoin(leaf, b_.bundle(), absl::Hours(20)).ok());
  ExpectRefused(Rejoin(leaf, b_.bundle(), absl::Hours(26)), HasSubstr("longer ago"));
  // The same root, and an intermediate that was never ours.
  terms_.known = {{trust::AuthorityId::Of(b_.issuer()), b_.issuer(), {b_.issuer()}, a_.root()}};
  ExpectRefused(Rejoin(leaf, b_.bundle(), absl::Minutes(1)), HasSubstr("is or was known here"));
}

TEST_F(AuthenticateLapsedTest, NeverTakesWhatIsRevoked) {
  const testing::Leaf leaf = a_.Issue(Spec());
  terms_.known = {a_.authority()};
  terms_.revoked = {trust::AuthorityId::Of(a_.issuer())};
  ExpectRefused(Rejoin(leaf, a_.bundle(), absl::Hours(2)), HasSubstr("which is revoked"));
  ExpectRefused(Rejoin(leaf, b_.bundle(), absl::Hours(2)), HasSubstr("which is revoked"));
  terms_.revoked = {trust::AuthorityId::Of(a_.root())};
  ExpectRefused(Rejoin(leaf, b_.bundle(), absl::Hours(2)), HasSubstr("which is revoked"));
}

TEST_F(AuthenticateLapsedTest, IsAsStrictAboutTheRest) {
  terms_.known = {a_.authority()};
  LeafSpec spec = Spec();
  spec.uris = {"spiffe://elsewhere/ns/default/sa/sleep"};
  ExpectRefused(Rejoin(a_.Issue(spec), a_.bundle(), absl::Hours(2)), HasSubstr("elsewhere"));
  spec.uris = {"spiffe://cluster.local/capstan/control-plane"};
  ExpectRefused(Rejoin(a_.Issue(spec), a_.bundle(), absl::Hours(2)), HasSubstr("reserved"));
  spec = Spec();
  spec.extended_key_usage = {"serverAuth"};
  ExpectRefused(Rejoin(a_.Issue(spec), a_.bundle(), absl::Hours(2)), HasSubstr("known here"));
  ExpectRefused(AuthenticateLapsedCertificate({}, a_.bundle(), terms_, domain_, now_),
                HasSubstr("no client certificate"));
}

}  // namespace
}  // namespace capstan::authn
