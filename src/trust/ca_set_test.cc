// SPDX-License-Identifier: Apache-2.0
#include "trust/ca_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/strings.h"
#include "trust/testing.h"

namespace capstan::trust {
namespace {

using ::capstan::trust::testing::CaSpec;
using ::capstan::trust::testing::MakeCrl;
using ::capstan::trust::testing::MakeIntermediate;
using ::capstan::trust::testing::MakeRoot;
using ::capstan::trust::testing::TestCa;
using ::capstan::trust::testing::TestNow;
using ::capstan::trust::testing::TestPki;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class CaSetTest : public ::testing::Test {
 protected:
  std::string Refusal(const CaFiles& files,
                      absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
    absl::StatusOr<CaSet> set = ParseCaSet(files, TestNow());
    EXPECT_FALSE(set.ok());
    EXPECT_EQ(set.status().code(), code) << set.status();
    return std::string(set.status().message());
  }

  TestPki a_ = TestPki::Make("intermediateA");
  TestPki b_ = TestPki::Make("intermediateB");
};

TEST_F(CaSetTest, ReadsIstiosLayout) {
  CaSet set = *ParseCaSet(a_.Files(), TestNow());
  EXPECT_EQ(set.layout, "istio");
  EXPECT_EQ(set.authority, a_.authority());
  EXPECT_THAT(set.bundle.roots(), ElementsAre(a_.root.certificate));
  EXPECT_THAT(set.warnings, IsEmpty());
}

TEST_F(CaSetTest, ReadsTheTlsLayoutAndPrefersIt) {
  CaFiles files = b_.Files();
  files["tls.crt"] = a_.intermediate.certificate.ToPem();
  files["tls.key"] = std::string(a_.intermediate.key.ToPkcs8Pem().Reveal());
  files["ca.crt"] = a_.root.certificate.ToPem();
  CaSet set = *ParseCaSet(files, TestNow());
  EXPECT_EQ(set.layout, "kubernetes.io/tls");
  EXPECT_EQ(set.authority.id, a_.authority().id);
}

TEST_F(CaSetTest, ReadsASelfSignedCa) {
  CaFiles files = {{"ca-cert.pem", a_.root.certificate.ToPem()},
                   {"ca-key.pem", std::string(a_.root.key.ToPkcs8Pem().Reveal())},
                   {"cert-chain.pem", a_.root.certificate.ToPem()},
                   {"root-cert.pem", a_.root.certificate.ToPem()}};
  CaSet set = *ParseCaSet(files, TestNow());
  EXPECT_THAT(set.authority.intermediates, IsEmpty());
  EXPECT_EQ(set.authority.root, a_.root.certificate);
}

TEST_F(CaSetTest, FindsItsWayThroughSeveralIntermediatesInAnyOrder) {
  TestCa upper = MakeIntermediate(a_.root, {"Upper"});
  TestCa lower = MakeIntermediate(upper, {"Lower"});
  CaFiles files = {{"ca-cert.pem", lower.certificate.ToPem()},
                   {"ca-key.pem", std::string(lower.key.ToPkcs8Pem().Reveal())},
                   {"cert-chain.pem", a_.root.certificate.ToPem() + upper.certificate.ToPem()},
                   {"root-cert.pem", b_.root.certificate.ToPem() + a_.root.certificate.ToPem()}};
  CaSet set = *ParseCaSet(files, TestNow());
  EXPECT_THAT(set.authority.intermediates, ElementsAre(lower.certificate, upper.certificate));
  EXPECT_EQ(set.authority.root, a_.root.certificate);  // not b_'s, of the same name
}

TEST_F(CaSetTest, DuplicatesOrderAndLineEndingsDoNotChangeTheMeaning) {
  const x509::Certificate& ra = a_.root.certificate;
  const x509::Certificate& rb = b_.root.certificate;
  CaSet plain = b_.Set({ra, rb});
  CaSet doubled = b_.Set({ra, rb, rb});
  CaFiles reordered = b_.Files({rb, ra});
  reordered["root-cert.pem"] =
      "# a comment\r\n" + absl::StrReplaceAll(reordered["root-cert.pem"], {{"\n", "\r\n"}});
  EXPECT_EQ(plain.ContentDigest(), doubled.ContentDigest());
  EXPECT_EQ(plain.ContentDigest(), ParseCaSet(reordered, TestNow())->ContentDigest());
  EXPECT_THAT(doubled.warnings, ElementsAre(HasSubstr("root-cert.pem repeats 1 root")));
  EXPECT_NE(plain.ContentDigest(), b_.Set().ContentDigest());
  EXPECT_NE(plain.ContentDigest(),
            a_.Set({ra, rb}).ContentDigest());  // same bundle, another issuer
}

TEST_F(CaSetTest, WrongOrderIsToleratedWithAWarning) {
  CaFiles files = a_.Files();
  files["cert-chain.pem"] = a_.root.certificate.ToPem() + a_.intermediate.certificate.ToPem();
  CaSet set = *ParseCaSet(files, TestNow());
  EXPECT_EQ(set.authority, a_.authority());
  EXPECT_THAT(set.warnings, ElementsAre(HasSubstr("cert-chain.pem: certificate 2")));
}

TEST_F(CaSetTest, NothingThereIsNotFound) {
  EXPECT_THAT(Refusal({}, absl::StatusCode::kNotFound), HasSubstr("ca-cert.pem, ca-key.pem"));
}

TEST_F(CaSetTest, EachMissingFileIsNamed) {
  for (const auto& [name, bytes] : a_.Files()) {
    CaFiles files = a_.Files();
    files.erase(name);
    EXPECT_THAT(Refusal(files, absl::StatusCode::kFailedPrecondition),
                HasSubstr(name + " is missing"));
  }
}

TEST_F(CaSetTest, EachEmptyFileIsNamed) {
  for (const auto& [name, bytes] : a_.Files()) {
    CaFiles files = a_.Files();
    files[name] = "\n";
    EXPECT_THAT(Refusal(files), HasSubstr(name + " is empty"));
  }
}

TEST_F(CaSetTest, GarbageInAnyFileIsNamed) {
  for (const auto& [name, bytes] : a_.Files()) {
    CaFiles files = a_.Files();
    files[name] = "-----BEGIN CERTIFICATE-----\nnot base64 at all!\n-----END CERTIFICATE-----\n";
    EXPECT_THAT(Refusal(files), ::testing::StartsWith(name + ": "));
    files[name] = std::string("\x00\x01\xff\xfe", 4);
    EXPECT_THAT(Refusal(files), ::testing::StartsWith(name + ": "));
  }
}

TEST_F(CaSetTest, EveryTruncationOfAnyFileIsRefusedOrHarmless) {
  for (const auto& [name, bytes] : a_.Files()) {
    for (size_t size = 0; size < bytes.size(); size += 7) {
      CaFiles files = a_.Files();
      files[name] = bytes.substr(0, size);
      absl::StatusOr<CaSet> set = ParseCaSet(files, TestNow());
      if (set.ok()) {
        // Only what carries nothing may be missing.
        EXPECT_EQ(set->authority, a_.authority()) << name << " cut at " << size;
      } else {
        EXPECT_THAT(std::string(set.status().message()), HasSubstr(name));
      }
    }
  }
}

TEST_F(CaSetTest, ForeignKey) {
  CaFiles files = a_.Files();
  files["ca-key.pem"] = b_.Files()["ca-key.pem"];
  EXPECT_THAT(Refusal(files),
              ::testing::AllOf(HasSubstr("ca-key.pem"), HasSubstr("is not the private key of"),
                               HasSubstr("ca-cert.pem")));
}

TEST_F(CaSetTest, ChainThatDoesNotBuildThoughTheNamesFit) {
  CaFiles files = a_.Files({b_.root.certificate});  // the same subject, another key
  files["cert-chain.pem"] = a_.intermediate.certificate.ToPem();
  EXPECT_THAT(Refusal(files),
              ::testing::AllOf(HasSubstr("the chain does not build"), HasSubstr("root-cert.pem")));
}

TEST_F(CaSetTest, RootOfTheChainThatIsNotInTheBundle) {
  EXPECT_THAT(Refusal(a_.Files({b_.root.certificate})),
              ::testing::AllOf(HasSubstr("signs itself and is not in root-cert.pem")));
}

TEST_F(CaSetTest, ExpiredAndNotYetValid) {
  for (bool root : {false, true}) {
    CaSpec spec;
    spec.not_after = TestNow() - absl::Seconds(1);
    TestCa old_root = MakeRoot(root ? spec : CaSpec());
    spec.common_name = "Intermediate CA";
    TestPki old{old_root, MakeIntermediate(old_root, root ? CaSpec{"Intermediate CA"} : spec)};
    EXPECT_THAT(Refusal(old.Files()), HasSubstr("expired at"));
  }
  CaSpec early{"Intermediate CA"};
  early.not_before = TestNow() + absl::Hours(1);
  TestPki future{a_.root, MakeIntermediate(a_.root, early)};
  EXPECT_THAT(Refusal(future.Files()),
              ::testing::AllOf(HasSubstr("ca-cert.pem"), HasSubstr("is not valid before")));
}

TEST_F(CaSetTest, NotACa) {
  CaSpec leaf{"A workload"};
  leaf.ca = false;
  TestPki pki{a_.root, MakeIntermediate(a_.root, leaf)};
  EXPECT_THAT(Refusal(pki.Files()),
              ::testing::AllOf(HasSubstr("ca-cert.pem"), HasSubstr("is not a CA")));
  CaSpec no_sign{"Intermediate CA"};
  no_sign.key_usage = x509::kDigitalSignature;
  TestPki mute{a_.root, MakeIntermediate(a_.root, no_sign)};
  EXPECT_THAT(Refusal(mute.Files()), HasSubstr("lacks keyCertSign"));
}

TEST_F(CaSetTest, PathLengthThatDoesNotSuffice) {
  CaSpec upper{"Upper"};
  upper.path_length = 0;
  TestCa u = MakeIntermediate(a_.root, upper);
  TestCa lower = MakeIntermediate(u, {"Lower"});
  TestPki pki{a_.root, lower};
  CaFiles files = pki.Files();
  files["cert-chain.pem"] = lower.certificate.ToPem() + u.certificate.ToPem();
  EXPECT_THAT(Refusal(files),
              ::testing::AllOf(HasSubstr("cert-chain.pem"), HasSubstr("pathlen:0")));
}

TEST_F(CaSetTest, TwoChainsAndLeavesInTheChain) {
  CaFiles files = a_.Files();
  files["ca-cert.pem"] += b_.intermediate.certificate.ToPem();
  EXPECT_THAT(Refusal(files),
              ::testing::AllOf(HasSubstr("ca-cert.pem: certificate 2"), HasSubstr("two chains")));
  CaSpec leaf{"A workload"};
  leaf.ca = false;
  files = a_.Files();
  files["cert-chain.pem"] += MakeIntermediate(a_.intermediate, leaf).certificate.ToPem();
  EXPECT_THAT(Refusal(files), HasSubstr("is a leaf"));
}

TEST_F(CaSetTest, OnlyRootsBelongIntoTheBundle) {
  EXPECT_THAT(Refusal(a_.Files({a_.root.certificate, a_.intermediate.certificate})),
              ::testing::AllOf(HasSubstr("root-cert.pem: certificate 2"), HasSubstr("is no root")));
}

TEST_F(CaSetTest, AnotherRootThatExpiredIsAWarning) {
  CaSpec spec;
  spec.not_after = TestNow() - absl::Seconds(1);
  CaSet set = a_.Set({a_.root.certificate, MakeRoot(spec).certificate});
  EXPECT_THAT(set.warnings, ElementsAre(HasSubstr("anchors nothing")));
}

TEST_F(CaSetTest, CrlsAreServedOrRefusedNeverIgnored) {
  CaFiles files = a_.Files();
  files["ca-crl.pem"] = MakeCrl(a_.intermediate).ToPem() + MakeCrl(a_.root).ToPem();
  EXPECT_THAT(ParseCaSet(files, TestNow())->crls, SizeIs(2));

  files["ca-crl.pem"] = MakeCrl(a_.intermediate).ToPem();
  EXPECT_THAT(Refusal(files),
              ::testing::AllOf(HasSubstr("ca-crl.pem"), HasSubstr("no CRL there is signed by")));
  files["ca-crl.pem"] =
      MakeCrl(a_.intermediate).ToPem() +
      MakeCrl(a_.root, TestNow() - absl::Hours(2), TestNow() - absl::Hours(1)).ToPem();
  EXPECT_THAT(Refusal(files), HasSubstr("expired at"));
  files["ca-crl.pem"] = MakeCrl(a_.intermediate).ToPem() + MakeCrl(a_.root).ToPem() +
                        MakeCrl(b_.intermediate).ToPem();
  EXPECT_THAT(Refusal(files), HasSubstr("CRL 3"));
  files["ca-crl.pem"] = "garbage";
  EXPECT_THAT(Refusal(files), HasSubstr("ca-crl.pem"));
  files["ca-crl.pem"] = "";
  EXPECT_THAT(Refusal(files), HasSubstr("ca-crl.pem"));
}

TEST_F(CaSetTest, CrlsOfKnownCasAreTaken) {
  CaFiles files = a_.Files({a_.root.certificate, b_.root.certificate});
  files["ca-crl.pem"] = MakeCrl(a_.intermediate).ToPem() + MakeCrl(a_.root).ToPem() +
                        MakeCrl(b_.intermediate).ToPem();
  ParseOptions options;
  options.known_cas = {b_.intermediate.certificate};
  EXPECT_THAT(ParseCaSet(files, TestNow(), options)->crls, SizeIs(3));
}

TEST_F(CaSetTest, ACaWithoutCrlSignCannotHaveCrls) {
  CaSpec spec{"Intermediate CA"};
  spec.key_usage = x509::kDigitalSignature | x509::kKeyCertSign;
  TestPki pki{a_.root, MakeIntermediate(a_.root, spec)};
  CaFiles files = pki.Files();
  files["ca-crl.pem"] = MakeCrl(a_.root).ToPem();
  EXPECT_THAT(Refusal(files),
              ::testing::AllOf(HasSubstr("lacks cRLSign"), HasSubstr("--crl-sign")));
}

}  // namespace
}  // namespace capstan::trust
