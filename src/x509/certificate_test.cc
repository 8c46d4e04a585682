// SPDX-License-Identifier: Apache-2.0
#include "x509/certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/strings.h"
#include "x509/test_openssl.h"
#include "x509/test_pki.h"

namespace capstan::x509 {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Workshop;

// A self-signed certificate of the openssl program.
Certificate MadeByOpenSsl(const Workshop& workshop, const std::string& options,
                          const std::string& key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256") {
  workshop.OpenSsl("req -x509 " + key + " -nodes -keyout key.pem -outform DER -out cert.der " +
                   options);
  return Certificate::ParseDer(workshop.Read("cert.der")).value();
}

TEST(SerialNumberTest, PrintsHexAndDecimal) {
  const auto serial = SerialNumber::ParseHex("678408D4db228d5700b6e3c2bdd4f259");
  ASSERT_TRUE(serial.ok());
  EXPECT_EQ(serial->ToHex(), "678408d4db228d5700b6e3c2bdd4f259");
  EXPECT_EQ(serial->ToDecimal(), "137596045874639202480794879480342835801");
  EXPECT_EQ(SerialNumber::ParseHex("30:c9:bd:8f").value().ToDecimal(), "818527631");
  EXPECT_EQ(SerialNumber::ParseHex("0").value().ToHex(), "0");
  EXPECT_EQ(SerialNumber::FromBytes("").ToDecimal(), "0");
  EXPECT_EQ(SerialNumber::ParseHex("fff").value().ToHex(), "fff");
  EXPECT_EQ(SerialNumber::FromBytes(std::string_view("\0\0\x05", 3)),
            SerialNumber::ParseHex("5").value());
  EXPECT_EQ(SerialNumber::ParseHex("3b9aca00").value().ToDecimal(), "1000000000");
  EXPECT_EQ(SerialNumber::ParseHex("ffffffffffffffff").value().ToDecimal(), "18446744073709551615");
  for (const std::string bad : {"", "xyz", "12 ", "-5", ":"}) {
    EXPECT_FALSE(SerialNumber::ParseHex(bad).ok()) << bad;
  }
  EXPECT_FALSE(SerialNumber::ParseHex(std::string(200, 'a')).ok());
}

TEST(SerialNumberTest, ReadsNegativeOnes) {
  EXPECT_EQ(SerialNumber::FromDerInteger("\xff").ToDecimal(), "-1");
  EXPECT_EQ(SerialNumber::FromDerInteger("\x80").ToDecimal(), "-128");
  EXPECT_EQ(SerialNumber::FromDerInteger(std::string_view("\x80\0", 2)).ToHex(), "-8000");
  EXPECT_EQ(SerialNumber::FromDerInteger(std::string_view("\0\x80", 2)).ToDecimal(), "128");
}

RC_GTEST_PROP(SerialNumberProperty, HexIsReadBack, (const std::string& bytes)) {
  RC_PRE(bytes.size() <= 60);
  const SerialNumber serial = SerialNumber::FromBytes(bytes);
  RC_ASSERT(SerialNumber::ParseHex(serial.ToHex()).value() == serial);
}

TEST(CertificateTest, ReadsACaOfIstiosMakefile) {
  const Workshop workshop;
  workshop.Write("ca.conf",
                 "[req]\ndistinguished_name=d\n[d]\n[v3]\nsubjectKeyIdentifier=hash\n"
                 "basicConstraints=critical,CA:true\n"
                 "keyUsage=critical,digitalSignature,nonRepudiation,keyEncipherment,keyCertSign\n");
  const Certificate root = MadeByOpenSsl(
      workshop,
      "-subj '/O=Istio/CN=Root CA' -set_serial 0x30c9bd8fec3230ec284ffc53f0cb255a23dc539c "
      "-days 3650 -extensions v3 -config ca.conf",
      "-newkey rsa:2048");
  EXPECT_EQ(root.version(), 3);
  EXPECT_EQ(root.Subject(), "CN=Root CA,O=Istio");
  EXPECT_EQ(root.Issuer(), "CN=Root CA,O=Istio");
  EXPECT_EQ(root.subject_der(), root.issuer_der());
  EXPECT_EQ(root.SubjectCommonName(), "Root CA");
  EXPECT_EQ(root.serial().ToHex(), "30c9bd8fec3230ec284ffc53f0cb255a23dc539c");
  EXPECT_EQ(root.serial().ToDecimal(), "278530519980826938909606385837357043631976633244");
  EXPECT_EQ(root.not_after() - root.not_before(), absl::Hours(24 * 3650));
  EXPECT_EQ(root.public_key().Description(), "RSA 2048");
  EXPECT_EQ(root.SignatureAlgorithm(), "SHA256-RSA");
  EXPECT_TRUE(root.is_ca());
  EXPECT_TRUE(root.has_basic_constraints());
  EXPECT_EQ(root.path_length(), std::nullopt);
  EXPECT_EQ(root.key_usage(),
            kDigitalSignature | kNonRepudiation | kKeyEncipherment | kKeyCertSign);
  EXPECT_THAT(root.extended_key_usage(), IsEmpty());
  EXPECT_EQ(root.subject_key_id(), root.public_key().KeyId());
  EXPECT_EQ(root.authority_key_id(), "");
  EXPECT_TRUE(root.IsSelfSigned());
  EXPECT_TRUE(root.IsSignedByCa(root));
  EXPECT_NE(root.get(), nullptr);
  EXPECT_THAT(workshop.OpenSsl("x509 -inform DER -in cert.der -noout -fingerprint -sha256"),
              HasSubstr(absl::AsciiStrToUpper(root.FingerprintHex().substr(0, 2))));
}

TEST(CertificateTest, ReadsEveryKindOfName) {
  const Workshop workshop;
  const Certificate certificate = MadeByOpenSsl(
      workshop,
      "-subj /CN=first/CN=last -addext 'subjectAltName=critical,URI:spiffe://td/a,DNS:b.example,"
      "IP:127.0.0.1,IP:2001:db8::1,email:me@example.com,URI:https://x/%20y,DNS:a.example,"
      "otherName:1.2.3.4;UTF8:skipped,RID:1.2.3'");
  const SubjectAltNames& sans = certificate.sans();
  EXPECT_TRUE(sans.critical);
  EXPECT_THAT(sans.uris, ElementsAre("spiffe://td/a", "https://x/%20y"));
  EXPECT_THAT(sans.dns, ElementsAre("b.example", "a.example"));
  EXPECT_THAT(sans.ips, ElementsAre("127.0.0.1", "2001:db8::1"));
  EXPECT_THAT(sans.emails, ElementsAre("me@example.com"));
  EXPECT_EQ(certificate.SubjectCommonName(), "last");
  EXPECT_THAT(certificate.SpiffeId().status().ToString(), HasSubstr("has 2"));
}

TEST(CertificateTest, PrintsAddressesAsGoDoes) {
  const Workshop workshop;
  const Certificate certificate = MadeByOpenSsl(
      workshop,
      "-subj / -addext 'subjectAltName=IP:0:0:0:0:0:0:0:0,IP:0:0:0:0:0:0:0:1,IP:::1.2.3.4,"
      "IP:::ffff:1.2.3.4,IP:2001:db8:0:1:1:1:1:1,IP:2001:0:0:1:0:0:0:1,IP:fe80::,IP:1:2:3:4:5:6:7:"
      "8'");
  EXPECT_THAT(certificate.sans().ips,
              ElementsAre("::", "::1", "::102:304", "1.2.3.4", "2001:db8:0:1:1:1:1:1",
                          "2001:0:0:1::1", "fe80::", "1:2:3:4:5:6:7:8"));
}

TEST(CertificateTest, ReadsUsagesAndPathLengths) {
  const Workshop workshop;
  const Certificate certificate =
      MadeByOpenSsl(workshop,
                    "-subj /CN=x -addext basicConstraints=CA:true,pathlen:200 -addext "
                    "keyUsage=keyAgreement,encipherOnly,decipherOnly -addext "
                    "extendedKeyUsage=serverAuth,1.2.3.4,OCSPSigning");
  EXPECT_EQ(certificate.path_length(), 200);
  EXPECT_EQ(certificate.key_usage(), kKeyAgreement | kEncipherOnly | kDecipherOnly);
  EXPECT_THAT(certificate.extended_key_usage(),
              ElementsAre("serverAuth", "1.2.3.4", "OCSPSigning"));
  EXPECT_FALSE(certificate.IsSignedByCa(certificate));  // may not sign certificates
  EXPECT_TRUE(certificate.IsSelfSigned());
}

TEST(CertificateTest, NamesSignatureAlgorithmsAsGoDoes) {
  const Workshop workshop;
  const auto algorithm = [&](const std::string& options, const std::string& key) {
    const Certificate c = MadeByOpenSsl(workshop, "-subj /CN=x " + options, key);
    EXPECT_TRUE(c.IsSelfSigned()) << c.SignatureAlgorithm();
    return std::pair(c.SignatureAlgorithm(), c.IsSignedByCa(c));
  };
  const std::string rsa = "-newkey rsa:2048";
  const std::string ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-384";
  EXPECT_EQ(algorithm("-sha256", rsa), std::pair(std::string("SHA256-RSA"), true));
  EXPECT_EQ(algorithm("-sha512", rsa), std::pair(std::string("SHA512-RSA"), true));
  EXPECT_EQ(algorithm("-sha1", rsa), std::pair(std::string("SHA1-RSA"), false));
  EXPECT_EQ(algorithm("-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest", rsa),
            std::pair(std::string("SHA256-RSAPSS"), true));
  EXPECT_EQ(algorithm("-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:20", rsa),
            std::pair(std::string("RSAPSS"), false));
  EXPECT_EQ(algorithm("-sha384", ec), std::pair(std::string("ECDSA-SHA384"), true));
  EXPECT_EQ(algorithm("-sha256", ec), std::pair(std::string("ECDSA-SHA256"), true));
  EXPECT_EQ(algorithm("", "-newkey ed25519"), std::pair(std::string("Ed25519"), true));
}

TEST(CertificateTest, ReadsVersion1AndOddValidity) {
  const Workshop workshop;
  workshop.OpenSsl("req -new -newkey rsa:2048 -nodes -keyout k.pem -subj /CN=old -out r.csr");
  workshop.OpenSsl(
      "x509 -req -in r.csr -signkey k.pem -days -1 -set_serial 0 -outform DER -out c.der");
  const auto certificate = Certificate::ParseDer(workshop.Read("c.der"));
  ASSERT_TRUE(certificate.ok()) << certificate.status();
  EXPECT_EQ(certificate->version(), 1);
  EXPECT_LT(certificate->not_after(), certificate->not_before());
  EXPECT_EQ(certificate->serial().ToDecimal(), "0");
  EXPECT_EQ(certificate->key_usage(), std::nullopt);
  EXPECT_FALSE(certificate->is_ca());
  EXPECT_TRUE(certificate->IsSignedByCa(*certificate));  // Go lets version 1 be
}

TEST(CertificateTest, SpiffeIdIsTheOnlyUri) {
  const testing::Ca root = testing::MakeRoot();
  const auto id = [&](SubjectAltNames sans) {
    const auto parsed = testing::MakeLeaf(root, {.sans = std::move(sans)}).certificate.SpiffeId();
    return parsed.ok() ? parsed->ToString() : parsed.status().ToString();
  };
  EXPECT_EQ(id({.dns = {"x"}, .uris = {"spiffe://td/a"}}), "spiffe://td/a");
  EXPECT_THAT(id({.dns = {"x"}}), HasSubstr("has 0"));
  EXPECT_THAT(id({.uris = {"https://td/a"}}), HasSubstr("\"https://td/a\" is no SPIFFE ID"));
}

TEST(CertificateTest, SignaturesAreCheckedAgainstTheRightKeyOnly) {
  const testing::Ca a = testing::MakeRoot();
  const testing::Ca b = testing::MakeRoot({.key_type = KeyType::kRsa2048});
  const Certificate leaf = testing::MakeLeaf(a).certificate;
  EXPECT_TRUE(leaf.IsSignedBy(a.key.public_key()));
  EXPECT_FALSE(leaf.IsSignedBy(b.key.public_key()));
  EXPECT_FALSE(leaf.IsSignedBy(leaf.public_key()));
  EXPECT_TRUE(leaf.IsSignedByCa(a.certificate));
  EXPECT_FALSE(leaf.IsSelfSigned());
}

TEST(PemTest, SkipsEverythingAroundCertificates) {
  const testing::Ca a = testing::MakeRoot();
  const testing::Ca b = testing::MakeRoot();
  const std::string key(a.key.ToPkcs8Pem().Reveal());
  const std::string text = absl::StrCat("\xef\xbb\xbf", a.certificate.ToPem(), "# comment\n", key,
                                        b.certificate.ToPem(), a.certificate.ToPem());
  const auto parsed = ParsePemCertificates(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(*parsed, ElementsAre(a.certificate, b.certificate, a.certificate));

  std::string crlf = absl::StrReplaceAll(text, {{"\n", "\r\n"}});
  crlf.resize(crlf.size() - 2);
  const auto again = ParsePemCertificates(crlf);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, *parsed);
  EXPECT_EQ(ParseCertificates(text).value(), *parsed);
  EXPECT_THAT(ParseCertificates(a.certificate.der()).value(), ElementsAre(a.certificate));
  EXPECT_EQ(ToPem(*parsed),
            absl::StrCat(a.certificate.ToPem(), b.certificate.ToPem(), a.certificate.ToPem()));
}

TEST(PemTest, PrintsAsOpenSslDoes) {
  const Workshop workshop;
  const Certificate certificate = MadeByOpenSsl(workshop, "-subj /CN=x");
  EXPECT_EQ(certificate.ToPem(), workshop.OpenSsl("x509 -inform DER -in cert.der"));
}

TEST(PemTest, SkipsBlocksThatStepSkips) {
  const testing::Ca root = testing::MakeRoot();
  const std::string pem = root.certificate.ToPem();
  const std::string with_headers = absl::StrReplaceAll(
      pem, {{"-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nProc-Type: 4\n\n"}});
  const std::string trusted = absl::StrReplaceAll(pem, {{"CERTIFICATE", "TRUSTED CERTIFICATE"}});
  EXPECT_THAT(ParsePemCertificates(with_headers).status().ToString(),
              HasSubstr("no CERTIFICATE block"));
  EXPECT_THAT(ParsePemCertificates(trusted).status().ToString(), HasSubstr("no CERTIFICATE block"));
  EXPECT_THAT(ParsePemCertificates(with_headers + trusted + pem).value(),
              ElementsAre(root.certificate));
}

std::string PemError(std::string_view text) {
  const auto parsed = ParsePemCertificates(text);
  return parsed.ok() ? "accepted" : parsed.status().ToString();
}

TEST(PemTest, NamesBlockAndLineOfAnError) {
  const std::string good = testing::MakeRoot().certificate.ToPem();
  const auto lines = std::count(good.begin(), good.end(), '\n');
  EXPECT_THAT(
      PemError(good + "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n"),
      HasSubstr(absl::StrCat("certificate 2 (line ", lines + 1, "): byte 2: certificate body")));
  EXPECT_THAT(PemError("\n-----BEGIN CERTIFICATE-----\nMAM!\n-----END CERTIFICATE-----\n"),
              HasSubstr("certificate 1 (line 2): line 3 is not base64"));
  EXPECT_THAT(PemError("-----BEGIN CERTIFICATE-----\nMAMCA\n-----END CERTIFICATE-----\n"),
              HasSubstr("ends within a group"));
  EXPECT_THAT(PemError("-----BEGIN CERTIFICATE-----\nMA==MA==\n-----END CERTIFICATE-----\n"),
              HasSubstr("after the padding"));
  EXPECT_THAT(PemError("-----BEGIN CERTIFICATE-----\nMAMCAQE="), HasSubstr("has no END line"));
  EXPECT_THAT(PemError("-----BEGIN CERTIFICATE-----\n-----END X-----"), HasSubstr("ends as \"X\""));
  EXPECT_THAT(PemError("-----BEGIN CERTIFICATE-----\n" + good), HasSubstr("before line 2"));
  EXPECT_THAT(PemError("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
              HasSubstr("byte 0: certificate is missing"));
  EXPECT_THAT(PemError(""), HasSubstr("no CERTIFICATE block in 0 bytes"));
  EXPECT_THAT(ParseCertificates("").status().ToString(), HasSubstr("empty input"));
  EXPECT_THAT(ParseCertificates("garbage").status().ToString(), HasSubstr("neither PEM nor"));
}

TEST(PemTest, OtherBlocksMayBeGarbage) {
  const testing::Ca root = testing::MakeRoot();
  EXPECT_THAT(
      ParsePemCertificates("-----BEGIN X-----\n!!!\n-----END X-----\n" + root.certificate.ToPem())
          .value(),
      ElementsAre(root.certificate));
}

TEST(CertificateTest, RefusesWhatIsTooLarge) {
  EXPECT_THAT(Certificate::ParseDer(std::string(2 << 20, '\x30')).status().ToString(),
              HasSubstr("at most 1 MiB"));
}

// Replaces the first occurrence of some DER, keeping all lengths.
std::string Patched(const Certificate& certificate, std::string_view from, std::string_view to) {
  std::string der = certificate.der();
  const size_t at = der.find(from);
  EXPECT_NE(at, std::string::npos);
  EXPECT_EQ(from.size(), to.size());
  return der.replace(at, to.size(), to);
}

TEST(CertificateTest, RefusesMalformedParts) {
  const testing::Ca root = testing::MakeRoot();
  const Certificate leaf = testing::MakeLeaf(root, {.sans = {.ips = {"1.2.3.4"}}}).certificate;
  const auto error = [&](std::string_view from, std::string_view to) {
    const auto parsed = Certificate::ParseDer(Patched(leaf, from, to));
    return parsed.ok() ? "accepted" : parsed.status().ToString();
  };
  EXPECT_THAT(error("\xa0\x03\x02\x01\x02", "\xa0\x03\x02\x01\x03"), HasSubstr("version is not"));
  EXPECT_THAT(error("\xa0\x03\x02\x01\x02", std::string_view("\xa0\x03\x02\x01\x00", 5)),
              HasSubstr("version 1 cannot have extensions"));
  EXPECT_THAT(error("\x06\x03\x55\x1d\x25", "\x06\x03\x55\x1d\x0f"),
              HasSubstr("keyUsage occurs twice"));
  EXPECT_THAT(error("\x01\x01\xff", "\x01\x01\x01"), HasSubstr("neither TRUE nor FALSE"));
  EXPECT_THAT(error("\x87\x04\x01\x02\x03\x04", "\x81\x04\x01\x02\x03\xf4"),
              HasSubstr("outside ASCII"));
  EXPECT_THAT(error("\x30\x06\x87\x04\x01\x02", "\x30\x06\x87\x03\x01\x02"), HasSubstr("byte "));
  EXPECT_THAT(error("\x03\x02\x05\xa0", "\x03\x02\x05\xa1"), HasSubstr("keyUsage"));
  EXPECT_THAT(error("\x2a\x86\x48\xce\x3d\x04\x03\x02", "\x2a\x86\x48\xce\x3d\x04\x03\x03"),
              HasSubstr("signature algorithms of the certificate differ"));
}

}  // namespace
}  // namespace capstan::x509
