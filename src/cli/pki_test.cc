// SPDX-License-Identifier: Apache-2.0
#include "cli/pki.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/clock.h"
#include "base/files.h"
#include "cli/pki_profile.h"
#include "cli/pki_subject.h"
#include "cli/test_pki_commands.h"
#include "cli/usage.h"
#include "x509/test_request_files.h"

namespace capstan::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using x509::testing::GuideFile;
using x509::testing::kIstioIntermediateFile;
using x509::testing::kIstioRootFile;

// --- The guide's steps ---

TEST_F(PkiTest, GuideAsPrintedIsRefusedWithLineAndFix) {
  MustPki({"key", "--type", "rsa-2048", "--out", "workload.key"});
  Write("csr.conf", GuideFile("dn", "productpage", "true"));
  const Result result =
      Pki({"csr", "--key", "workload.key", "--out", "workload.csr", "--config", "csr.conf"});
  EXPECT_EQ(result.code, kUsage);
  EXPECT_EQ(
      result.err,
      "capstan: csr.conf: line 6: distinguished_name names the section [dn], which is missing "
      "(OpenSSL: Unable to get 'dn' section); [req_dn] on line 10 holds a name: write "
      "distinguished_name = req_dn\n");
  EXPECT_FALSE(FileExists("workload.csr"));
}

TEST_F(PkiTest, LeafThatWouldBeACaIsSignedOnlyOnDemand) {
  MakeRoot();
  Write("csr.conf", GuideFile("req_dn", "productpage", "true"));
  MustPki({"csr", "--new-key", "w.key", "--out", "w.csr", "--config", "csr.conf"});
  std::vector<std::string> sign = {"sign",          "--csr",        "w.csr",        "--ca-cert",
                                   "root-cert.pem", "--ca-key",     "root-key.pem", "--extfile",
                                   "csr.conf",      "--extensions", "req_ext",      "--out",
                                   "w.pem"};
  const Result refused = Pki(sign);
  EXPECT_EQ(refused.code, kUsage);
  EXPECT_THAT(refused.err, StartsWith("capstan: csr.conf: line 16: CA:true would make this a CA"));
  EXPECT_THAT(refused.err, HasSubstr("--as-ca"));
  EXPECT_FALSE(FileExists("w.pem"));
  sign.push_back("--as-ca");
  MustPki(sign);
  EXPECT_TRUE(Load("w.pem").is_ca());
}

TEST_F(PkiTest, RequestedCaBitIsNoBackDoor) {
  MakeRoot();
  Write("csr.conf", GuideFile("req_dn", "productpage", "true"));
  MustPki({"csr", "--new-key", "w.key", "--out", "w.csr", "--config", "csr.conf"});
  const Result copied = Pki({"sign", "--csr", "w.csr", "--ca-cert", "root-cert.pem", "--ca-key",
                             "root-key.pem", "--copy-extensions"});
  EXPECT_EQ(copied.code, kUsage);
  EXPECT_THAT(copied.err, StartsWith("capstan: w.csr: CA:true would make this a CA"));
  MustPki({"sign", "--csr", "w.csr", "--ca-cert", "root-cert.pem", "--ca-key", "root-key.pem",
           "--spiffe-id", "spiffe://cluster.local/ns/a/sa/b", "--out", "w.pem"});
  EXPECT_FALSE(Load("w.pem").is_ca());
}

TEST_F(PkiTest, WarnsOfKeyCertSignWithoutCa) {
  MakeRoot();
  Write("csr.conf", GuideFile("req_dn", "productpage", "false"));
  MustPki({"csr", "--new-key", "w.key", "--out", "w.csr", "--config", "csr.conf"});
  const Result signed_leaf =
      Pki({"sign", "--csr", "w.csr", "--ca-cert", "root-cert.pem", "--ca-key", "root-key.pem",
           "--config", "csr.conf", "--out", "w.pem"});
  EXPECT_EQ(signed_leaf.code, kDone);
  EXPECT_THAT(signed_leaf.err,
              StartsWith("capstan: warning: csr.conf: line 17: keyCertSign without"));
}

// --- Istio's layout ---

TEST_F(PkiTest, MakesTheFilesOfIstiosMakefile) {
  MustPki({"root-ca"});
  MustPki({"intermediate-cacerts", "intermediateA"});
  EXPECT_THAT(Files(),
              ElementsAre("intermediateA/ca-cert.pem", "intermediateA/ca-key.pem",
                          "intermediateA/cert-chain.pem", "intermediateA/root-cert.pem",
                          "root-ca.conf", "root-cert.csr", "root-cert.pem", "root-key.pem"));
  EXPECT_EQ(ModeOf("root-key.pem"), 0600);
  EXPECT_EQ(ModeOf("intermediateA/ca-key.pem"), 0600);
  EXPECT_EQ(ModeOf("root-cert.pem"), 0644);
  EXPECT_EQ(Read("root-ca.conf"), kIstioRootFile);
  EXPECT_EQ(Pki({"intermediate-cacerts", "intermediateA", "--print-request-file"}).out,
            kIstioIntermediateFile);
  EXPECT_EQ(Read("intermediateA/root-cert.pem"), Read("root-cert.pem"));
  EXPECT_EQ(Read("intermediateA/cert-chain.pem"),
            Read("intermediateA/ca-cert.pem") + Read("root-cert.pem"));
  const x509::Certificate root = Load("root-cert.pem");
  EXPECT_EQ(root.Subject(), "CN=Root CA,O=Istio");
  EXPECT_EQ(root.public_key().Description(), "RSA 4096");
  EXPECT_EQ(root.not_after() - root.not_before(), absl::Hours(24) * 3650);
  EXPECT_EQ(root.key_usage().value() & x509::kCrlSign, 0);
  EXPECT_EQ(root.authority_key_id(), "");
  const x509::Certificate intermediate = Load("intermediateA/ca-cert.pem");
  EXPECT_EQ(intermediate.Subject(), "CN=Intermediate CA,O=Istio,L=intermediateA");
  EXPECT_EQ(intermediate.path_length(), 0);
  EXPECT_THAT(intermediate.sans().dns, ElementsAre("istiod.istio-system.svc"));
  EXPECT_EQ(intermediate.authority_key_id(), root.subject_key_id());
  EXPECT_TRUE(intermediate.IsSignedBy(root.public_key()));
}

TEST_F(PkiTest, TakesTheMakefilesVariables) {
  MustPki({"root-ca", "--rootca-keysz", "3072", "--rootca-days", "10", "--rootca-org",
           "Acme # \"1\" $", "--rootca-cn", "Ro\xc3\xb6t", "--crl-sign"});
  const x509::Certificate root = Load("root-cert.pem");
  EXPECT_EQ(root.public_key().Description(), "RSA 3072");
  EXPECT_EQ(root.Subject(), "CN=Ro\xc3\xb6t,O=Acme # \\\"1\\\" $");
  EXPECT_EQ(root.not_after() - root.not_before(), absl::Hours(240));
  EXPECT_NE(root.key_usage().value() & x509::kCrlSign, 0);
  ASSERT_EQ(setenv("INTERMEDIATE_DAYS", "5", 1), 0);
  MustPki({"intermediate-cacerts", "b", "--intermediate-keysz", "2048", "--intermediate-org",
           "Acme", "--intermediate-cn", "Cluster CA", "--intermediate-san-dns",
           "capstand.example"});
  unsetenv("INTERMEDIATE_DAYS");
  const x509::Certificate intermediate = Load("b/ca-cert.pem");
  EXPECT_EQ(intermediate.Subject(), "CN=Cluster CA,O=Acme,L=b");
  EXPECT_EQ(intermediate.public_key().Description(), "RSA 2048");
  EXPECT_EQ(intermediate.not_after() - intermediate.not_before(), absl::Hours(120));
  EXPECT_THAT(intermediate.sans().dns, ElementsAre("capstand.example"));
}

TEST_F(PkiTest, NeverMakesARootUnasked) {
  const Result result = Pki({"intermediate-cacerts", "a"});
  EXPECT_EQ(result.code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("there is no root-cert.pem: make a root first"));
  EXPECT_THAT(Files(), IsEmpty());
  EXPECT_FALSE(FileExists("a"));
}

TEST_F(PkiTest, RefusesNamesThatAreNoFolder) {
  MakeRoot();
  for (const std::string name : {"..", ".", "a/b", "", "a\nb"}) {
    EXPECT_EQ(Pki({"intermediate-cacerts", name}).code, kUsage) << name;
  }
}

// --- Files ---

TEST_F(PkiTest, OneFileInTheWayMeansNothingIsMade) {
  MakeRoot();
  fs::create_directory("a");
  Write("a/cert-chain.pem", "mine");
  const Result refused = Pki({"intermediate-cacerts", "a", "--intermediate-keysz", "2048"});
  EXPECT_EQ(refused.code, kUsage);
  EXPECT_THAT(refused.err, HasSubstr("a/cert-chain.pem exists and is not overwritten"));
  EXPECT_FALSE(FileExists("a/ca-key.pem"));
  EXPECT_EQ(Read("a/cert-chain.pem"), "mine");
  MustPki({"intermediate-cacerts", "a", "--intermediate-keysz", "2048", "--force"});
  EXPECT_EQ(ModeOf("a/ca-key.pem"), 0600);
  EXPECT_EQ(Load("a/cert-chain.pem"), Load("a/ca-cert.pem"));
}

TEST_F(PkiTest, KeysStayPrivateWhenTheyReplaceOpenFiles) {
  Write("k", "old");
  MustPki({"key", "--out", "k", "--force"});
  EXPECT_EQ(ModeOf("k"), 0600);
}

TEST_F(PkiTest, FailureOnTheWayTakesBackWhatWasDone) {
  OutputOptions options;
  std::ostringstream out;
  std::ostringstream err;
  PkiOutput output(options, out, err);
  output.AddFolder("new");
  ASSERT_TRUE(output.Reserve("first").ok());
  ASSERT_TRUE(output.Reserve("new/second").ok());
  output.AddRequestFile("first", "1");
  output.AddRequestFile("new/second", "2");
  Write("late", "");
  fs::create_symlink("nowhere", "first");  // appears after the check
  const absl::Status status = output.Finish();
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(Files(), ElementsAre("late"));
  EXPECT_FALSE(FileExists("new"));
  EXPECT_EQ(out.str(), "");
}

TEST_F(PkiTest, LaterFailureTakesBackEarlierFiles) {
  std::ostringstream out;
  PkiOutput output(OutputOptions{}, out, out);
  ASSERT_TRUE(output.Reserve("first").ok());
  ASSERT_TRUE(output.Reserve("second").ok());
  output.AddRequestFile("first", "1");
  output.AddRequestFile("second", "2");
  Write("second", "appeared");
  EXPECT_EQ(output.Finish().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(Files(), ElementsAre("second"));
  EXPECT_EQ(Read("second"), "appeared");
}

TEST_F(PkiTest, DryRunWritesNothing) {
  const Result result = Pki({"root-ca", "--rootca-keysz", "2048", "--dry-run"});
  EXPECT_EQ(result.code, kDone);
  EXPECT_THAT(result.out, HasSubstr("would create  root-cert.pem"));
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(PkiTest, TwoThingsInOneFileAreRefused) {
  const Result result = Pki({"csr", "--new-key", "x", "--out", "x", "--dns", "a.example"});
  EXPECT_EQ(result.code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("two different things shall be written to x"));
}

TEST_F(PkiTest, PrintsJson) {
  const Result result = Pki({"root-ca", "--rootca-keysz", "2048", "-o", "json"});
  ASSERT_EQ(result.code, kDone) << result.err;
  const nlohmann::json json = nlohmann::json::parse(result.out);
  ASSERT_EQ(json["files"].size(), 4u);
  EXPECT_EQ(json["files"][0]["path"], "root-key.pem");
  EXPECT_EQ(json["files"][0]["mode"], "0600");
  EXPECT_EQ(json["files"][3]["action"], "created");
  EXPECT_EQ(json["files"][3]["serial"], Load("root-cert.pem").serial().ToHex());
  EXPECT_EQ(json["files"][3]["sha256"], Load("root-cert.pem").FingerprintHex());
  EXPECT_THAT(result.out, Not(HasSubstr("PRIVATE KEY")));
  EXPECT_EQ(Pki({"bundle", "root-cert.pem", "-o", "json"}).code,
            kUsage);  // two things to one stream
}

// --- Requests and leaves from flags ---

TEST_F(PkiTest, LeafFromFlagsIsWhatIstiosCaMakes) {
  MakeRoot();
  MustPki({"csr", "--new-key", "w.key", "--out", "w.csr", "--spiffe-id", "spiffe://td/ns/a/sa/b"});
  MustPki({"sign",
           "--csr",
           "w.csr",
           "--ca-cert",
           "root-cert.pem",
           "--ca-key",
           "root-key.pem",
           "--out",
           "w.pem",
           "--validity",
           "90m",
           "--not-before",
           "2026-01-01T00:00:00Z",
           "--spiffe-id",
           "spiffe://td/ns/a/sa/b",
           "--dns",
           "a.example",
           "--dns",
           "b.example",
           "--ip",
           "127.0.0.1"});
  const x509::Certificate leaf = Load("w.pem");
  EXPECT_EQ(FormatUtc(leaf.not_before()), "2026-01-01T00:00:00Z");
  EXPECT_EQ(FormatUtc(leaf.not_after()), "2026-01-01T01:30:00Z");
  EXPECT_EQ(leaf.Subject(), "");
  EXPECT_TRUE(leaf.sans().critical);
  EXPECT_THAT(leaf.sans().uris, ElementsAre("spiffe://td/ns/a/sa/b"));
  EXPECT_THAT(leaf.sans().dns, ElementsAre("a.example", "b.example"));
  EXPECT_THAT(leaf.sans().ips, ElementsAre("127.0.0.1"));
  EXPECT_THAT(leaf.extended_key_usage(), ElementsAre("serverAuth", "clientAuth"));
  EXPECT_EQ(leaf.key_usage(), x509::kDigitalSignature | x509::kKeyEncipherment);
  EXPECT_TRUE(leaf.has_basic_constraints());
  EXPECT_FALSE(leaf.is_ca());
}

TEST_F(PkiTest, SerialNumbersAreRandom) {
  MakeRoot();
  MustPki({"csr", "--new-key", "w.key", "--out", "w.csr", "--dns", "a.example"});
  for (const std::string out : {"1.pem", "2.pem"}) {
    MustPki({"sign", "--csr", "w.csr", "--ca-cert", "root-cert.pem", "--ca-key", "root-key.pem",
             "--dns", "a.example", "--out", out});
  }
  EXPECT_NE(Load("1.pem").serial(), Load("2.pem").serial());
  EXPECT_GE(Load("1.pem").serial().bytes().size(), 12u);
}

TEST_F(PkiTest, IntermediateFromFlagsRespectsPathLengths) {
  MakeRoot();
  MustPki(
      {"csr", "--new-key", "mesh.key", "--subject", "/O=Acme/CN=Mesh \\/ CA", "--out", "mesh.csr"});
  MustPki({"sign", "--csr", "mesh.csr", "--ca-cert", "root-cert.pem", "--ca-key", "root-key.pem",
           "--as-ca", "--path-length", "0", "--crl-sign", "--out", "mesh.pem"});
  const x509::Certificate mesh = Load("mesh.pem");
  EXPECT_EQ(mesh.Subject(), "CN=Mesh / CA,O=Acme");
  EXPECT_EQ(mesh.path_length(), 0);
  EXPECT_NE(mesh.key_usage().value() & x509::kCrlSign, 0);
  const Result below = Pki({"sign", "--csr", "mesh.csr", "--ca-cert", "mesh.pem", "--ca-key",
                            "mesh.key", "--as-ca", "--out", "below.pem"});
  EXPECT_EQ(below.code, kUsage);
  EXPECT_THAT(below.err, HasSubstr("path length 0: it may sign leaves only"));
}

TEST_F(PkiTest, RefusesSignersThatCannotSign) {
  MakeRoot();
  MustPki({"csr", "--new-key", "w.key", "--out", "w.csr", "--dns", "a.example"});
  MustPki({"sign", "--csr", "w.csr", "--ca-cert", "root-cert.pem", "--ca-key", "root-key.pem",
           "--dns", "a.example", "--out", "w.pem"});
  MustPki({"root-ca", "--dir", "other", "--rootca-keysz", "2048"});
  const auto sign = [&](const std::string& certificate, const std::string& key) {
    return Pki({"sign", "--csr", "w.csr", "--dns", "a.example", "--ca-cert", certificate,
                "--ca-key", key});
  };
  EXPECT_THAT(sign("w.pem", "w.key").err, HasSubstr("the certificate is no CA"));
  EXPECT_THAT(sign("root-cert.pem", "other/root-key.pem").err,
              HasSubstr("belongs to no certificate in"));
  Write("ca.conf", GuideFile("req_dn", "Old CA", "true"));
  MustPki({"sign", "--self-sign", "root-key.pem", "--config", "ca.conf", "--not-before",
           "2020-01-01T00:00:00Z", "--days", "1", "--out", "old.pem"});
  EXPECT_THAT(sign("old.pem", "root-key.pem").err,
              HasSubstr("to 2020-01-02T00:00:00Z, and now is"));
  EXPECT_EQ(sign("old.pem", "root-key.pem").code, kUsage);
  EXPECT_EQ(sign("missing.pem", "root-key.pem").code, kUsage);
}

TEST_F(PkiTest, WarnsOfLeavesThatOutliveTheirIssuer) {
  MustPki({"root-ca", "--rootca-keysz", "2048", "--rootca-days", "10"});
  MustPki({"csr", "--new-key", "w.key", "--out", "w.csr", "--dns", "a.example"});
  const Result result =
      Pki({"sign", "--csr", "w.csr", "--ca-cert", "root-cert.pem", "--ca-key", "root-key.pem",
           "--dns", "a.example", "--days", "30", "--out", "w.pem"});
  EXPECT_EQ(result.code, kDone);
  EXPECT_THAT(result.err, HasSubstr("warning: it is valid until"));
}

TEST_F(PkiTest, BadInputGetsAClearError) {
  MakeRoot();
  Write("garbage", "garbage");
  MustPki({"csr", "--new-key", "w.key", "--out", "w.csr", "--dns", "a.example"});
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"csr", "--key", "garbage", "--dns", "a"}, "garbage"},
      {{"csr", "--key", "w.key"}, "say who the request is for"},
      {{"csr", "--dns", "a"}, "name the key of the request"},
      {{"csr", "--key", "w.key", "--dns", "a b"}, "\"a b\" is no DNS name"},
      {{"csr", "--key", "w.key", "--ip", "1.2.3"}, "\"1.2.3\" is no IP address"},
      {{"csr", "--key", "w.key", "--spiffe-id", "spiffe://TD/x"}, "--spiffe-id spiffe://TD/x"},
      {{"csr", "--key", "w.key", "--spiffe-id", "spiffe://td"}, "has no path"},
      {{"csr", "--key", "w.key", "--subject", "CN=x"}, "does not begin with"},
      {{"csr", "--key", "w.key", "--subject", "/CN"}, "has no \"=\""},
      {{"csr", "--key", "w.key", "--subject", "/Foo=x"}, "Foo"},
      {{"csr", "--key", "w.key", "--request-file", "garbage"},
       "garbage: line 1: \"garbage\" is neither"},
      {{"sign", "--csr", "w.csr"}, "name the signer"},
      {{"sign", "--csr", "garbage", "--dns", "a", "--ca-cert", "root-cert.pem", "--ca-key",
        "root-key.pem"},
       "garbage"},
      {{"sign", "--csr", "w.csr", "--ca-cert", "root-cert.pem", "--ca-key", "root-key.pem"},
       "say what the certificate shall hold"},
      {{"sign", "--csr", "w.csr", "--ca-cert", "root-cert.pem", "--ca-key", "root-key.pem", "--dns",
        "a", "--validity", "soon"},
       "--validity soon"},
      {{"sign", "--csr", "w.csr", "--ca-cert", "root-cert.pem", "--ca-key", "root-key.pem", "--dns",
        "a", "--not-before", "now"},
       "--not-before now"},
      {{"sign", "--csr", "w.csr", "--self-sign", "root-key.pem", "--dns", "a"}, "another key"},
      {{"bundle", "garbage"}, "garbage"},
      {{"bundle", "missing.pem"}, "missing.pem"},
      {{"key", "--out", "no/such/folder"}, "no/such/folder"},
      {{"key", "--out", "."}, ". is a folder"},
  };
  for (const auto& [arguments, error] : cases) {
    const Result result = Pki(arguments);
    EXPECT_EQ(result.code, kUsage) << absl::StrJoin(arguments, " ");
    EXPECT_THAT(result.err, HasSubstr(error)) << absl::StrJoin(arguments, " ");
    EXPECT_EQ(result.out, "");
  }
}

// --- Bundles ---

TEST_F(PkiTest, BundlesKeepOrderAndDuplicatesUnlessTold) {
  MustPki({"root-ca", "--dir", "a", "--rootca-keysz", "2048"});
  MustPki({"root-ca", "--dir", "b", "--rootca-keysz", "2048"});
  const std::string a = Read("a/root-cert.pem");
  const std::string b = Read("b/root-cert.pem");
  Write("b.txt",
        absl::StrCat("subject=CN = Root CA\r\n", absl::StrReplaceAll(b, {{"\n", "\r\n"}})));
  EXPECT_EQ(Pki({"bundle", "a/root-cert.pem", "b.txt", "b.txt"}).out, a + b + b);
  EXPECT_EQ(Pki({"bundle", "--deduplicate", "b.txt", "a/root-cert.pem", "b.txt"}).out, b + a);
  MustPki({"bundle", "a/root-cert.pem", "b.txt", "b.txt", "--out", "abb.pem"});
  MustPki({"bundle", "b.txt", "a/root-cert.pem", "b.txt", "--out", "bab.pem"});
  const std::string canonical =
      Pki({"bundle", "abb.pem", "--deduplicate", "--order", "canonical"}).out;
  EXPECT_EQ(canonical, Pki({"bundle", "bab.pem", "--deduplicate", "--order", "canonical"}).out);
  EXPECT_TRUE(canonical == a + b || canonical == b + a);
}

// --- Parts ---

TEST(Subject, ReadsOpenSslsForm) {
  EXPECT_EQ(ParseSubject("/O=Istio/CN=a\\/b=c")->attributes,
            (x509::Name{{{"O", "Istio"}, {"CN", "a/b=c"}}}.attributes));
  for (const std::string bad : {"", "O=x", "/", "/=x", "/O=", "/O=x/", "/CN=x\\", "/C=Germany"}) {
    EXPECT_EQ(ParseSubject(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(Profile, RefusesWhatNoRequestFileCanHold) {
  CaProfile profile;
  for (const std::string name : {"", "a\nCN = b", " a"}) {
    profile.common_name = name;
    EXPECT_EQ(RootRequestFile(profile).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace capstan::cli
