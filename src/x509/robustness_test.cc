// SPDX-License-Identifier: Apache-2.0
// Damaged input of every parser of this room: always an answer, and never a wrong one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "base/strings.h"
#include "x509/crl.h"
#include "x509/csr.h"
#include "x509/test_pki.h"
#include "x509/verify.h"

namespace capstan::x509 {
namespace {

using testing::Ca;
using ::testing::HasSubstr;
using testing::MakeIntermediate;
using testing::MakeLeaf;
using testing::MakeRoot;
using testing::Now;

SubjectAltNames EveryName() {
  return {.dns = {"a.example"},
          .ips = {"10.0.0.1", "2001:db8::1"},
          .emails = {"me@example.com"},
          .uris = {"spiffe://td/a"}};
}

TEST(RobustnessTest, EveryPrefixOfACertificateIsRefusedWithItsByte) {
  const Ca root = MakeRoot({.key_type = KeyType::kRsa2048, .path_length = 1});
  const Certificate leaf = MakeLeaf(root, {.sans = EveryName()}).certificate;
  for (const std::string& der : {root.certificate.der(), leaf.der()}) {
    for (size_t size = 0; size < der.size(); ++size) {
      const auto cut = Certificate::ParseDer(std::string_view(der).substr(0, size));
      ASSERT_FALSE(cut.ok()) << size;
      EXPECT_THAT(cut.status().ToString(), HasSubstr("byte ")) << size;
    }
    const auto longer = Certificate::ParseDer(der + std::string(1, '\0'));
    EXPECT_THAT(longer.status().ToString(), HasSubstr("unexpected bytes after the certificate"));
  }
}

TEST(RobustnessTest, EveryPrefixOfABundleLosesNoCertificateSilently) {
  const std::string pem =
      MakeRoot().certificate.ToPem() + "# between\n" + MakeRoot().certificate.ToPem();
  const size_t first_end = pem.find("# between\n");
  for (size_t size = 0; size < pem.size(); ++size) {
    const auto cut = ParsePemCertificates(std::string_view(pem).substr(0, size));
    if (!cut.ok()) {
      continue;
    }
    // Accepted only at the places where a text may well end.
    const bool after_first =
        size + 1 >= first_end && size <= pem.find("-----BEGIN CERTIFICATE-----", first_end) + 26;
    EXPECT_TRUE(size + 1 == pem.size() || after_first) << size;
    EXPECT_EQ(cut->size(), size + 1 == pem.size() ? 2u : 1u) << size;
  }
}

// Every single-bit change of a leaf: it does not parse, or its signature or chain does not hold.
TEST(RobustnessTest, NoChangedBitVerifies) {
  const Ca root = MakeRoot();
  const Certificate leaf = MakeLeaf(root, {.sans = EveryName()}).certificate;
  ASSERT_TRUE(Verify({leaf}, {root.certificate}, Now()).status.ok());
  int parsed = 0;
  for (size_t i = 0; i < leaf.der().size() * 8; ++i) {
    std::string changed = leaf.der();
    changed[i / 8] = static_cast<char>(changed[i / 8] ^ (1 << (i % 8)));
    const auto certificate = Certificate::ParseDer(changed);
    if (!certificate.ok()) {
      continue;
    }
    ++parsed;
    certificate->Subject();
    certificate->public_key().Description();
    EXPECT_FALSE(certificate->IsSignedBy(root.key.public_key())) << "bit " << i;
    EXPECT_FALSE(Verify({*certificate}, {root.certificate}, Now()).status.ok()) << "bit " << i;
  }
  EXPECT_GT(parsed, 500);  // signature, key and name bytes: DER cannot notice those
}

TEST(RobustnessTest, NoChangedBitOfARootAnchors) {
  const Ca root = MakeRoot();
  const Certificate leaf = MakeLeaf(root).certificate;
  for (size_t i = 0; i < root.certificate.der().size() * 8; ++i) {
    std::string changed = root.certificate.der();
    changed[i / 8] = static_cast<char>(changed[i / 8] ^ (1 << (i % 8)));
    const auto certificate = Certificate::ParseDer(changed);
    if (certificate.ok()) {
      EXPECT_FALSE(Verify({leaf}, {*certificate}, Now()).status.ok()) << "bit " << i;
    }
  }
}

TEST(RobustnessTest, NoChangedBitOfARevocationListIsItsIssuers) {
  const Ca root = MakeRoot();
  const Crl crl = SignCrl({.this_update = Now(),
                           .next_update = Now() + absl::Hours(1),
                           .revoked = {{SerialNumber::ParseHex("5").value(), Now()}}},
                          root.certificate, *root.signer)
                      .value();
  for (size_t i = 0; i < crl.der().size() * 8; ++i) {
    std::string changed = crl.der();
    changed[i / 8] = static_cast<char>(changed[i / 8] ^ (1 << (i % 8)));
    const auto parsed = Crl::ParseDer(changed);
    if (parsed.ok()) {
      EXPECT_FALSE(parsed->IsSignedBy(root.key.public_key())) << "bit " << i;
    }
  }
}

// A chain made to keep a searcher busy: every certificate seems to have issued every other.
TEST(RobustnessTest, AHostileChainCostsLittle) {
  const Ca root = MakeRoot();
  std::vector<Certificate> presented;
  std::vector<Ca> same(3, MakeRoot({.common_name = "X"}));
  for (int i = 0; i < 60; ++i) {
    CertificateTemplate to_sign = testing::CaTemplate({.common_name = "X"}, true);
    presented.push_back(SelfSign(to_sign, *same[0].signer).value());
  }
  const Verdict verdict = Verify(presented, {root.certificate}, Now());
  EXPECT_EQ(verdict.status.code(), absl::StatusCode::kFailedPrecondition);
}

RC_GTEST_PROP(RobustnessProperty, GarbageIsAnswered, (const std::string& garbage)) {
  RC_ASSERT(!Certificate::ParseDer(garbage).ok());
  RC_ASSERT(!ParseCertificates(garbage).ok());
  RC_ASSERT(!Csr::Parse(garbage).ok());
  RC_ASSERT(!Crl::ParseDer(garbage).ok());
  RC_ASSERT(!PrivateKey::ParsePem(garbage).ok());
  RC_ASSERT(!PublicKey::ParseSpki(garbage).ok());
}

}  // namespace
}  // namespace capstan::x509
