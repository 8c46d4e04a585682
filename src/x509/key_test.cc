// SPDX-License-Identifier: Apache-2.0
#include "x509/key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/strings.h"
#include "x509/der.h"
#include "x509/oid.h"
#include "x509/test_openssl.h"

namespace capstan::x509 {
namespace {

using ::testing::HasSubstr;
using testing::Workshop;

std::string ErrorOf(std::string_view pem) {
  const auto key = PrivateKey::ParsePem(pem);
  return key.ok() ? "accepted" : key.status().ToString();
}

// The public half in DER, as the openssl program derives it.
std::string PublicHalf(const Workshop& workshop, const std::string& file) {
  workshop.OpenSsl("pkey -in " + file + " -pubout -outform DER -out " + file + ".pub");
  return workshop.Read(file + ".pub");
}

PublicKey ParsePublic(const Workshop& workshop, const std::string& generate) {
  workshop.OpenSsl("genpkey " + generate + " -out other.pem");
  return PublicKey::ParseSpki(PublicHalf(workshop, "other.pem")).value();
}

TEST(KeyTypeTest, NamesAreReadBack) {
  for (const KeyType type : {KeyType::kRsa2048, KeyType::kRsa3072, KeyType::kRsa4096,
                             KeyType::kEcdsaP256, KeyType::kEcdsaP384}) {
    EXPECT_EQ(ParseKeyType(KeyTypeName(type)).value(), type);
  }
  EXPECT_THAT(ParseKeyType("ed25519").status().ToString(), HasSubstr("rsa-2048"));
}

class GeneratedKeyTest : public ::testing::TestWithParam<KeyType> {};

TEST_P(GeneratedKeyTest, SurvivesPemAndIsReadByOpenSsl) {
  const auto key = PrivateKey::Generate(GetParam());
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(key->public_key().type(), GetParam());
  EXPECT_TRUE(key->public_key().CheckAcceptable().ok());
  const Secret pem = key->ToPkcs8Pem();
  EXPECT_THAT(std::string(pem.Reveal()), ::testing::StartsWith("-----BEGIN PRIVATE KEY-----\n"));
  const auto again = PrivateKey::ParsePem(pem.Reveal());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->public_key(), key->public_key());

  const Workshop workshop;
  workshop.Write("key.pem", pem.Reveal());
  workshop.OpenSsl("pkey -in key.pem -check -noout");
  EXPECT_EQ(PublicHalf(workshop, "key.pem"), key->public_key().spki_der());
}

INSTANTIATE_TEST_SUITE_P(All, GeneratedKeyTest,
                         ::testing::Values(KeyType::kRsa2048, KeyType::kRsa3072,
                                           KeyType::kEcdsaP256, KeyType::kEcdsaP384));

TEST(PrivateKeyTest, ReadsEveryPlainFormat) {
  const Workshop workshop;
  workshop.OpenSsl("genrsa -out rsa8.pem 2048");
  workshop.OpenSsl("rsa -in rsa8.pem -traditional -out rsa1.pem");
  workshop.OpenSsl("ecparam -name prime256v1 -genkey -out sec1.pem");  // EC PARAMETERS block ahead
  workshop.OpenSsl("pkcs8 -topk8 -nocrypt -in sec1.pem -out ec8.pem");
  for (const std::string file : {"rsa8.pem", "rsa1.pem", "sec1.pem", "ec8.pem"}) {
    const auto key = PrivateKey::ParsePem(workshop.Read(file));
    ASSERT_TRUE(key.ok()) << file << key.status();
    EXPECT_EQ(key->public_key().spki_der(), PublicHalf(workshop, file)) << file;
    const std::string crlf = absl::StrReplaceAll(workshop.Read(file), {{"\n", "\r\n"}});
    EXPECT_TRUE(PrivateKey::ParsePem("\xef\xbb\xbf text before\r\n" + crlf).ok()) << file;
  }
}

TEST(PrivateKeyTest, RefusesEncryptedKeysWithoutAsking) {
  const Workshop workshop;
  workshop.OpenSsl("genrsa -out plain.pem 2048");
  workshop.OpenSsl("pkcs8 -topk8 -in plain.pem -passout pass:x -out pkcs8.pem");
  workshop.OpenSsl("rsa -in plain.pem -traditional -aes128 -passout pass:x -out pkcs1.pem");
  EXPECT_THAT(ErrorOf(workshop.Read("pkcs8.pem")), HasSubstr("is encrypted"));
  EXPECT_THAT(ErrorOf(workshop.Read("pkcs1.pem")), HasSubstr("is encrypted"));
  EXPECT_THAT(ErrorOf("\n\n" + workshop.Read("pkcs1.pem")), HasSubstr("line 3"));
}

TEST(PrivateKeyTest, RefusesOtherAlgorithmsAndSizes) {
  const Workshop workshop;
  for (const std::string options :
       {"-algorithm ed25519", "-algorithm x25519", "-algorithm rsa-pss",
        "-algorithm ec -pkeyopt ec_paramgen_curve:P-521",
        "-algorithm ec -pkeyopt ec_paramgen_curve:secp256k1",
        "-algorithm ec -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
        "-algorithm rsa -pkeyopt rsa_keygen_bits:1024",
        "-algorithm rsa -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3"}) {
    workshop.OpenSsl("genpkey " + options + " -out key.pem");
    EXPECT_THAT(ErrorOf(workshop.Read("key.pem")), HasSubstr("is refused")) << options;
  }
}

TEST(PrivateKeyTest, RefusesTextWithoutAWholeKey) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("no private key"));
  EXPECT_THAT(ErrorOf("hello"), HasSubstr("no private key"));
  EXPECT_THAT(ErrorOf("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
              HasSubstr("does not decode"));
  EXPECT_THAT(ErrorOf("-----BEGIN PRIVATE KEY-----\n!!\n-----END PRIVATE KEY-----\n"),
              HasSubstr("line 2 is not base64"));
  EXPECT_THAT(
      ErrorOf("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"),
      HasSubstr("OpenSSH"));
  EXPECT_THAT(ErrorOf(std::string(2 << 20, 'x')), HasSubstr("1 MiB"));
  const std::string pem(PrivateKey::Generate(KeyType::kEcdsaP256)->ToPkcs8Pem().Reveal());
  for (size_t size = 0; size + 1 < pem.size(); ++size) {  // the last newline may be missing
    EXPECT_NE(ErrorOf(std::string_view(pem).substr(0, size)), "accepted") << size;
  }
}

TEST(PrivateKeyTest, RefusesHalvesOfTwoKeys) {
  // SEC 1 keys carry the public half beside the private number: put another key's in.
  const Workshop workshop;
  const auto der_of = [&](const std::string& name) {
    workshop.OpenSsl("ecparam -name prime256v1 -genkey -noout -outform DER -out " + name);
    return workshop.Read(name);
  };
  std::string mixed = der_of("a.der");
  const std::string other = der_of("b.der");
  mixed.replace(mixed.size() - 64, 64, other.substr(other.size() - 64));
  workshop.Write("mixed.pem", "-----BEGIN EC PRIVATE KEY-----\n" + absl::Base64Escape(mixed) +
                                  "\n-----END EC PRIVATE KEY-----\n");
  EXPECT_THAT(ErrorOf(workshop.Read("mixed.pem")), HasSubstr("halves"));
}

TEST(PublicKeyTest, IsDescribedAsStepDoes) {
  const Workshop workshop;
  const auto description = [&](const std::string& options) {
    return ParsePublic(workshop, options).Description();
  };
  EXPECT_EQ(description("-algorithm rsa -pkeyopt rsa_keygen_bits:2048"), "RSA 2048");
  // OpenSSL makes no key of 2049 bits: one from parts.
  const std::string modulus = absl::StrCat("\x01", std::string(256, '\x55'));
  const std::string rsa = der::Sequence(
      der::Sequence(der::Element(der::kObjectId, oid::kRsa), der::Element(der::kNull, "")),
      der::BitString(der::Sequence(der::UnsignedInteger(modulus), der::UnsignedInteger(65537))));
  EXPECT_EQ(PublicKey::ParseSpki(rsa).value().Description(), "RSA 2056");
  EXPECT_EQ(description("-algorithm rsa -pkeyopt rsa_keygen_bits:1024"), "RSA 1024");
  EXPECT_EQ(description("-algorithm ec -pkeyopt ec_paramgen_curve:P-256"), "ECDSA P-256");
  EXPECT_EQ(description("-algorithm ec -pkeyopt ec_paramgen_curve:P-384"), "ECDSA P-384");
  EXPECT_EQ(description("-algorithm ec -pkeyopt ec_paramgen_curve:P-521"), "ECDSA P-521");
  EXPECT_EQ(description("-algorithm ec -pkeyopt ec_paramgen_curve:P-224"), "ECDSA P-224");
  EXPECT_EQ(description("-algorithm ed25519"), "Ed25519 256");
  EXPECT_EQ(description("-algorithm x25519"), "Unknown");
  workshop.OpenSsl(
      "genpkey -genparam -algorithm DSA -pkeyopt dsa_paramgen_bits:1024 -pkeyopt "
      "dsa_paramgen_q_bits:160 -out dsa.pem");
  EXPECT_EQ(description("-paramfile dsa.pem"), "DSA 160");
  // SEQUENCE { SEQUENCE { 2.16.840.1.101.3.4.3.17 }, BIT STRING }
  EXPECT_EQ(PublicKey::ParseSpki(std::string_view("\x30\x10\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03"
                                                  "\x04\x03\x11\x03\x01\x00",
                                                  18))
                .value()
                .Description(),
            "ML-DSA-44");
}

TEST(PublicKeyTest, KeyIdIsOpenSslsHash) {
  const Workshop workshop;
  workshop.OpenSsl(
      "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -subj /CN=x -out c.pem "
      "-addext subjectKeyIdentifier=hash");
  const std::string text = workshop.OpenSsl("x509 -in c.pem -noout -ext subjectKeyIdentifier");
  const PublicKey key = PublicKey::ParseSpki(PublicHalf(workshop, "key.pem")).value();
  const std::string hex = absl::BytesToHexString(key.KeyId());
  EXPECT_THAT(absl::AsciiStrToLower(absl::StrReplaceAll(text, {{":", ""}})), HasSubstr(hex));
}

TEST(PublicKeyTest, RefusesCompressedAndForeignPoints) {
  const Workshop workshop;
  workshop.OpenSsl("ecparam -name prime256v1 -genkey -noout -out k.pem");
  workshop.OpenSsl("pkey -in k.pem -pubout -outform DER -ec_conv_form compressed -out c.der");
  const auto compressed = PublicKey::ParseSpki(workshop.Read("c.der"));
  ASSERT_TRUE(compressed.ok()) << compressed.status();
  EXPECT_THAT(compressed->CheckAcceptable().ToString(), HasSubstr("compressed"));

  std::string off_curve = PublicHalf(workshop, "k.pem");
  off_curve.back() = static_cast<char>(off_curve.back() ^ 1);
  const auto key = PublicKey::ParseSpki(off_curve);
  ASSERT_TRUE(key.ok());
  EXPECT_EQ(key->get(), nullptr);
  EXPECT_THAT(key->CheckAcceptable().ToString(), HasSubstr("malformed"));
}

TEST(PublicKeyTest, RefusesEveryTruncation) {
  const std::string spki = PrivateKey::Generate(KeyType::kRsa2048).value().public_key().spki_der();
  for (size_t size = 0; size < spki.size(); ++size) {
    EXPECT_FALSE(PublicKey::ParseSpki(std::string_view(spki).substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(PublicKey::ParseSpki(spki + "x").ok());
}

}  // namespace
}  // namespace capstan::x509
