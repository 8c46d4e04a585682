// SPDX-License-Identifier: Apache-2.0
// CAs for tests of the pre-flight, some made by the openssl program because nothing here would make
// them. Not for programs.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "rotation/preflight.h"
#include "trust/testing.h"
#include "x509/test_openssl.h"

namespace capstan::rotation {

inline void PrintTo(const Finding& finding, std::ostream* out) {
  *out << SeverityName(finding.severity) << " " << finding.code << ": " << finding.what << " ["
       << finding.where << "]";
}

namespace testing {

inline constexpr char kRootExtensions[] =
    "basicConstraints=critical,CA:TRUE\n"
    "keyUsage=critical,keyCertSign,cRLSign\n"
    "subjectKeyIdentifier=hash\n";
inline constexpr char kIntermediateExtensions[] =
    "basicConstraints=critical,CA:TRUE\n"
    "keyUsage=critical,keyCertSign,cRLSign\n"
    "subjectKeyIdentifier=hash\n"
    "authorityKeyIdentifier=keyid\n";
inline constexpr char kP256[] = "EC -pkeyopt ec_paramgen_curve:P-256";

// What openssl shall make; as it stands, a sound root and an intermediate below it.
struct Recipe {
  std::string root_key = kP256;
  std::string key = kP256;
  std::string root_subject = "/O=Test/CN=Root";
  std::string subject = "/O=Test/CN=Intermediate";
  std::string root_extensions = kRootExtensions;  // "": none, which makes version 1
  std::string extensions = kIntermediateExtensions;
  std::string root_flags;  // of openssl x509
  std::string flags;
};

// A CA that could be the issuer.
struct Made {
  trust::Authority authority;
  std::shared_ptr<x509::Signer> signer;  // null where the key cannot sign leaves
};

class OpenSslCas {
 public:
  Made Make(const Recipe& recipe) const {
    Certify("root", recipe.root_key, recipe.root_subject, recipe.root_extensions,
            absl::StrCat("-days 3650 -signkey root.key ", recipe.root_flags));
    Certify("ca", recipe.key, recipe.subject, recipe.extensions,
            absl::StrCat("-days 3649 -CA root.pem -CAkey root.key -CAcreateserial ", recipe.flags));
    x509::Certificate root = Read("root.pem");
    x509::Certificate ca = Read("ca.pem");
    Made made{{trust::AuthorityId::Of(ca), ca, {ca}, root}, nullptr};
    if (auto key = x509::PrivateKey::ParsePem(shop_.Read("ca.key")); key.ok()) {
      made.signer = *x509::NewSigner(*key);
    }
    return made;
  }

 private:
  void Certify(const std::string& name, const std::string& key, const std::string& subject,
               const std::string& extensions, const std::string& flags) const {
    shop_.OpenSsl(absl::StrCat("genpkey -algorithm ", key, " -out ", name, ".key"));
    shop_.OpenSsl(absl::StrCat("req -new -utf8 -key ", name, ".key -subj '", subject, "' -out ",
                               name, ".csr"));
    shop_.Write(absl::StrCat(name, ".ext"), extensions);
    const std::string with = extensions.empty() ? "" : absl::StrCat("-extfile ", name, ".ext ");
    shop_.OpenSsl(
        absl::StrCat("x509 -req -in ", name, ".csr ", with, flags, " -out ", name, ".pem"));
  }
  x509::Certificate Read(const std::string& name) const {
    return x509::ParsePemCertificates(shop_.Read(name))->front();
  }

  x509::testing::Workshop shop_;
};

inline std::shared_ptr<x509::Signer> SignerOf(const trust::testing::TestCa& ca) {
  return *x509::NewSigner(ca.key);
}
inline Made MadeFrom(const trust::testing::TestPki& pki) {
  return {pki.authority(), SignerOf(pki.intermediate)};
}

// Preflight(), each of whose findings has to be one that is documented.
inline std::vector<Finding> Documented(const PreflightInput& input, absl::Time now) {
  std::vector<Finding> findings = Preflight(input, now);
  const std::vector<std::string_view> codes = FindingCodes();
  for (const Finding& finding : findings) {
    EXPECT_THAT(codes, ::testing::Contains(finding.code));
    EXPECT_FALSE(finding.where.empty()) << finding.code;
  }
  return findings;
}

// A rotation from A, whose leaves are in use, to another CA in one stroke.
class PreflightTest : public ::testing::Test {
 protected:
  static const trust::testing::TestPki& A() {
    static const auto& pki = *new trust::testing::TestPki(trust::testing::TestPki::Make("a"));
    return pki;
  }
  static const trust::testing::TestPki& B() {
    static const auto& pki = *new trust::testing::TestPki(trust::testing::TestPki::Make("b"));
    return pki;
  }

  // `now`: soon after the later of the two began, unless told.
  static absl::Time TimeFor(const Made& to) {
    return std::max({trust::testing::TestNow(), to.authority.certificate.not_before(),
                     to.authority.root.not_before()}) +
           absl::Hours(1);
  }

  static PreflightInput From(const Made& from, const Made& to) {
    const trust::AuthorityId issuer = from.authority.id;
    PreflightInput input{
        .now_is = {{{"lineage", 5}, trust::Bundle::Of({from.authority.root}), 3, issuer, 0, {}},
                   {},
                   issuer},
        .candidate = {to.authority, trust::Bundle::Of({to.authority.root}), {}, {}},
        .signers = {{issuer, from.signer}},
        .sample_id = *spiffe::SpiffeId::Parse("spiffe://cluster.local/ns/foo/sa/httpbin"),
        .clock_offsets = {},
        .join_files = {},
        .new_roots_since = std::nullopt};
    input.now_is.authorities.insert(
        {issuer,
         Standing{from.authority, trust::AuthorityState::kActive, true, absl::InfiniteFuture()}});
    if (to.signer != nullptr) input.signers[to.authority.id] = to.signer;
    return input;
  }
  static PreflightInput FromA(const Made& to) { return From(MadeFrom(A()), to); }

  static std::vector<Finding> Look(const PreflightInput& input) {
    return Documented(input, TimeFor({input.candidate.authority, nullptr}));
  }
  // The findings of a rotation from A to what openssl makes.
  std::vector<Finding> LookAt(const Recipe& recipe) { return Look(FromA(cas_.Make(recipe))); }

  static std::vector<Finding> Of(const std::vector<Finding>& findings, const std::string& code) {
    std::vector<Finding> found;
    for (const Finding& finding : findings) {
      if (finding.code == code) found.push_back(finding);
    }
    return found;
  }
  static std::string Text(const std::vector<Finding>& findings) {
    std::string text;
    for (const Finding& finding : findings) {
      absl::StrAppend(&text, SeverityName(finding.severity), " ", finding.code, ": ", finding.what,
                      " [", finding.where, "] ", finding.remedy, "\n");
    }
    return text;
  }

  OpenSslCas cas_;
};

// One finding or more of that code and severity, whose sentence holds `part`.
MATCHER_P3(Finds, severity, code, part, absl::StrCat("finds ", code, " with \"", part, "\"")) {
  return std::any_of(arg.begin(), arg.end(), [&](const Finding& finding) {
    return finding.severity == severity && finding.code == code &&
           absl::StrContains(finding.what, part);
  });
}

inline constexpr Severity kError = Severity::kError;
inline constexpr Severity kWarning = Severity::kWarning;
inline constexpr Severity kNote = Severity::kNote;

}  // namespace testing
}  // namespace capstan::rotation
