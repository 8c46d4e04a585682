// SPDX-License-Identifier: Apache-2.0
#include "x509/sign.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <regex>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "x509/test_openssl.h"
#include "x509/test_pki.h"

namespace capstan::x509 {
namespace {

using testing::Ca;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::MakeIntermediate;
using testing::MakeLeaf;
using testing::MakeRoot;
using testing::Workshop;

std::string Text(const Workshop& workshop, const Certificate& certificate) {
  workshop.Write("c.pem", certificate.ToPem());
  return workshop.OpenSsl("x509 -in c.pem -noout -text");
}

TEST(SelfSignTest, MakesWhatIstiosMakefileMakes) {
  const Workshop workshop;
  const Ca root = MakeRoot({.key_type = KeyType::kRsa2048});
  EXPECT_TRUE(root.certificate.IsSelfSigned());
  EXPECT_EQ(root.certificate.Subject(), "CN=Root CA,O=Istio");
  EXPECT_EQ(root.certificate.subject_key_id(), root.key.public_key().KeyId());
  EXPECT_EQ(root.certificate.authority_key_id(), "");
  const std::string text = Text(workshop, root.certificate);
  EXPECT_THAT(text, HasSubstr("Issuer: O = Istio, CN = Root CA"));
  EXPECT_THAT(text, HasSubstr("X509v3 Basic Constraints: critical\n                CA:TRUE"));
  EXPECT_THAT(text, HasSubstr("X509v3 Key Usage: critical\n                Digital Signature, Non "
                              "Repudiation, Key Encipherment, Certificate Sign"));
}

TEST(SignCertificateTest, ChainsVerifyWithOpenSsl) {
  const Workshop workshop;
  for (const KeyType type : {KeyType::kEcdsaP256, KeyType::kEcdsaP384, KeyType::kRsa2048}) {
    const Ca root = MakeRoot({.key_type = type});
    const Ca intermediate = MakeIntermediate(root, {.common_name = "Intermediate CA",
                                                    .locality = "intermediateA",
                                                    .key_type = type,
                                                    .path_length = 0});
    const Certificate leaf = MakeLeaf(intermediate, {.key_type = type}).certificate;
    EXPECT_EQ(intermediate.certificate.Subject(), "CN=Intermediate CA,O=Istio,L=intermediateA");
    EXPECT_EQ(leaf.authority_key_id(), intermediate.certificate.subject_key_id());
    workshop.Write("root.pem", root.certificate.ToPem());
    workshop.Write("int.pem", intermediate.certificate.ToPem());
    workshop.Write("leaf.pem", leaf.ToPem());
    workshop.OpenSsl(absl::StrCat("verify -x509_strict -purpose sslserver -attime ",
                                  absl::ToUnixSeconds(testing::Now()),
                                  " -CAfile root.pem -untrusted int.pem leaf.pem"));
  }
}

TEST(SignCertificateTest, WritesEveryExtension) {
  const Workshop workshop;
  const Ca root = MakeRoot();
  CertificateTemplate to_sign;
  to_sign.serial = SerialNumber::ParseHex("80").value();
  to_sign.subject.attributes = {{"CN", "x"}};
  to_sign.not_before = testing::Now() + absl::Milliseconds(999);
  to_sign.not_after = absl::FromUnixSeconds(2'600'000'000);  // 2052
  to_sign.extensions.basic_constraints = {.ca = true, .path_length = 3, .critical = false};
  to_sign.extensions.key_usage = {.bits = kCrlSign | kDecipherOnly, .critical = false};
  to_sign.extensions.extended_key_usage = {"clientAuth", "1.2.3.4"};
  to_sign.extensions.extended_key_usage_critical = true;
  to_sign.extensions.subject_key_id = true;
  to_sign.extensions.authority_key_id = true;
  to_sign.extensions.sans = {.dns = {"a.example"},
                             .ips = {"10.0.0.1", "::1"},
                             .emails = {"me@example.com"},
                             .uris = {"spiffe://td/a"}};
  const PublicKey key = PrivateKey::Generate(KeyType::kEcdsaP256).value().public_key();
  const auto made = SignCertificate(to_sign, key, root.certificate, *root.signer);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->serial().ToDecimal(), "128");
  EXPECT_EQ(made->not_before(), testing::Now());
  EXPECT_EQ(made->not_after(), to_sign.not_after);
  EXPECT_EQ(made->public_key(), key);
  EXPECT_EQ(made->issuer_der(), root.certificate.subject_der());
  EXPECT_EQ(made->path_length(), 3);
  EXPECT_EQ(made->subject_key_id(), key.KeyId());
  EXPECT_EQ(made->authority_key_id(), root.certificate.subject_key_id());
  const std::string text = Text(workshop, *made);
  EXPECT_THAT(text, HasSubstr("X509v3 Basic Constraints: \n                CA:TRUE, pathlen:3"));
  EXPECT_THAT(text, HasSubstr("X509v3 Key Usage: \n                CRL Sign, Decipher Only"));
  EXPECT_THAT(text, HasSubstr("X509v3 Extended Key Usage: critical\n                TLS Web Client "
                              "Authentication, 1.2.3.4"));
  EXPECT_THAT(text, HasSubstr("DNS:a.example, IP Address:10.0.0.1, IP Address:0:0:0:0:0:0:0:1, "
                              "email:me@example.com, URI:spiffe://td/a"));
  EXPECT_THAT(text, HasSubstr("Not After : May 22 14:13:20 2052 GMT"));
}

TEST(SignCertificateTest, RefusesWhatMustNotBeSigned) {
  const Ca root = MakeRoot();
  const Ca other = MakeRoot();
  const PublicKey key = PrivateKey::Generate(KeyType::kEcdsaP256).value().public_key();
  const CertificateTemplate good = testing::CaTemplate({}, false);
  const auto error = [&](const CertificateTemplate& to_sign, const Ca& signer) {
    const auto made = SignCertificate(to_sign, key, root.certificate, *signer.signer);
    return made.ok() ? "signed" : made.status().ToString();
  };
  EXPECT_EQ(error(good, root), "signed");
  EXPECT_THAT(error(good, other), HasSubstr("not the key of the issuer"));
  CertificateTemplate bad = good;
  bad.not_after = bad.not_before - absl::Seconds(1);
  EXPECT_THAT(error(bad, root), HasSubstr("ends"));
  bad = good;
  bad.not_after = absl::InfiniteFuture();
  EXPECT_THAT(error(bad, root), HasSubstr("year"));
  for (const std::string& octets : {std::string(), std::string(21, 'x'), std::string(20, '\x80')}) {
    bad = good;
    bad.serial = SerialNumber::FromBytes(octets);
    EXPECT_THAT(error(bad, root), HasSubstr("serial number")) << octets.size();
  }
  bad = good;
  bad.serial = SerialNumber::FromDerInteger("\xff");
  EXPECT_THAT(error(bad, root), HasSubstr("serial number"));
  bad = good;
  bad.extensions.basic_constraints = {.ca = false, .path_length = 1};
  EXPECT_THAT(error(bad, root), HasSubstr("path length"));
  bad = good;
  bad.extensions.sans.ips = {"10.0.0.256"};
  EXPECT_THAT(error(bad, root), HasSubstr("no IP address"));
  bad = good;
  bad.extensions.sans.dns = {"ex\xc3\xa4mple"};
  EXPECT_THAT(error(bad, root), HasSubstr("outside ASCII"));
  bad = good;
  bad.extensions.extended_key_usage = {"noSuchAuth"};
  EXPECT_THAT(error(bad, root), HasSubstr("noSuchAuth"));
}

TEST(NewSignerTest, RefusesKeysThatPeersRefuse) {
  const Workshop workshop;
  workshop.OpenSsl(
      "req -new -newkey rsa:1024 -nodes -keyout k.pem -subj / -pubkey -noout -out p.pem");
  workshop.OpenSsl("pkey -pubin -in p.pem -outform DER -out p.der");
  const PublicKey weak = PublicKey::ParseSpki(workshop.Read("p.der")).value();
  const Ca root = MakeRoot();
  EXPECT_THAT(SignCertificate(testing::CaTemplate({}, false), weak, root.certificate, *root.signer)
                  .status()
                  .ToString(),
              HasSubstr("RSA 1024"));
  EXPECT_THAT(LeafTemplate::For(root.certificate)
                  .value()
                  .SignDer(testing::NextSerial(), testing::Now(), testing::Now() + absl::Hours(1),
                           {.dns = {"x"}}, weak, *root.signer)
                  .status()
                  .ToString(),
              HasSubstr("RSA 1024"));
}

TEST(NewSerialTest, IsPositiveAndNeverZero) {
  EXPECT_EQ(NewSerial(std::string(16, '\0')).ToHex(), "1");
  EXPECT_EQ(NewSerial(std::string(16, '\xff')).ToHex(), std::string(32, 'f'));
}

// The extensions of Istio's leaf in their order, content and criticality.
TEST(LeafTemplateTest, IsIstiosLeaf) {
  const Workshop workshop;
  const Ca root = MakeRoot({.key_type = KeyType::kRsa2048});
  const testing::Leaf leaf = MakeLeaf(root);
  EXPECT_EQ(leaf.certificate.version(), 3);
  EXPECT_EQ(leaf.certificate.Subject(), "");
  EXPECT_EQ(leaf.certificate.issuer_der(), root.certificate.subject_der());
  EXPECT_EQ(leaf.certificate.SignatureAlgorithm(), "SHA256-RSA");
  EXPECT_EQ(leaf.certificate.public_key(), leaf.key.public_key());
  EXPECT_THAT(leaf.certificate.sans().uris,
              ElementsAre("spiffe://cluster.local/ns/default/sa/httpbin"));
  workshop.Write("c.pem", leaf.certificate.ToPem());
  const std::string dump = workshop.OpenSsl("asn1parse -in c.pem");
  std::string extensions;
  const std::regex line(
      "(OBJECT +:(X509v3.*))|(BOOLEAN +:(.*))|(OCTET STRING +\\[HEX DUMP\\]:(.*))");
  for (std::sregex_iterator it(dump.begin(), dump.end(), line), end; it != end; ++it) {
    absl::StrAppend(&extensions, (*it)[2].str(), (*it)[4].str(), (*it)[6].str(), "\n");
  }
  EXPECT_EQ(
      extensions,
      absl::StrCat("X509v3 Key Usage\n255\n030205A0\n"
                   "X509v3 Extended Key Usage\n"
                   "301406082B0601050507030106082B06010505070302\n"
                   "X509v3 Basic Constraints\n255\n3000\n"
                   "X509v3 Authority Key Identifier\n30168014",
                   absl::AsciiStrToUpper(absl::BytesToHexString(root.certificate.subject_key_id())),
                   "\nX509v3 Subject Alternative Name\n255\n302E862C",
                   absl::AsciiStrToUpper(absl::BytesToHexString(
                       std::string("spiffe://cluster.local/ns/default/sa/httpbin"))),
                   "\n"));
}

TEST(LeafTemplateTest, NamesTheIssuersKeyWhereItHasNoSki) {
  const Workshop workshop;
  workshop.OpenSsl("req -new -newkey rsa:2048 -nodes -keyout k.pem -subj /CN=old -out r.csr");
  workshop.OpenSsl("x509 -req -in r.csr -signkey k.pem -days 9 -out c.pem");
  const Certificate old = ParsePemCertificates(workshop.Read("c.pem")).value().front();
  const auto signer = NewSigner(PrivateKey::ParsePem(workshop.Read("k.pem")).value()).value();
  const Ca ca{PrivateKey::ParsePem(workshop.Read("k.pem")).value(), old, signer};
  EXPECT_EQ(MakeLeaf(ca).certificate.authority_key_id(), old.public_key().KeyId());
}

TEST(LeafTemplateTest, RefusesAnotherSignerAndNoNames) {
  const Ca root = MakeRoot();
  const Ca other = MakeRoot();
  const LeafTemplate leaf = LeafTemplate::For(root.certificate).value();
  const auto error = [&](const SubjectAltNames& sans, const Ca& ca) {
    return leaf
        .SignDer(testing::NextSerial(), testing::Now(), testing::Now() + absl::Hours(1), sans,
                 root.key.public_key(), *ca.signer)
        .status()
        .ToString();
  };
  EXPECT_THAT(error({.dns = {"x"}}, other), HasSubstr("not the key of the issuer"));
  EXPECT_THAT(error({}, root), HasSubstr("at least one name"));
  EXPECT_THAT(error({.dns = {""}}, root), HasSubstr("empty"));
}

RC_GTEST_PROP(LeafTemplateProperty, SaysWhatItWasTold, ()) {
  static const Ca root = MakeRoot();
  static const LeafTemplate leaf = LeafTemplate::For(root.certificate).value();
  static const PublicKey key = PrivateKey::Generate(KeyType::kEcdsaP256).value().public_key();
  const auto text =
      rc::gen::nonEmpty(rc::gen::container<std::string>(rc::gen::inRange<char>(1, 127)));
  SubjectAltNames sans;
  sans.uris = *rc::gen::container<std::vector<std::string>>(text);
  sans.dns = *rc::gen::nonEmpty(rc::gen::container<std::vector<std::string>>(text));
  const std::string octets = *rc::gen::container<std::string>(16, rc::gen::arbitrary<char>());
  const absl::Time from =
      absl::FromUnixSeconds(*rc::gen::inRange<int64_t>(-10'000'000'000, 200'000'000'000));
  const absl::Time to = from + absl::Seconds(*rc::gen::inRange<int64_t>(0, 4'000'000'000));
  const SerialNumber serial = NewSerial(octets);
  const auto der = leaf.SignDer(serial, from, to, sans, key, *root.signer);
  RC_ASSERT(der.ok());
  const auto parsed = Certificate::ParseDer(*der);
  RC_ASSERT(parsed.ok());
  RC_ASSERT(parsed->serial() == serial);
  RC_ASSERT(parsed->not_before() == from);
  RC_ASSERT(parsed->not_after() == to);
  RC_ASSERT(parsed->sans().uris == sans.uris);
  RC_ASSERT(parsed->sans().dns == sans.dns);
  RC_ASSERT(parsed->IsSignedBy(root.key.public_key()));
  const bool readable = parsed->get() != nullptr;
  RC_ASSERT(readable);
}

}  // namespace
}  // namespace capstan::x509
