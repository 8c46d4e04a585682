// SPDX-License-Identifier: Apache-2.0
#include "x509/csr.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/strings.h"
#include "x509/test_openssl.h"

namespace capstan::x509 {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Workshop;

constexpr char kP256[] = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";

std::string MadeByOpenSsl(const Workshop& workshop, const std::string& options) {
  workshop.OpenSsl("req -new -nodes -keyout key.pem -out r.csr -subj /O=Istio/CN=x " + options);
  return workshop.Read("r.csr");
}

std::string ErrorOf(std::string_view input) {
  const auto csr = Csr::Parse(input);
  return csr.ok() ? "accepted" : csr.status().ToString();
}

TEST(CsrTest, ReadsWhatOpenSslWrites) {
  const Workshop workshop;
  for (const std::string& key :
       {std::string(kP256), std::string("-newkey ec -pkeyopt ec_paramgen_curve:P-384"),
        std::string("-newkey rsa:2048"), std::string("-newkey rsa:4096"),
        std::string("-newkey rsa:2048 -sha384"),
        std::string("-newkey rsa:2048 -sigopt rsa_padding_mode:pss -sha256")}) {
    const auto csr = Csr::Parse(MadeByOpenSsl(
        workshop, key + " -addext subjectAltName=URI:spiffe://td/a,DNS:b -addext "
                        "basicConstraints=critical,CA:true,pathlen:0 -addext "
                        "keyUsage=digitalSignature -addext extendedKeyUsage=critical,serverAuth"));
    ASSERT_TRUE(csr.ok()) << key << csr.status();
    EXPECT_EQ(csr->subject(), (Name{{{"O", "Istio"}, {"CN", "x"}}}));
    EXPECT_THAT(csr->extensions().sans.uris, ElementsAre("spiffe://td/a"));
    EXPECT_THAT(csr->extensions().sans.dns, ElementsAre("b"));
    EXPECT_TRUE(csr->extensions().basic_constraints->ca);
    EXPECT_TRUE(csr->extensions().basic_constraints->critical);
    EXPECT_EQ(csr->extensions().basic_constraints->path_length, 0);
    EXPECT_EQ(csr->extensions().key_usage->bits, kDigitalSignature);
    EXPECT_FALSE(csr->extensions().key_usage->critical);
    EXPECT_THAT(csr->extensions().extended_key_usage, ElementsAre("serverAuth"));
    EXPECT_TRUE(csr->extensions().extended_key_usage_critical);
  }
}

TEST(CsrTest, TakesAnyLabelAndBareDer) {
  const Workshop workshop;
  const std::string pem = MadeByOpenSsl(workshop, kP256);
  const auto csr = Csr::Parse(pem);
  ASSERT_TRUE(csr.ok()) << csr.status();
  EXPECT_EQ(csr->ToPem(), pem);
  for (const std::string_view label : {"NEW CERTIFICATE REQUEST", "ANYTHING"}) {
    EXPECT_EQ(ErrorOf(absl::StrReplaceAll(pem, {{"CERTIFICATE REQUEST", Absl(label)}})),
              "accepted");
  }
  EXPECT_EQ(Csr::Parse(csr->der()).value().der(), csr->der());
  EXPECT_EQ(ErrorOf("text\n" + pem + "more"), "accepted");
}

TEST(CsrTest, CreatesWhatOpenSslAccepts) {
  const Workshop workshop;
  Extensions wanted;
  wanted.sans.uris = {"spiffe://cluster.local/ns/default/sa/httpbin"};
  wanted.sans.ips = {"10.0.0.1"};
  wanted.key_usage = {.bits = kDigitalSignature | kKeyEncipherment, .critical = true};
  for (const KeyType type : {KeyType::kEcdsaP256, KeyType::kEcdsaP384, KeyType::kRsa2048}) {
    const PrivateKey key = PrivateKey::Generate(type).value();
    const auto csr = Csr::Create(key, Name{{{"O", "Istio"}}}, wanted);
    ASSERT_TRUE(csr.ok()) << csr.status();
    EXPECT_EQ(csr->public_key(), key.public_key());
    workshop.Write("r.csr", csr->ToPem());
    const std::string text = workshop.OpenSsl("req -in r.csr -verify -noout -text");
    EXPECT_THAT(text, HasSubstr("verify OK"));
    EXPECT_THAT(text, HasSubstr("URI:spiffe://cluster.local/ns/default/sa/httpbin"));
    EXPECT_THAT(text, HasSubstr("IP Address:10.0.0.1"));
    EXPECT_THAT(text, HasSubstr("Digital Signature, Key Encipherment"));
  }
}

TEST(CsrTest, MayBeEmpty) {
  const Workshop workshop;
  const PrivateKey key = PrivateKey::Generate(KeyType::kEcdsaP256).value();
  const auto csr = Csr::Create(key, Name{}, Extensions{});
  ASSERT_TRUE(csr.ok()) << csr.status();
  EXPECT_TRUE(csr->subject().empty());
  workshop.Write("r.csr", csr->ToPem());
  EXPECT_THAT(workshop.OpenSsl("req -in r.csr -verify -noout"), HasSubstr("verify OK"));
}

TEST(CsrTest, RefusesKeysThatPeersRefuse) {
  const Workshop workshop;
  EXPECT_THAT(ErrorOf(MadeByOpenSsl(workshop, "-newkey rsa:1024")), HasSubstr("RSA 1024"));
  EXPECT_THAT(ErrorOf(MadeByOpenSsl(workshop, "-newkey ed25519")), HasSubstr("Ed25519"));
  EXPECT_THAT(ErrorOf(MadeByOpenSsl(workshop, "-newkey ec -pkeyopt ec_paramgen_curve:P-521")),
              HasSubstr("P-521"));
}

TEST(CsrTest, RefusesBrokenDigests) {
  const Workshop workshop;
  EXPECT_THAT(ErrorOf(MadeByOpenSsl(workshop, "-newkey rsa:2048 -sha1")), HasSubstr("SHA1-RSA"));
  EXPECT_THAT(ErrorOf(MadeByOpenSsl(workshop, "-newkey rsa:2048 -md5")), HasSubstr("MD5-RSA"));
}

TEST(CsrTest, RefusesASignatureOfAnotherKey) {
  const PrivateKey key = PrivateKey::Generate(KeyType::kEcdsaP256).value();
  const PrivateKey other = PrivateKey::Generate(KeyType::kEcdsaP256).value();
  std::string der = Csr::Create(key, Name{{{"CN", "x"}}}, {}).value().der();
  const std::string& ours = key.public_key().spki_der();
  der.replace(der.find(ours), ours.size(), other.public_key().spki_der());
  EXPECT_THAT(ErrorOf(der), HasSubstr("does not verify with its own key"));
}

TEST(CsrTest, EveryChangedBitIsNoticed) {
  const PrivateKey key = PrivateKey::Generate(KeyType::kEcdsaP256).value();
  Extensions wanted;
  wanted.sans.uris = {"spiffe://td/a"};
  const std::string der = Csr::Create(key, Name{{{"CN", "x"}}}, wanted).value().der();
  for (size_t i = 0; i < der.size() * 8; ++i) {
    std::string changed = der;
    changed[i / 8] = static_cast<char>(changed[i / 8] ^ (1 << (i % 8)));
    EXPECT_NE(ErrorOf(changed), "accepted") << "bit " << i;
  }
}

TEST(CsrTest, RefusesWhatIsNoWholeRequest) {
  const PrivateKey key = PrivateKey::Generate(KeyType::kEcdsaP256).value();
  const Csr csr = Csr::Create(key, Name{{{"CN", "x"}}}, {}).value();
  for (size_t size = 0; size < csr.der().size(); ++size) {
    EXPECT_NE(ErrorOf(std::string_view(csr.der()).substr(0, size)), "accepted") << size;
  }
  const std::string pem = csr.ToPem();
  for (size_t size = 0; size + 1 < pem.size(); ++size) {  // the last newline may be missing
    EXPECT_NE(ErrorOf(std::string_view(pem).substr(0, size)), "accepted") << size;
  }
  EXPECT_THAT(ErrorOf(csr.der() + "x"), HasSubstr("unexpected bytes after the request"));
  EXPECT_THAT(ErrorOf(std::string(100 << 10, 'x')), HasSubstr("at most 64 KiB"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("no PKCS#10 certification request"));
  EXPECT_THAT(ErrorOf("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"),
              HasSubstr("byte 0"));
}

}  // namespace
}  // namespace capstan::x509
