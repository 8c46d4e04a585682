// SPDX-License-Identifier: Apache-2.0
// What Go's crypto/x509, the library of istiod and step, makes of the same files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/strings.h"
#include "x509/crl.h"
#include "x509/csr.h"
#include "x509/test_openssl.h"
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
using testing::Workshop;

std::string GoList(const std::vector<std::string>& names) {
  return absl::StrCat("[", absl::StrJoin(names, " "), "]");
}

// The lines that goverify prints of a certificate.
std::string Described(const Certificate& c) {
  return absl::StrCat(
      "subject: ", c.Subject(), "\nissuer: ", c.Issuer(), "\ncommon name: ", c.SubjectCommonName(),
      "\nserial: ", c.serial().ToDecimal(), "\nnot before: ", absl::ToUnixSeconds(c.not_before()),
      "\nnot after: ", absl::ToUnixSeconds(c.not_after()), "\nkey: ", c.public_key().Description(),
      "\nalgorithm: ", c.SignatureAlgorithm(), "\nca: ", c.is_ca() ? "true" : "false",
      "\nusage: ", c.key_usage().value_or(0), "\nski: ", absl::BytesToHexString(c.subject_key_id()),
      "\naki: ", absl::BytesToHexString(c.authority_key_id()), "\ndns: ", GoList(c.sans().dns),
      "\nips: ", GoList(c.sans().ips), "\nemails: ", GoList(c.sans().emails),
      "\nuris: ", GoList(c.sans().uris), "\nsigns itself: ", c.IsSignedByCa(c) ? "true" : "false",
      "\n");
}

class GoInteropTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v go >/dev/null 2>&1") != 0) {
      GTEST_SKIP() << "Go is not installed: nothing to compare with";
    }
    workshop_.Run(absl::StrCat("GO111MODULE=off go build -o goverify ", CAPSTAN_SOURCE_DIR,
                               "/tests/interop/goverify/main.go"));
  }

  std::string Chain(const std::vector<Certificate>& roots,
                    const std::vector<Certificate>& presented, absl::Time now = Now()) {
    workshop_.Write("roots.pem", ToPem(roots));
    workshop_.Write("chain.pem", ToPem(presented));
    return workshop_.Run(
        absl::StrCat("./goverify chain roots.pem chain.pem ", absl::ToUnixSeconds(now)));
  }

  Workshop workshop_;
};

TEST_F(GoInteropTest, ReadsOurCertificatesAsWeDo) {
  for (const KeyType type : {KeyType::kEcdsaP256, KeyType::kEcdsaP384, KeyType::kRsa2048}) {
    const Ca root = MakeRoot({.key_type = type});
    const Ca twin = MakeRoot({.key_type = type});
    const Ca intermediate = MakeIntermediate(
        root, {.common_name = "Intermediate CA", .locality = "intermediateB", .path_length = 0});
    const Certificate leaf =
        MakeLeaf(intermediate, {.sans = {.dns = {"a.example"},
                                         .ips = {"10.0.0.1", "2001:db8::1", "::102:304"},
                                         .emails = {"me@example.com"},
                                         .uris = {"spiffe://td/ns/a/sa/b"}},
                                .not_after = absl::FromUnixSeconds(2'600'000'000)})
            .certificate;
    const std::vector<Certificate> presented = {leaf, intermediate.certificate, root.certificate};
    std::string expected;
    for (const Certificate& certificate : presented) {
      expected += Described(certificate);
    }
    EXPECT_EQ(Chain({twin.certificate, root.certificate}, presented), expected + "trusted: true\n");
    EXPECT_EQ(Chain({root.certificate, twin.certificate}, presented), expected + "trusted: true\n");
    EXPECT_THAT(Chain({twin.certificate}, presented), HasSubstr("trusted: false"));
  }
}

TEST_F(GoInteropTest, ReadsOpenSslsCertificatesAsWeDo) {
  for (const std::string& options :
       {std::string("-newkey rsa:2048 -sha1 -subj '/O=Istio/CN=Root CA'"),
        std::string("-newkey rsa:2048 -subj '/CN=no sign' -addext keyUsage=digitalSignature"),
        std::string("-newkey rsa:2048 -sha256 -sigopt rsa_padding_mode:pss -sigopt "
                    "rsa_pss_saltlen:digest -subj /CN=pss"),
        std::string("-newkey ec -pkeyopt ec_paramgen_curve:P-521 -subj /CN=p521"),
        std::string("-newkey rsa:2048 -utf8 -subj '/C=DE/ST=Hessen/L=Köln/O=A, B+C/O=Two/OU=#x/"
                    "CN=first/CN= last /emailAddress=a@b.c/DC=dc/serialNumber=7/street=s/"
                    "postalCode=9'"),
        std::string("-newkey rsa:2048 -subj /CN=x -addext "
                    "'subjectAltName=IP:::1.2.3.4,IP:2001:0:0:1:0:0:0:1,URI:https://x/%20y'")}) {
    workshop_.OpenSsl("req -x509 -nodes -keyout k.pem -out c.pem " + options);
    const auto parsed = ParsePemCertificates(workshop_.Read("c.pem"));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_THAT(Chain(*parsed, *parsed), HasSubstr(Described(parsed->front()))) << options;
  }
}

TEST_F(GoInteropTest, AcceptsOurRequestsAndLists) {
  Extensions wanted;
  wanted.sans.uris = {"spiffe://td/ns/a/sa/b"};
  const Csr csr =
      Csr::Create(PrivateKey::Generate(KeyType::kEcdsaP384).value(), Name{{{"O", "Istio"}}}, wanted)
          .value();
  workshop_.Write("r.csr", csr.ToPem());
  EXPECT_EQ(workshop_.Run("./goverify csr r.csr"),
            "subject: O=Istio\nuris: [spiffe://td/ns/a/sa/b]\n");

  const Ca root = MakeRoot({.key_usage = kKeyCertSign | kCrlSign});
  const Crl crl = SignCrl({.this_update = Now(),
                           .next_update = Now() + absl::Hours(1),
                           .number = 300,
                           .revoked = {{SerialNumber::ParseHex("5").value(), Now()}}},
                          root.certificate, *root.signer)
                      .value();
  workshop_.Write("crl.pem", crl.ToPem());
  workshop_.Write("root.pem", root.certificate.ToPem());
  EXPECT_EQ(workshop_.Run("./goverify crl crl.pem root.pem"), "number: 300\nrevoked: 1\n");
}

}  // namespace
}  // namespace capstan::x509
