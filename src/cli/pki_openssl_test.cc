// SPDX-License-Identifier: Apache-2.0
// `capstan pki` beside the real openssl: on the same keys and request files both must make the same
// bytes, but for what is drawn or taken from the clock.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/test_pki_commands.h"
#include "x509/der.h"
#include "x509/test_request_files.h"

namespace capstan::cli {
namespace {

using x509::testing::GuideFile;
using x509::testing::kIstioIntermediateFile;
using x509::testing::kIstioRootFile;

constexpr char kIstioWorkloadFile[] = R"([ req ]
encrypt_key = no
prompt = no
utf8 = yes
default_md = sha256
default_bits = 4096
req_extensions = req_ext
x509_extensions = req_ext
distinguished_name = req_dn
[ req_ext ]
subjectKeyIdentifier = hash
basicConstraints = critical, CA:false
keyUsage = digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth, clientAuth
subjectAltName=@san
[ san ]
URI.1 = spiffe://cluster.local/ns/foo/sa/default
[ req_dn ]
O = Istio
CN = Workload
L = foo
)";

// The fields of a certificate that request and issuer decide: all of the TBSCertificate but the
// serial number and the validity.
std::vector<std::string> DecidedFields(const x509::Certificate& certificate) {
  x509::der::Reader outer(certificate.der());
  auto whole = outer.Enter(x509::der::kSequence, "certificate");
  auto tbs = whole->Enter(x509::der::kSequence, "TBSCertificate");
  std::vector<std::string> fields;
  for (int i = 0; !tbs->empty(); ++i) {
    auto field = tbs->ReadAny("field");
    if (i != 1 && i != 4) fields.emplace_back(field->full);
  }
  EXPECT_EQ(fields.size(), 6u);  // version, algorithm, issuer, subject, key, extensions
  return fields;
}

struct ParityCase {
  std::string name;
  std::string file;
};

std::vector<ParityCase> ParityCases() {
  return {{"guide_ca", GuideFile("req_dn", "Root CA", "true")},
          {"guide_leaf", GuideFile("req_dn", "productpage", "false")},
          {"istio_root", kIstioRootFile},
          {"istio_intermediate", kIstioIntermediateFile},
          {"istio_workload", kIstioWorkloadFile}};
}

class PkiOpenSslTest : public PkiTest {
 protected:
  void SetUp() override {
    PkiTest::SetUp();
    if (!x509::testing::HasOpenSsl()) GTEST_SKIP() << "the openssl program is not installed";
  }
};

class PkiParityTest : public PkiOpenSslTest, public ::testing::WithParamInterface<ParityCase> {
 protected:
  void SetUp() override {
    PkiOpenSslTest::SetUp();
    if (IsSkipped()) return;
    Write("request.conf", GetParam().file);
    MustPki({"key", "--type", "rsa-2048", "--out", "subject.key"});
  }
};

TEST_P(PkiParityTest, RequestsAreEqual) {
  MustPki({"csr", "--key", "subject.key", "--request-file", "request.conf", "--out", "ours.csr"});
  OpenSsl("req -new -key subject.key -config request.conf -out theirs.csr");
  EXPECT_EQ(Read("ours.csr"), Read("theirs.csr"));  // RSA signatures are deterministic
}

TEST_P(PkiParityTest, SelfSignedCertificatesAreEqual) {
  MustPki({"sign", "--self-sign", "subject.key", "--request-file", "request.conf", "--days", "365",
           "--out", "ours.pem"});
  OpenSsl(
      "req -x509 -new -nodes -key subject.key -days 365 -out theirs.pem -config "
      "request.conf");
  const x509::Certificate ours = Load("ours.pem");
  const x509::Certificate theirs = Load("theirs.pem");
  EXPECT_EQ(DecidedFields(ours), DecidedFields(theirs));
  EXPECT_EQ(ours.not_after() - ours.not_before(), theirs.not_after() - theirs.not_before());
  EXPECT_LE(absl::AbsDuration(ours.not_before() - theirs.not_before()), absl::Minutes(1));
}

TEST_P(PkiParityTest, SelfSignedRequestsAreEqual) {
  MustPki({"csr", "--key", "subject.key", "--request-file", "request.conf", "--out", "r.csr"});
  MustPki({"sign", "--self-sign", "subject.key", "--csr", "r.csr", "--request-file", "request.conf",
           "--out", "ours.pem"});
  OpenSsl(
      "x509 -req -days 365 -signkey subject.key -extensions req_ext -extfile request.conf "
      "-in r.csr -out theirs.pem");
  EXPECT_EQ(DecidedFields(Load("ours.pem")), DecidedFields(Load("theirs.pem")));
}

TEST_P(PkiParityTest, SignedCertificatesAreEqualAndVerify) {
  MakeRoot();
  MustPki({"csr", "--key", "subject.key", "--request-file", "request.conf", "--out", "r.csr"});
  std::vector<std::string> arguments = {
      "sign",         "--csr",          "r.csr",        "--ca-cert", "root-cert.pem", "--ca-key",
      "root-key.pem", "--request-file", "request.conf", "--out",     "ours.pem"};
  if (absl::StrContains(GetParam().file, "CA:true")) arguments.push_back("--as-ca");
  MustPki(arguments);
  OpenSsl(
      "x509 -req -days 365 -CA root-cert.pem -CAkey root-key.pem -CAcreateserial "
      "-extensions req_ext -extfile request.conf -in r.csr -out theirs.pem -sha256");
  EXPECT_EQ(DecidedFields(Load("ours.pem")), DecidedFields(Load("theirs.pem")));
  OpenSsl("verify -CAfile root-cert.pem ours.pem");
}

INSTANTIATE_TEST_SUITE_P(RequestFiles, PkiParityTest, ::testing::ValuesIn(ParityCases()),
                         [](const auto& info) { return info.param.name; });

TEST_F(PkiOpenSslTest, EveryKindOfKeySignsWhatOpenSslAccepts) {
  for (const std::string type : {"rsa-3072", "ecdsa-p256", "ecdsa-p384"}) {
    std::filesystem::create_directory(type);
    MustPki({"root-ca", "--dir", type, "--key-type", type});
    MustPki({"intermediate-cacerts", "a", "--dir", type, "--key-type", type});
    MustPki({"csr", "--new-key", type + "/leaf.key", "--key-type", type, "--out",
             type + "/leaf.csr", "--spiffe-id", "spiffe://cluster.local/ns/a/sa/b"});
    MustPki({"sign", "--csr", type + "/leaf.csr", "--ca-cert", type + "/a/ca-cert.pem", "--ca-key",
             type + "/a/ca-key.pem", "--validity", "24h", "--out", type + "/leaf.pem",
             "--spiffe-id", "spiffe://cluster.local/ns/a/sa/b"});
    OpenSsl(absl::StrCat("verify -x509_strict -purpose sslserver -CAfile ", type,
                         "/root-cert.pem -untrusted ", type, "/a/ca-cert.pem ", type, "/leaf.pem"));
    OpenSsl(absl::StrCat("pkey -check -noout -in ", type, "/leaf.key"));
  }
}

}  // namespace
}  // namespace capstan::cli
