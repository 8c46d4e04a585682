// SPDX-License-Identifier: Apache-2.0
#include "x509/jws.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "x509/der.h"
#include "x509/test_openssl.h"

namespace capstan::x509 {
namespace {

struct Case {
  const char* name;
  const char* key;   // openssl genpkey …
  const char* sign;  // openssl dgst …
  size_t field = 0;  // octets, with ECDSA
};
const std::vector<Case> kCases = {
    {"RS256", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "-sha256"},
    {"RS384", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "-sha384"},
    {"RS512", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "-sha512"},
    {"PS256", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
     "-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1"},
    {"PS384", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
     "-sha384 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1"},
    {"PS512", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
     "-sha512 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1"},
    {"ES256", "-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "-sha256", 32},
    {"ES384", "-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "-sha384", 48},
};

std::string Padded(std::string_view integer, size_t octets) {
  while (!integer.empty() && integer.front() == 0) integer.remove_prefix(1);
  return std::string(octets - integer.size(), '\0') + std::string(integer);
}

// As JWS has it: r and s, of equal length.
std::string Raw(const std::string& signature, size_t field) {
  if (field == 0) return signature;
  der::Reader outer(signature);
  der::Reader fields = *outer.Enter(der::kSequence, "signature");
  const der::Item r = *fields.Read(der::kInteger, "r");
  const der::Item s = *fields.Read(der::kInteger, "s");
  return Padded(r.content, field) + Padded(s.content, field);
}

class JwsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::HasOpenSsl()) GTEST_SKIP() << "openssl is not installed";
  }
  PublicKey NewKey(const Case& how) {
    shop_.OpenSsl(absl::StrCat("genpkey ", how.key, " -out key.pem"));
    shop_.OpenSsl("pkey -in key.pem -pubout -outform DER -out key.der");
    return *PublicKey::ParseSpki(shop_.Read("key.der"));
  }
  std::string Sign(const Case& how, const std::string& message) {
    shop_.Write("message", message);
    shop_.OpenSsl(absl::StrCat("dgst ", how.sign, " -sign key.pem -out signature message"));
    return Raw(shop_.Read("signature"), how.field);
  }
  testing::Workshop shop_;
};

TEST_F(JwsTest, OpenSslsSignaturesVerifyAndNoOthers) {
  std::optional<PublicKey> key, stranger;
  std::string made_for;
  for (const Case& how : kCases) {
    if (std::exchange(made_for, how.key) != how.key) {
      stranger = NewKey(how);
      key = NewKey(how);
    }
    std::string signature = Sign(how, "header.claims");
    const JwsAlgorithm algorithm = *ParseJwsAlgorithm(how.name);
    EXPECT_TRUE(VerifyJws(algorithm, "header.claims", signature, *key)) << how.name;
    EXPECT_FALSE(VerifyJws(algorithm, "header.claims", signature, *stranger)) << how.name;
    EXPECT_FALSE(VerifyJws(algorithm, "header.claimz", signature, *key)) << how.name;
    EXPECT_FALSE(VerifyJws(algorithm, "header.claims", "", *key)) << how.name;
    EXPECT_FALSE(VerifyJws(algorithm, "header.claims", signature + "x", *key)) << how.name;
    for (const Case& other : kCases) {
      EXPECT_EQ(VerifyJws(*ParseJwsAlgorithm(other.name), "header.claims", signature, *key),
                std::string(other.name) == how.name)
          << how.name << " taken for " << other.name;
    }
    signature[5] = static_cast<char>(signature[5] ^ 1);
    EXPECT_FALSE(VerifyJws(algorithm, "header.claims", signature, *key)) << how.name;
  }
}

TEST_F(JwsTest, KeysAreMadeOfTheirParts) {
  const PublicKey rsa = NewKey(kCases[0]);
  std::string modulus = shop_.OpenSsl("rsa -in key.pem -noout -modulus");
  modulus = absl::HexStringToBytes(modulus.substr(8, modulus.size() - 9));
  EXPECT_EQ(*RsaKeyOf(modulus, std::string("\x01\x00\x01", 3)), rsa);
  EXPECT_FALSE(RsaKeyOf(modulus.substr(128), std::string("\x01\x00\x01", 3)).ok()) << "1024 bits";
  EXPECT_FALSE(RsaKeyOf("", "").ok());

  const PublicKey ec = NewKey(kCases[6]);
  const std::string point = ec.spki_der().substr(ec.spki_der().size() - 64);
  EXPECT_EQ(*EcKeyOf("P-256", point.substr(0, 32), point.substr(32)), ec);
  EXPECT_FALSE(EcKeyOf("P-384", point.substr(0, 32), point.substr(32)).ok());
  EXPECT_FALSE(EcKeyOf("P-256", point.substr(32), point.substr(0, 32)).ok()) << "not on the curve";
  EXPECT_FALSE(EcKeyOf("P-256", point.substr(0, 31), point.substr(31)).ok());
  EXPECT_FALSE(EcKeyOf("secp256k1", point.substr(0, 32), point.substr(32)).ok());
}

TEST(JwsAlgorithmTest, NothingButPublicKeys) {
  for (const char* name : {"none", "None", "HS256", "rs256", "", "ES512", "EdDSA", "RS256 "}) {
    EXPECT_EQ(ParseJwsAlgorithm(name), std::nullopt) << name;
  }
}

}  // namespace
}  // namespace capstan::x509
