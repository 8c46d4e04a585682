// SPDX-License-Identifier: Apache-2.0
#include "rotation/preflight_fixture.h"

namespace capstan::rotation::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using trust::testing::MakeIntermediate;
using trust::testing::MakeRoot;
using trust::testing::TestPki;

std::string Ec(const std::string& curve) {
  return absl::StrCat("EC -pkeyopt ec_paramgen_curve:", curve);
}
std::string Rsa(int bits) {
  return absl::StrCat("RSA -pkeyopt rsa_keygen_bits:", bits);
}
std::string Plus(const std::string& extension) {
  return absl::StrCat(kIntermediateExtensions, extension, "\n");
}

// ── Keys ─────────────────────────────────────────────────────────────────────────────────────────

TEST_F(PreflightTest, KeysThatCannotSignLeavesAreRefused) {
  EXPECT_THAT(LookAt({.key = "ED25519"}), Finds(kError, "key-refused", "Ed25519"));
  EXPECT_THAT(LookAt({.key = Ec("P-521")}), Finds(kError, "key-refused", "P-521"));
  EXPECT_THAT(LookAt({.key = Rsa(1024)}), Finds(kError, "key-refused", "RSA 1024"));
}

TEST_F(PreflightTest, KeysAboveTheIssuerMayBeUnusualNotUnverifiable) {
  EXPECT_THAT(LookAt({.root_key = "ED25519"}), Finds(kWarning, "key-unusual", "Ed25519"));
  EXPECT_THAT(LookAt({.root_key = Ec("P-521")}), Finds(kWarning, "key-unusual", "P-521"));
  EXPECT_THAT(LookAt({.root_key = "ED448"}), Finds(kError, "key-refused", "kind"));
  EXPECT_THAT(LookAt({.root_key = Ec("secp256k1")}), Finds(kError, "key-refused", "kind"));
  EXPECT_THAT(LookAt({.root_key = Rsa(1024)}), Finds(kError, "key-refused", "too short"));
  EXPECT_THAT(LookAt({.root_key = absl::StrCat(Rsa(4104), " -pkeyopt rsa_keygen_primes:4")}),
              Finds(kWarning, "key-unusual", "slow"));
}

TEST_F(PreflightTest, AnotherKindOfKeyIsNoted) {
  const std::vector<Finding> findings = LookAt({.key = Ec("P-384")});
  EXPECT_THAT(findings, Finds(kNote, "key-changes", "from ECDSA P-256 to ECDSA P-384"));
  EXPECT_FALSE(HasErrors(findings)) << Text(findings);
  EXPECT_THAT(Of(LookAt({}), "key-changes"), IsEmpty());
}

// ── What is in a CA's certificate ────────────────────────────────────────────────────────────────

TEST_F(PreflightTest, NamesThatEnvoyCannotReadThoughOpenSslCan) {
  // openssl makes these, verifies them and prints them; Envoy 1.40 loads neither as a root nor as
  // part of a chain.
  const std::vector<Finding> root = LookAt({.root_subject = "/O=Test/CN=Root \xEF\xB7\x90 CA"});
  EXPECT_THAT(root, Finds(kError, "unreadable-name", "U+FDD0"));
  ASSERT_THAT(Of(root, "unreadable-name"), SizeIs(2)) << "the intermediate names it as its issuer";
  EXPECT_THAT(root, Finds(kError, "unreadable-name", "refuse the whole bundle"));
  EXPECT_THAT(root, Finds(kError, "unreadable-name", "in its issuer"));
  EXPECT_THAT(Of(root, "pair-refused"), IsEmpty()) << "no verifier here would have found it";
  const std::vector<Finding> below = LookAt({.subject = "/O=Test/CN=\xEF\xBF\xBF"});
  ASSERT_THAT(Of(below, "unreadable-name"), SizeIs(1));
  EXPECT_THAT(below, Finds(kError, "unreadable-name", "refuse the leaves below it"));
  EXPECT_THAT(Of(below, "unreadable-name")[0].where, HasSubstr("signing certificate"));
  EXPECT_THAT(Of(LookAt({.root_subject = "/O=Tëst & Co*/CN=Wurzel ä"}), "unreadable-name"),
              IsEmpty());
}

TEST_F(PreflightTest, CriticalExtensionsThatEnvoyDoesNotHandle) {
  // OpenSSL handles the first of these: nothing but this check would find it.
  EXPECT_THAT(LookAt({.extensions = Plus("crlDistributionPoints=critical,URI:http://a.example")}),
              Finds(kError, "critical-extension", "crlDistributionPoints"));
  std::string key_id(kIntermediateExtensions);
  key_id.replace(key_id.find("=hash"), 5, "=critical,hash");
  EXPECT_THAT(LookAt({.extensions = key_id}),
              Finds(kError, "critical-extension", "subjectKeyIdentifier"));
  EXPECT_THAT(LookAt({.extensions = Plus("1.2.3.4=critical,ASN1:NULL")}),
              Finds(kError, "critical-extension", "1.2.3.4"));
  EXPECT_THAT(LookAt({.root_extensions = absl::StrCat(kRootExtensions,
                                                      "crlDistributionPoints=critical,"
                                                      "URI:http://a.example\n")}),
              Finds(kWarning, "critical-extension", "root's"));
  EXPECT_THAT(Of(LookAt({.extensions = Plus("certificatePolicies=critical,1.2.3.4\n"
                                            "1.2.3.5=ASN1:NULL")}),
                 "critical-extension"),
              IsEmpty());
}

TEST_F(PreflightTest, WeakSignatures) {
  EXPECT_THAT(LookAt({.flags = "-sha1"}), Finds(kError, "signature-weak", "ECDSA-SHA1"));
  EXPECT_THAT(LookAt({.root_key = Rsa(2048), .flags = "-sha1"}),
              Finds(kError, "signature-weak", "SHA1-RSA"));
  const std::vector<Finding> root = LookAt({.root_flags = "-sha1"});
  EXPECT_THAT(root, Finds(kNote, "signature-weak", "signed itself"));
  EXPECT_FALSE(HasErrors(root)) << Text(root);
}

TEST_F(PreflightTest, SerialNumbersThatPeersMayRefuse) {
  EXPECT_THAT(LookAt({.flags = "-set_serial -5"}), Finds(kWarning, "serial", "negative"));
  EXPECT_THAT(LookAt({.root_flags = "-set_serial -5"}), Finds(kWarning, "serial", "negative"));
  EXPECT_THAT(LookAt({.flags = "-set_serial 0"}), Finds(kWarning, "serial", "zero"));
  EXPECT_THAT(LookAt({.flags = "-set_serial 0x7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f"}),
              Finds(kWarning, "serial", "20 octets"));
}

TEST_F(PreflightTest, CertificatesThatAreNoCas) {
  EXPECT_THAT(LookAt({.root_extensions = "", .extensions = kRootExtensions}),
              Finds(kError, "version", "version 1"));
  EXPECT_THAT(LookAt({.extensions = ""}), Finds(kError, "version", "version 1"));
  EXPECT_THAT(LookAt({.extensions = "subjectKeyIdentifier=hash\n"}),
              Finds(kError, "not-a-ca", "basicConstraints"));
  EXPECT_THAT(LookAt({.extensions = "basicConstraints=critical,CA:FALSE\n"}),
              Finds(kError, "not-a-ca", "basicConstraints"));
  EXPECT_THAT(LookAt({.extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=cRLSign\n"}),
              Finds(kError, "no-key-cert-sign", "keyCertSign"));
  EXPECT_THAT(LookAt({.extensions = "basicConstraints=critical,CA:TRUE\n"}),
              Finds(kNote, "no-key-usage", "keyUsage"));
}

// RFC 5280 forbids it, OpenSSL reads it, BoringSSL and Capstan do not: it never becomes a
// candidate.
TEST_F(PreflightTest, AnExtensionThatOccursTwiceIsNotEvenRead) {
  std::string der = B().root.certificate.der();
  // basicConstraints (2.5.29.19) becomes a second keyUsage (2.5.29.15).
  const size_t at = der.find("\x55\x1d\x13");
  ASSERT_NE(at, std::string::npos);
  der[at + 2] = '\x0f';
  EXPECT_THAT(std::string(x509::Certificate::ParseDer(der).status().message()),
              ::testing::AnyOf(HasSubstr("occurs twice"), HasSubstr("keyUsage")));
}

TEST_F(PreflightTest, PathLengthsTooShortForTheChain) {
  trust::testing::CaSpec short_root{"Root B"};
  short_root.path_length = 0;
  const trust::testing::TestCa root = MakeRoot(short_root);
  const TestPki pki{root, MakeIntermediate(root, {"Intermediate B"})};
  const std::vector<Finding> findings = Look(FromA(MadeFrom(pki)));
  EXPECT_THAT(findings, Finds(kError, "path-length", "allows 0"));
  EXPECT_THAT(findings, Finds(kError, "pair-refused", "the new issuer"));
  short_root.path_length = 1;
  const trust::testing::TestCa longer = MakeRoot(short_root);
  const TestPki sound{longer, MakeIntermediate(longer, {"Intermediate B"})};
  EXPECT_THAT(Of(Look(FromA(MadeFrom(sound))), "path-length"), IsEmpty());
}

TEST_F(PreflightTest, NameConstraintsAreHeldAgainstTheTrustDomain) {
  const auto with = [&](const std::string& constraints) {
    return LookAt({.extensions = Plus(absl::StrCat("nameConstraints=critical,", constraints))});
  };
  EXPECT_THAT(with("permitted;URI:other.example"),
              Finds(kError, "name-constraints", "exclude URIs of the trust domain cluster.local"));
  EXPECT_THAT(with("permitted;URI:other.example"), Finds(kError, "pair-refused", "new issuer"));
  EXPECT_THAT(with("excluded;URI:.local"), Finds(kError, "name-constraints", "exclude"));
  EXPECT_THAT(with("permitted;URI:cluster.local"), Finds(kNote, "name-constraints", "admit"));
  EXPECT_FALSE(HasErrors(with("permitted;URI:.local")));
  EXPECT_FALSE(HasErrors(with("permitted;DNS:other.example")));  // leaves have no DNS names
  EXPECT_THAT(with("permitted;IP:10.0.0.0/255.0.0.0"),
              Finds(kWarning, "name-constraints-ip", "refuses every certificate"));
  EXPECT_THAT(LookAt({.extensions = Plus("2.5.29.30=critical,ASN1:NULL")}),
              Finds(kError, "name-constraints", "cannot be used"));
}

}  // namespace
}  // namespace capstan::rotation::testing
