// SPDX-License-Identifier: Apache-2.0
#include "lifecycle/check_answer.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "x509/test_pki.h"

namespace capstan::lifecycle {
namespace {

using ::testing::HasSubstr;
using x509::testing::Ca;
using x509::testing::MakeIntermediate;
using x509::testing::MakeRoot;
using x509::testing::Now;

constexpr char kId[] = "spiffe://cluster.local/ns/default/sa/httpbin";

class CheckAnswerTest : public ::testing::Test {
 protected:
  x509::Certificate Sign(const Ca& issuer, const x509::PublicKey& key,
                         const x509::SubjectAltNames& sans, absl::Time not_before,
                         absl::Time not_after) {
    return *x509::Certificate::ParseDer(*x509::LeafTemplate::For(issuer.certificate)
                                             ->SignDer(x509::testing::NextSerial(), not_before,
                                                       not_after, sans, key, *issuer.signer));
  }
  x509::Certificate Good() {
    return Sign(intermediate_, key_.public_key(), {.uris = {kId}}, Now() - absl::Minutes(2),
                Now() + absl::Hours(24));
  }
  std::vector<std::string> Answer(const x509::Certificate& leaf) {
    return {leaf.ToPem(), intermediate_.certificate.ToPem(), root_.certificate.ToPem()};
  }
  Expected Want() {
    return {.id = *spiffe::SpiffeId::Parse(kId),
            .key = key_.public_key(),
            .ttl = absl::Hours(24),
            .bundle = trust::Bundle::Of({root_.certificate}),
            .now = Now()};
  }
  // Refused for good, with `why` in the message.
  void ExpectRefused(const std::vector<std::string>& answer, const std::string& why) {
    const auto checked = CheckAnswer(answer, Want());
    EXPECT_EQ(checked.status().code(), absl::StatusCode::kInvalidArgument) << checked.status();
    EXPECT_THAT(std::string(checked.status().message()), HasSubstr(why));
  }

  const Ca root_ = MakeRoot();
  const Ca intermediate_ = MakeIntermediate(root_);
  const x509::PrivateKey key_ = *x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256);
};

TEST_F(CheckAnswerTest, AGoodAnswerIsServedWithoutTheRoot) {
  const x509::Certificate leaf = Good();
  const auto checked = CheckAnswer(Answer(leaf), Want());
  ASSERT_TRUE(checked.ok()) << checked.status();
  EXPECT_THAT(checked->chain, ::testing::ElementsAre(leaf, intermediate_.certificate));
  EXPECT_EQ(checked->leaf.serial, leaf.serial().ToHex());
  EXPECT_EQ(checked->leaf.authority, trust::AuthorityId::Of(intermediate_.certificate));
  EXPECT_EQ(checked->leaf.not_after, leaf.not_after());
}

TEST_F(CheckAnswerTest, ChainsAsIstiodSendsThemAreFine) {
  const x509::Certificate leaf = Good();
  // tools/certs puts the root into cert-chain.pem, and the bundle holds several roots.
  std::vector<std::string> answer = Answer(leaf);
  answer.push_back(root_.certificate.ToPem() + MakeRoot().certificate.ToPem());
  ASSERT_TRUE(CheckAnswer(answer, Want()).ok());
  EXPECT_EQ(CheckAnswer(answer, Want())->chain.size(), 2u);
}

TEST_F(CheckAnswerTest, ALeafRightUnderARootIsServedAlone) {
  const x509::Certificate leaf = Sign(root_, key_.public_key(), {.uris = {kId}},
                                      Now() - absl::Minutes(2), Now() + absl::Hours(1));
  const auto checked = CheckAnswer({leaf.ToPem(), root_.certificate.ToPem()}, Want());
  ASSERT_TRUE(checked.ok()) << checked.status();
  EXPECT_EQ(checked->chain.size(), 1u);
  EXPECT_EQ(checked->leaf.authority, trust::AuthorityId::Of(root_.certificate));
}

TEST_F(CheckAnswerTest, RefusesAnotherKey) {
  const auto other = *x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256);
  ExpectRefused(Answer(Sign(intermediate_, other.public_key(), {.uris = {kId}},
                            Now() - absl::Minutes(2), Now() + absl::Hours(1))),
                "for another key");
}

TEST_F(CheckAnswerTest, RefusesAnotherIdentity) {
  const auto with = [&](const x509::SubjectAltNames& sans) {
    return Answer(Sign(intermediate_, key_.public_key(), sans, Now() - absl::Minutes(2),
                       Now() + absl::Hours(1)));
  };
  ExpectRefused(with({.uris = {"spiffe://cluster.local/ns/default/sa/sleep"}}), "is for spiffe://");
  ExpectRefused(with({.uris = {"spiffe://evil.td/ns/default/sa/httpbin"}}),
                "of trust domain evil.td");
  ExpectRefused(with({.uris = {kId, kId}}), "no X509-SVID");
  ExpectRefused(with({.dns = {"httpbin"}}), "no X509-SVID");
  ExpectRefused(with({.dns = {"evil.com"}, .uris = {kId}}), "names beside");
}

TEST_F(CheckAnswerTest, RefusesWhatIsNotValidNow) {
  const auto between = [&](absl::Time from, absl::Time to) {
    return Answer(Sign(intermediate_, key_.public_key(), {.uris = {kId}}, from, to));
  };
  ExpectRefused(between(Now() - absl::Hours(2), Now() - absl::Hours(1)), "expired at");
  ExpectRefused(between(Now() + absl::Hours(1), Now() + absl::Hours(2)), "clock is behind");
  ExpectRefused(between(Now() - absl::Minutes(2), Now() + absl::Hours(24 * 30)), "longer than");
}

TEST_F(CheckAnswerTest, TheBackDatingToleratesAClockThatIsBehind) {
  Expected want = Want();
  want.now = Now() - absl::Seconds(100);
  EXPECT_TRUE(CheckAnswer(Answer(Good()), want).ok());
}

TEST_F(CheckAnswerTest, ARootThatTheAnswerBringsAlongIsNotTrusted) {
  const Ca foreign = MakeRoot();  // of the same name
  const Ca issuer = MakeIntermediate(foreign);
  const x509::Certificate leaf = Sign(issuer, key_.public_key(), {.uris = {kId}},
                                      Now() - absl::Minutes(2), Now() + absl::Hours(1));
  const std::vector<std::string> answer = {leaf.ToPem(), issuer.certificate.ToPem(),
                                           foreign.certificate.ToPem()};
  const auto checked = CheckAnswer(answer, Want());
  EXPECT_EQ(checked.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(checked.status().message()), HasSubstr("not in the trust bundle"));
  // It is fine once trust has arrived.
  Expected want = Want();
  want.bundle = trust::Bundle::Of({root_.certificate, foreign.certificate});
  EXPECT_TRUE(CheckAnswer(answer, want).ok());
  // Without its intermediate or its root nothing says that waiting would help.
  ExpectRefused({leaf.ToPem(), foreign.certificate.ToPem()}, "does not verify");
  ExpectRefused({leaf.ToPem()}, "does not verify");
}

TEST_F(CheckAnswerTest, RefusesAForgedSignature) {
  std::string der = Good().der();
  der.back() ^= 1;  // the last octet of the signature
  ExpectRefused(Answer(*x509::Certificate::ParseDer(der)), "does not verify");
}

TEST_F(CheckAnswerTest, RefusesACaInPlaceOfALeaf) {
  x509::CertificateTemplate to_sign;
  to_sign.serial = x509::testing::NextSerial();
  to_sign.not_before = Now() - absl::Minutes(2);
  to_sign.not_after = Now() + absl::Hours(1);
  to_sign.extensions.basic_constraints = {.ca = true};
  to_sign.extensions.key_usage = {.bits = x509::kKeyCertSign};
  to_sign.extensions.authority_key_id = true;
  to_sign.extensions.subject_key_id = true;
  to_sign.extensions.sans.uris = {kId};
  const auto ca = x509::SignCertificate(to_sign, key_.public_key(), intermediate_.certificate,
                                        *intermediate_.signer);
  ASSERT_TRUE(ca.ok()) << ca.status();
  ExpectRefused(Answer(*ca), "does not verify");
}

TEST_F(CheckAnswerTest, RefusesWhatIsNotAnAnswer) {
  ExpectRefused({}, "no certificate");
  ExpectRefused({""}, "element 0");
  ExpectRefused({Good().ToPem(), "garbage"}, "element 1");
  ExpectRefused({std::string(1 << 20, 'x')}, "too large");
  ExpectRefused(std::vector<std::string>(100, "x"), "too large");
}

TEST_F(CheckAnswerTest, AStoredChainIsCheckedWithoutALimitOnItsLife) {
  const x509::Certificate leaf = Sign(intermediate_, key_.public_key(), {.uris = {kId}},
                                      Now() - absl::Minutes(2), Now() + absl::Hours(24 * 30));
  EXPECT_TRUE(CheckChain({leaf, intermediate_.certificate}, Want()).ok());
  EXPECT_FALSE(CheckChain({leaf}, Want()).ok());
  EXPECT_FALSE(CheckChain({}, Want()).ok());
}

}  // namespace
}  // namespace capstan::lifecycle
