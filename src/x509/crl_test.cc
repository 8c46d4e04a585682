// SPDX-License-Identifier: Apache-2.0
#include "x509/crl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "x509/test_openssl.h"
#include "x509/test_pki.h"

namespace capstan::x509 {
namespace {

using testing::Ca;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MakeRoot;
using testing::Now;
using testing::Workshop;

CrlTemplate Template(std::vector<SerialNumber> revoked = {}) {
  CrlTemplate to_sign{.this_update = Now(), .next_update = Now() + absl::Hours(24), .number = 7};
  for (SerialNumber& serial : revoked) {
    to_sign.revoked.push_back({std::move(serial), Now() - absl::Hours(1)});
  }
  return to_sign;
}

TEST(CrlTest, ReadsWhatItSigned) {
  for (const KeyType type : {KeyType::kEcdsaP256, KeyType::kEcdsaP384, KeyType::kRsa2048}) {
    const Ca root = MakeRoot({.key_type = type});
    const SerialNumber a = SerialNumber::ParseHex("ff01").value();
    const SerialNumber b = SerialNumber::ParseHex("2").value();
    const auto crl = SignCrl(Template({a, b}), root.certificate, *root.signer);
    ASSERT_TRUE(crl.ok()) << crl.status();
    EXPECT_EQ(crl->Issuer(), "CN=Root CA,O=Istio");
    EXPECT_EQ(crl->issuer_der(), root.certificate.subject_der());
    EXPECT_EQ(crl->authority_key_id(), root.certificate.subject_key_id());
    EXPECT_EQ(crl->this_update(), Now());
    EXPECT_EQ(crl->next_update(), Now() + absl::Hours(24));
    EXPECT_EQ(crl->number_hex(), "7");
    EXPECT_THAT(crl->revoked(), ElementsAre(a, b));
    EXPECT_TRUE(crl->IsSignedBy(root.key.public_key()));
    EXPECT_FALSE(crl->IsSignedBy(MakeRoot().key.public_key()));
    EXPECT_NE(crl->get(), nullptr);
  }
}

TEST(CrlTest, IsAcceptedByOpenSsl) {
  const Workshop workshop;
  const Ca root = MakeRoot({.key_usage = kKeyCertSign | kCrlSign});
  workshop.Write("root.pem", root.certificate.ToPem());
  workshop.Write("crl.pem", SignCrl(Template({SerialNumber::ParseHex("abc").value()}),
                                    root.certificate, *root.signer)
                                .value()
                                .ToPem());
  const std::string text = workshop.OpenSsl("crl -in crl.pem -CAfile root.pem -text -noout");
  EXPECT_THAT(text, HasSubstr("verify OK"));
  EXPECT_THAT(text, HasSubstr("Serial Number: 0ABC"));
  EXPECT_THAT(text, HasSubstr("X509v3 CRL Number: \n                7"));
}

TEST(CrlTest, ReadsWhatOpenSslSigned) {
  const Workshop workshop;
  workshop.Write(
      "ca.conf",
      "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\n"
      "crl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n");
  workshop.Write("number", "1F\n");
  workshop.Write("index.txt",
                 "R\t300101000000Z\t240101000000Z,keyCompromise\tABCD\tunknown\t/CN=gone\n");
  workshop.OpenSsl("req -x509 -newkey rsa:2048 -nodes -keyout k.pem -subj /CN=ca -out c.pem");
  workshop.OpenSsl(
      "ca -config ca.conf -gencrl -keyfile k.pem -cert c.pem -crldays 30 -out crl.pem");
  const auto crls = ParsePemCrls(workshop.Read("crl.pem"));
  ASSERT_TRUE(crls.ok()) << crls.status();
  ASSERT_EQ(crls->size(), 1u);
  const Certificate ca = ParsePemCertificates(workshop.Read("c.pem")).value().front();
  EXPECT_TRUE(crls->front().IsSignedBy(ca.public_key()));
  EXPECT_THAT(crls->front().revoked(), ElementsAre(SerialNumber::ParseHex("abcd").value()));
  EXPECT_EQ(crls->front().number_hex(), "1f");
  EXPECT_EQ(crls->front().ToPem(), workshop.Read("crl.pem"));
}

TEST(CrlTest, MayBeEmpty) {
  const Ca root = MakeRoot();
  const auto crl = SignCrl(Template(), root.certificate, *root.signer);
  ASSERT_TRUE(crl.ok()) << crl.status();
  EXPECT_THAT(crl->revoked(), IsEmpty());
}

TEST(CrlTest, RefusesWhatCannotBeSigned) {
  const Ca root = MakeRoot();
  CrlTemplate backwards = Template();
  backwards.next_update = backwards.this_update - absl::Seconds(1);
  EXPECT_THAT(SignCrl(backwards, root.certificate, *root.signer).status().ToString(),
              HasSubstr("before this one"));
  EXPECT_THAT(SignCrl(Template(), root.certificate, *MakeRoot().signer).status().ToString(),
              HasSubstr("not the key of the issuer"));
  EXPECT_FALSE(
      SignCrl(Template({SerialNumber::FromBytes("")}), root.certificate, *root.signer).ok());
}

TEST(CrlTest, RefusesEveryTruncation) {
  const Ca root = MakeRoot();
  const Crl crl =
      SignCrl(Template({SerialNumber::ParseHex("5").value()}), root.certificate, *root.signer)
          .value();
  for (size_t size = 0; size < crl.der().size(); ++size) {
    const auto cut = Crl::ParseDer(std::string_view(crl.der()).substr(0, size));
    ASSERT_FALSE(cut.ok()) << size;
    EXPECT_THAT(cut.status().ToString(), HasSubstr("byte ")) << size;
  }
  const std::string pem = crl.ToPem();
  for (size_t size = 0; size + 1 < pem.size(); ++size) {
    EXPECT_FALSE(ParsePemCrls(std::string_view(pem).substr(0, size)).ok()) << size;
  }
  EXPECT_THAT(Crl::ParseDer("").status().ToString(),
              HasSubstr("byte 0: revocation list is missing"));
  EXPECT_THAT(Crl::ParseDer(crl.der() + "x").status().ToString(),
              HasSubstr("1 unexpected bytes after the revocation list"));
  std::string two_algorithms = crl.der();
  two_algorithms[two_algorithms.find("\x2a\x86\x48\xce\x3d\x04\x03\x02") + 7] = 3;
  EXPECT_THAT(Crl::ParseDer(two_algorithms).status().ToString(),
              HasSubstr("signature algorithms of the revocation list differ"));
}

TEST(CrlTest, ReadsAllBlocksOrNone) {
  const Ca root = MakeRoot();
  const Crl crl = SignCrl(Template(), root.certificate, *root.signer).value();
  const auto two = ParsePemCrls(crl.ToPem() + root.certificate.ToPem() + crl.ToPem());
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_THAT(*two, ElementsAre(crl, crl));
  EXPECT_EQ(ToPem(*two), crl.ToPem() + crl.ToPem());
  EXPECT_THAT(ParsePemCrls(root.certificate.ToPem()).status().ToString(),
              HasSubstr("no X509 CRL block"));
  EXPECT_THAT(ParsePemCrls(crl.ToPem() + "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n")
                  .status()
                  .ToString(),
              HasSubstr("revocation list 2 (line "));
}

}  // namespace
}  // namespace capstan::x509
