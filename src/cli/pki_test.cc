// SPDX-License-Identifier: Apache-2.0
// `capstan pki` beside the real openssl: on the same keys and request files both must make the same
// bytes, but for what is drawn or taken from the clock.
#include "cli/pki.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/random.h"
#include "cli/commands.h"
#include "cli/pki_profile.h"
#include "cli/pki_subject.h"
#include "cli/usage.h"
#include "x509/der.h"

namespace capstan::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

// The request file of the guide's step 5 with its two mistakes corrected, and the parts they were
// in.
constexpr char kGuideFile[] = R"([ req ]
default_bits = 2048
prompt = no
utf8 = yes
encrypt_key = no
distinguished_name  = %DN%
req_extensions = req_ext
x509_extensions = req_ext

[ req_dn ]
O = Istio
CN = %CN%

[ req_ext ]
subjectKeyIdentifier = hash
basicConstraints = critical, CA:%CA%
keyUsage = critical, digitalSignature, nonRepudiation, keyEncipherment, keyCertSign
)";
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
// Byte for byte what Istio's makefile writes.
constexpr char kIstioRootFile[] = R"([ req ]
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
basicConstraints = critical, CA:true
keyUsage = critical, digitalSignature, nonRepudiation, keyEncipherment, keyCertSign
[ req_dn ]
O = Istio
CN = Root CA
)";
constexpr char kIstioIntermediateFile[] = R"([ req ]
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
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, digitalSignature, nonRepudiation, keyEncipherment, keyCertSign
subjectAltName=@san
[ san ]
DNS.1 = istiod.istio-system.svc
[ req_dn ]
O = Istio
CN = Intermediate CA
L = intermediateA
)";

std::string GuideFile(const std::string& dn, const std::string& cn, const std::string& ca) {
  return absl::StrReplaceAll(kGuideFile, {{"%DN%", dn}, {"%CN%", cn}, {"%CA%", ca}});
}

// Collects what is printed to a stream while it lives.
class Captured {
 public:
  explicit Captured(std::ostream& stream) : stream_(stream), old_(stream.rdbuf(text_.rdbuf())) {}
  ~Captured() { stream_.rdbuf(old_); }
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
  std::ostream& stream_;
  std::streambuf* old_;
};

struct Result {
  int code;
  std::string out;
  std::string err;
};

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

class PkiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    before_ = fs::current_path();
    folder_ = fs::temp_directory_path() / absl::StrCat("capstan-pki-", SystemRandom().Uuid());
    fs::create_directory(folder_);
    fs::current_path(folder_);
  }
  void TearDown() override {
    fs::current_path(before_);
    fs::remove_all(folder_);
  }

  // Runs `capstan pki ARGUMENTS`.
  Result Pki(std::vector<std::string> arguments) {
    CLI::App app("capstan", "capstan");
    app.require_subcommand(1);
    AddPkiCommands(app);
    std::vector<const char*> argv = {"capstan", "pki"};
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    Captured out(std::cout);
    Captured err(std::cerr);
    const int code =
        RunProgram(app, static_cast<int>(argv.size()), argv.data(), std::cout, std::cerr);
    return {code, out.text(), err.text()};
  }
  void MustPki(std::vector<std::string> arguments) {
    const Result result = Pki(arguments);
    ASSERT_EQ(result.code, kDone) << absl::StrJoin(arguments, " ") << "\n" << result.err;
  }

  // Runs a command line of a shell; its output is appended to "shell.log".
  int Shell(const std::string& line) {
    const int status = std::system(absl::StrCat("{ ", line, "; } >>shell.log 2>&1").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void MustShell(const std::string& line) {
    ASSERT_EQ(Shell(line), 0) << line << "\n" << Read("shell.log");
  }
  void RequireOpenSsl() {
    if (Shell("openssl version") != 0) GTEST_SKIP() << "the openssl program is not installed";
  }

  std::string Read(const std::string& path) { return ReadFile(path).value_or(""); }
  void Write(const std::string& path, std::string_view text) {
    ASSERT_TRUE(WriteFileAtomically(path, text, 0644, Overwrite::kReplace).ok());
  }
  x509::Certificate Load(const std::string& path) {
    auto certificates = x509::ParsePemCertificates(Read(path));
    EXPECT_TRUE(certificates.ok()) << path << ": " << certificates.status();
    return certificates->front();
  }
  mode_t ModeOf(const std::string& path) {
    struct stat st;
    return stat(path.c_str(), &st) == 0 ? st.st_mode & 07777 : 0;
  }
  std::vector<std::string> Files() {
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(".")) {
      if (entry.is_regular_file()) names.push_back(entry.path().lexically_normal().string());
    }
    std::sort(names.begin(), names.end());
    std::erase(names, "shell.log");
    return names;
  }

  // A root of 2048 bits, quick to make.
  void MakeRoot() { MustPki({"root-ca", "--rootca-keysz", "2048"}); }

 private:
  fs::path before_;
  fs::path folder_;
};

// --- Beside openssl ---

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

class PkiParityTest : public PkiTest, public ::testing::WithParamInterface<ParityCase> {
 protected:
  void SetUp() override {
    PkiTest::SetUp();
    RequireOpenSsl();
    Write("request.conf", GetParam().file);
    MustPki({"key", "--type", "rsa-2048", "--out", "subject.key"});
  }
};

TEST_P(PkiParityTest, RequestsAreEqual) {
  MustPki({"csr", "--key", "subject.key", "--request-file", "request.conf", "--out", "ours.csr"});
  MustShell("openssl req -new -key subject.key -config request.conf -out theirs.csr");
  EXPECT_EQ(Read("ours.csr"), Read("theirs.csr"));  // RSA signatures are deterministic
}

TEST_P(PkiParityTest, SelfSignedCertificatesAreEqual) {
  MustPki({"sign", "--self-sign", "subject.key", "--request-file", "request.conf", "--days", "365",
           "--out", "ours.pem"});
  MustShell(
      "openssl req -x509 -new -nodes -key subject.key -days 365 -out theirs.pem -config "
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
  MustShell(
      "openssl x509 -req -days 365 -signkey subject.key -extensions req_ext -extfile request.conf "
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
  MustShell(
      "openssl x509 -req -days 365 -CA root-cert.pem -CAkey root-key.pem -CAcreateserial "
      "-extensions req_ext -extfile request.conf -in r.csr -out theirs.pem -sha256");
  EXPECT_EQ(DecidedFields(Load("ours.pem")), DecidedFields(Load("theirs.pem")));
  MustShell("openssl verify -CAfile root-cert.pem ours.pem");
}

INSTANTIATE_TEST_SUITE_P(RequestFiles, PkiParityTest, ::testing::ValuesIn(ParityCases()),
                         [](const auto& info) { return info.param.name; });

TEST_F(PkiTest, EveryKindOfKeySignsWhatOpenSslAccepts) {
  RequireOpenSsl();
  if (IsSkipped()) return;
  for (const std::string type : {"rsa-3072", "ecdsa-p256", "ecdsa-p384"}) {
    fs::create_directory(type);
    MustPki({"root-ca", "--dir", type, "--key-type", type});
    MustPki({"intermediate-cacerts", "a", "--dir", type, "--key-type", type});
    MustPki({"csr", "--new-key", type + "/leaf.key", "--key-type", type, "--out",
             type + "/leaf.csr", "--spiffe-id", "spiffe://cluster.local/ns/a/sa/b"});
    MustPki({"sign", "--csr", type + "/leaf.csr", "--ca-cert", type + "/a/ca-cert.pem", "--ca-key",
             type + "/a/ca-key.pem", "--validity", "24h", "--out", type + "/leaf.pem",
             "--spiffe-id", "spiffe://cluster.local/ns/a/sa/b"});
    MustShell(absl::StrCat("openssl verify -x509_strict -purpose sslserver -CAfile ", type,
                           "/root-cert.pem -untrusted ", type, "/a/ca-cert.pem ", type,
                           "/leaf.pem"));
    MustShell(absl::StrCat("openssl pkey -check -noout -in ", type, "/leaf.key"));
  }
}

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
