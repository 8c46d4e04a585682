// SPDX-License-Identifier: Apache-2.0
// Names, times, sizes and join files.
#include "rotation/preflight_fixture.h"

namespace capstan::rotation::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using trust::AuthorityState;
using trust::Bundle;
using trust::testing::CaSpec;
using trust::testing::MakeIntermediate;
using trust::testing::MakeRoot;
using trust::testing::TestCa;
using trust::testing::TestNow;
using trust::testing::TestPki;

TestPki PkiOf(const CaSpec& root_spec, const CaSpec& spec) {
  const TestCa root = MakeRoot(root_spec);
  return {root, MakeIntermediate(root, spec)};
}

// ── Names and key ids ────────────────────────────────────────────────────────────────────────────

TEST_F(PreflightTest, OneSubjectWithoutKeyIdsMisleadsEnvoy) {
  const Recipe usual{.root_subject = "/O=Istio/CN=Root CA"};
  std::string no_aki(kRootExtensions);
  absl::StrAppend(&no_aki, "authorityKeyIdentifier=none\n");
  std::string no_ski(kRootExtensions);
  no_ski.replace(no_ski.find("hash"), 4, "none");
  Recipe misleading = usual;
  misleading.extensions = no_aki;
  EXPECT_THAT(LookAt(misleading),
              Finds(kError, "same-subject-no-ids", "below has no authority key id"));
  misleading.root_extensions = no_ski;
  EXPECT_THAT(LookAt(misleading), Finds(kError, "same-subject-no-ids", "has no subject key id"));
  const std::vector<Finding> sound = LookAt(usual);
  EXPECT_THAT(sound, Finds(kNote, "same-subject", "one subject"));
  EXPECT_FALSE(HasErrors(sound)) << Text(sound);
}

TEST_F(PreflightTest, OneKeyIdForTwoKeys) {
  const std::string ski = absl::BytesToHexString(A().root.certificate.subject_key_id());
  std::string colons;
  for (size_t i = 0; i < ski.size(); i += 2) {
    absl::StrAppend(&colons, i == 0 ? "" : ":", ski.substr(i, 2));
  }
  std::string extensions(kRootExtensions);
  extensions.replace(extensions.find("hash"), 4, colons);
  EXPECT_THAT(LookAt({.root_extensions = extensions}), Finds(kError, "same-ski", "different keys"));
}

TEST_F(PreflightTest, OneSigningKeyUnderTwoRoots) {
  CaSpec same_key{"Intermediate CA", "a"};
  same_key.key = &A().intermediate.key;
  const TestCa root = MakeRoot({"Root B"});
  const TestPki pki{root, MakeIntermediate(root, same_key)};
  EXPECT_THAT(Look(FromA(MadeFrom(pki))), Finds(kError, "same-key-other-root", "known under root"));
}

TEST_F(PreflightTest, AnExpiredTwinOfARoot) {
  CaSpec twin{"Root CA"};
  twin.key = &B().root.key;
  twin.not_before = TestNow() - absl::Hours(48);
  twin.not_after = TestNow() - absl::Hours(24);
  PreflightInput input = FromA(MadeFrom(B()));
  input.candidate.bundle = Bundle::Of({B().root.certificate, MakeRoot(twin).certificate});
  EXPECT_THAT(Look(input), Finds(kError, "expired-twin", "not valid now"));
}

// ── Validity ─────────────────────────────────────────────────────────────────────────────────────

TEST_F(PreflightTest, WhatIsNotValidYet) {
  CaSpec later{"Root B"};
  later.not_before = TestNow() + absl::Hours(1);
  const TestPki pki = PkiOf(later, {"Intermediate B"});
  EXPECT_THAT(Documented(FromA(MadeFrom(pki)), TestNow()),
              Finds(kError, "not-yet-valid", "1h from now"));
}

TEST_F(PreflightTest, WhatIsNotValidYetByASlowClock) {
  CaSpec fresh{"Root B"};
  fresh.not_before = TestNow() - absl::Minutes(10);
  PreflightInput input = FromA(MadeFrom(PkiOf(fresh, {"Intermediate B"})));
  EXPECT_THAT(Of(Documented(input, TestNow()), "not-yet-valid-there"), IsEmpty());
  input.clock_offsets = {absl::Seconds(1), absl::Minutes(-6)};
  EXPECT_THAT(Documented(input, TestNow()), Finds(kWarning, "not-yet-valid-there", "only 4m"));
  input.clock_offsets.push_back(absl::Minutes(-11));
  EXPECT_THAT(Documented(input, TestNow()), Finds(kError, "not-yet-valid-there", "11m"));
}

TEST_F(PreflightTest, WhatIsOverOrSoonWillBe) {
  CaSpec spec{"Root B"};
  spec.not_after = TestNow() - absl::Seconds(1);
  EXPECT_THAT(Documented(FromA(MadeFrom(PkiOf(spec, {"Intermediate B"}))), TestNow()),
              Finds(kError, "expired", "expired at"));
  spec.not_after = TestNow() + absl::Hours(1);
  PreflightInput input = FromA(MadeFrom(PkiOf(spec, {"Intermediate B"})));
  EXPECT_THAT(Documented(input, TestNow()), Finds(kWarning, "ends-soon", "in 1h"));
  input.clock_offsets = {absl::Hours(2)};
  EXPECT_THAT(Documented(input, TestNow()), Finds(kError, "expired", "fastest"));
  // One that nothing chains to.
  spec.not_after = TestNow() - absl::Hours(1);
  input = FromA(MadeFrom(B()));
  input.candidate.bundle = Bundle::Of({B().root.certificate, MakeRoot(spec).certificate});
  const std::vector<Finding> unused = Documented(input, TestNow());
  EXPECT_THAT(unused, Finds(kWarning, "expired", "expired at"));
  EXPECT_FALSE(HasErrors(unused)) << Text(unused);
}

TEST_F(PreflightTest, EndsThatDoNotFitTogether) {
  CaSpec root{"Root B"};
  root.not_after = TestNow() + absl::Hours(24 * 365);
  const std::vector<Finding> findings =
      Documented(FromA(MadeFrom(PkiOf(root, {"Intermediate B"}))), TestNow());
  EXPECT_THAT(findings, Finds(kWarning, "outlives-issuer", "after its issuer does"));
  EXPECT_THAT(findings, Finds(kWarning, "ends-sooner", "sooner than the present one"));
}

// ── Sizes ────────────────────────────────────────────────────────────────────────────────────────

TEST_F(PreflightTest, BundlesThatGrowTooLarge) {
  std::vector<x509::Certificate> roots;
  const auto bundle_of = [&](size_t size) {
    while (roots.size() < size) {
      CaSpec spec{absl::StrCat("One of very many roots, number ", roots.size())};
      spec.key = &B().root.key;
      roots.push_back(MakeRoot(spec).certificate);
    }
    PreflightInput input = FromA(MadeFrom(B()));
    roots.push_back(B().root.certificate);
    input.candidate.bundle = Bundle::Of(roots);
    roots.pop_back();
    return input;
  };
  EXPECT_THAT(Of(Look(bundle_of(20)), "bundle-size"), IsEmpty());
  EXPECT_THAT(Look(bundle_of(120)), Finds(kWarning, "bundle-size", "large"));
  EXPECT_THAT(Look(bundle_of(500)), Finds(kWarning, "ca-names", "every handshake carries"));
  const std::vector<Finding> huge = Look(bundle_of(1700));
  EXPECT_THAT(huge, Finds(kError, "bundle-size", "larger than the 1048576 bytes"));
  EXPECT_THAT(huge, Finds(kError, "ca-names", "no handshake would succeed"));
}

TEST_F(PreflightTest, ChainsThatAreTooLong) {
  TestCa issuer = MakeRoot({"Root B"});
  Made made{B().authority(), nullptr};
  made.authority.root = issuer.certificate;
  made.authority.intermediates.clear();
  for (int i = 0; i < 10; ++i) {
    issuer = MakeIntermediate(issuer, {absl::StrCat("Intermediate ", i)});
    made.authority.intermediates.insert(made.authority.intermediates.begin(), issuer.certificate);
  }
  made.authority.certificate = issuer.certificate;
  made.authority.id = trust::AuthorityId::Of(issuer.certificate);
  made.signer = SignerOf(issuer);
  EXPECT_THAT(Look(FromA(made)), Finds(kError, "chain-size", "10 intermediates"));
}

// ── Join files ───────────────────────────────────────────────────────────────────────────────────

TEST_F(PreflightTest, UnusedJoinFilesWithoutTheNewRoot) {
  PreflightInput input = FromA(MadeFrom(B()));
  input.join_files = {{"sleep", 5, TestNow() + absl::Hours(9)},
                      {"gone", 5, TestNow() - absl::Hours(9)}};
  const std::vector<Finding> findings = Of(Look(input), "join-file");
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_EQ(findings[0].severity, kWarning);
  EXPECT_EQ(findings[0].where, "join file sleep");
  EXPECT_THAT(findings[0].what, HasSubstr("expires at 2025-05-13"));

  // Both roots are trusted since bundle 7, and it is bundle 8 now.
  input.now_is.trust.bundle = Bundle::Of({A().root.certificate, B().root.certificate});
  input.now_is.trust.version.sequence = 8;
  input.join_files = {{"older", 6}, {"newer", 7}};
  input.new_roots_since = 7;
  ASSERT_THAT(Of(Look(input), "join-file"), SizeIs(1));
  EXPECT_EQ(Of(Look(input), "join-file")[0].where, "join file older");
  input.new_roots_since = std::nullopt;  // not known: whatever is older than the present one
  EXPECT_THAT(Of(Look(input), "join-file"), SizeIs(2));
}

}  // namespace
}  // namespace capstan::rotation::testing
