// SPDX-License-Identifier: Apache-2.0
#include "cli/findings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "x509/test_pki.h"

namespace capstan::cli {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using x509::Certificate;
using x509::testing::MakeIntermediate;
using x509::testing::MakeLeaf;
using x509::testing::MakeRoot;
using x509::testing::Now;

// "2:duplicate": certificates counted from 1.
std::vector<std::string> Codes(const std::vector<Finding>& findings) {
  std::vector<std::string> codes;
  for (const Finding& finding : findings) {
    codes.push_back(std::to_string(finding.certificate + 1) + ":" + finding.code);
  }
  return codes;
}

class FindingsTest : public ::testing::Test {
 protected:
  std::vector<std::string> CodesOf(const std::vector<Certificate>& certificates,
                                   absl::Time now = Now()) const {
    return Codes(Findings(certificates, now));
  }

  const x509::testing::Ca root_ = MakeRoot();
  const x509::testing::Ca intermediate_ =
      MakeIntermediate(root_, {.common_name = "Intermediate CA"});
  const x509::testing::Leaf leaf_ = MakeLeaf(intermediate_);
};

TEST_F(FindingsTest, AProperChainHasNone) {
  EXPECT_THAT(CodesOf({leaf_.certificate, intermediate_.certificate, root_.certificate}),
              IsEmpty());
  EXPECT_THAT(CodesOf({root_.certificate}), IsEmpty());
}

TEST_F(FindingsTest, KnowsPlacesBySignatureNotByOrder) {
  const auto places = Places({root_.certificate, leaf_.certificate, intermediate_.certificate});
  EXPECT_EQ(places[0].role, Role::kRoot);
  EXPECT_EQ(places[0].signer, std::nullopt);
  EXPECT_EQ(places[1].role, Role::kLeaf);
  EXPECT_EQ(places[1].signer, 2);
  EXPECT_EQ(places[2].role, Role::kIntermediate);
  EXPECT_EQ(places[2].signer, 0);
}

TEST_F(FindingsTest, DuplicateIsSaidOnceAndNothingElseOfTheCopy) {
  EXPECT_THAT(CodesOf({root_.certificate, root_.certificate}), ElementsAre("2:duplicate"));
}

TEST_F(FindingsTest, WrongOrder) {
  EXPECT_THAT(CodesOf({leaf_.certificate, root_.certificate, intermediate_.certificate}),
              ElementsAre("1:wrong-order", "3:wrong-order"));
}

TEST_F(FindingsTest, SameSubjectWithAnotherKey) {
  const auto other = MakeRoot();
  EXPECT_THAT(CodesOf({root_.certificate, other.certificate}), ElementsAre("2:same-subject"));
}

// The chain of one root's intermediate with another root of the same name: what a mixed-up file
// looks like.
TEST_F(FindingsTest, IssuerOfTheSameNameButAnotherKey) {
  const auto other = MakeRoot();
  EXPECT_THAT(CodesOf({intermediate_.certificate, other.certificate}),
              ElementsAre("1:issuer-mismatch"));
}

TEST_F(FindingsTest, Validity) {
  const absl::Time end = root_.certificate.not_after();
  EXPECT_THAT(CodesOf({root_.certificate}, end), ElementsAre("1:expiring"));
  EXPECT_THAT(CodesOf({root_.certificate}, end + absl::Seconds(1)), ElementsAre("1:expired"));
  EXPECT_THAT(CodesOf({root_.certificate}, end - absl::Hours(24 * 30)), ElementsAre("1:expiring"));
  EXPECT_THAT(CodesOf({root_.certificate}, end - absl::Hours(24 * 31)), IsEmpty());
  EXPECT_THAT(CodesOf({root_.certificate}, root_.certificate.not_before() - absl::Seconds(1)),
              ElementsAre("1:not-yet-valid"));
}

TEST_F(FindingsTest, TheExpiryThresholdIsTheCallers) {
  const absl::Time now = root_.certificate.not_after() - absl::Hours(24 * 40);
  EXPECT_THAT(Codes(Findings({root_.certificate}, now, absl::Hours(24 * 39))), IsEmpty());
  EXPECT_THAT(Codes(Findings({root_.certificate}, now, absl::Hours(24 * 40))),
              ElementsAre("1:expiring"));
}

TEST_F(FindingsTest, LeafThatOutlivesItsIssuer) {
  const auto shorter = MakeIntermediate(
      root_, {.common_name = "Short", .not_after = leaf_.certificate.not_after() - absl::Hours(1)});
  const auto leaf = MakeLeaf(shorter);
  const auto findings = Findings({leaf.certificate, shorter.certificate}, Now(), absl::Seconds(0));
  EXPECT_THAT(Codes(findings), ElementsAre("1:outlives-issuer"));
  EXPECT_THAT(findings[0].text, HasSubstr("1h"));
}

TEST_F(FindingsTest, CaThatMaySignNothing) {
  const auto mute =
      MakeIntermediate(root_, {.common_name = "Mute", .key_usage = x509::kDigitalSignature});
  EXPECT_THAT(CodesOf({mute.certificate}), ElementsAre("1:no-key-cert-sign"));
}

TEST_F(FindingsTest, IssuerThatIsNoCa) {
  const auto fake = MakeIntermediate(root_, {.common_name = "Fake", .ca = false});
  const auto leaf = MakeLeaf(fake);
  EXPECT_THAT(CodesOf({leaf.certificate, fake.certificate}), Contains("1:not-a-ca"));
}

TEST_F(FindingsTest, MissingAuthorityKeyId) {
  const auto bare = MakeIntermediate(root_, {.common_name = "Bare", .authority_key_id = false});
  EXPECT_THAT(CodesOf({bare.certificate}), ElementsAre("1:no-aki"));
  EXPECT_THAT(CodesOf({root_.certificate}), Not(Contains("1:no-aki")));
}

TEST(HumanDuration, ShowsTheTwoLargestUnits) {
  EXPECT_EQ(HumanDuration(absl::ZeroDuration()), "0s");
  EXPECT_EQ(HumanDuration(absl::Milliseconds(900)), "0s");
  EXPECT_EQ(HumanDuration(absl::Seconds(59)), "59s");
  EXPECT_EQ(HumanDuration(absl::Seconds(61)), "1m 1s");
  EXPECT_EQ(HumanDuration(absl::Hours(1)), "1h");
  EXPECT_EQ(HumanDuration(absl::Hours(24) + absl::Seconds(5)), "1d");
  EXPECT_EQ(HumanDuration(absl::Hours(24 * 365) - absl::Seconds(1)), "364d 23h");
}

}  // namespace
}  // namespace capstan::cli
