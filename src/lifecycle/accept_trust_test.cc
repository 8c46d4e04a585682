// SPDX-License-Identifier: Apache-2.0
#include "lifecycle/accept_trust.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "x509/test_pki.h"

namespace capstan::lifecycle {
namespace {

using ::testing::HasSubstr;
using x509::testing::MakeRoot;

class AcceptTrustTest : public ::testing::Test {
 protected:
  const x509::Certificate a_ = MakeRoot().certificate;
  const x509::Certificate b_ = MakeRoot().certificate;
  const std::string a_pem_ = a_.ToPem();
  const std::string both_pem_ = a_.ToPem() + b_.ToPem() + b_.ToPem();
  const Trust held_{
      .version = {"L", 5}, .bundle = trust::Bundle::Of({a_}), .crl_number = 2, .crls_pem = ""};

  void ExpectRefused(const OfferedTrust& offered, absl::StatusCode code, const std::string& why) {
    const auto next = AcceptTrust(held_, offered);
    EXPECT_EQ(next.status().code(), code) << next.status();
    EXPECT_THAT(std::string(next.status().message()), HasSubstr(why));
  }
};

TEST_F(AcceptTrustTest, ANewerBundleOfTheSameLineageIsTaken) {
  const auto next = AcceptTrust(
      held_, {.version = {"L", 6}, .roots_pem = both_pem_, .crl_number = 2, .crls_pem = ""});
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->version.sequence, 6);
  EXPECT_EQ(next->bundle, trust::Bundle::Of({b_, a_}));
}

TEST_F(AcceptTrustTest, TheSameAgainIsTheSame) {
  const auto next = AcceptTrust(
      held_, {.version = {"L", 5}, .roots_pem = a_pem_, .crl_number = 2, .crls_pem = ""});
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(*next, held_);
}

TEST_F(AcceptTrustTest, TheFirstIsTakenWhateverItsLineage) {
  EXPECT_TRUE(AcceptTrust({}, {.version = {"M", 1}, .roots_pem = a_pem_}).ok());
}

TEST_F(AcceptTrustTest, RefusesAnotherLineageAndThePast) {
  constexpr auto kCode = absl::StatusCode::kFailedPrecondition;
  ExpectRefused({.version = {"M", 9}, .roots_pem = both_pem_, .crl_number = 2}, kCode,
                "trust of another store: lineage M, not L");
  ExpectRefused({.version = {"L", 4}, .roots_pem = both_pem_, .crl_number = 2}, kCode,
                "older than 5");
  ExpectRefused({.version = {"L", 5}, .roots_pem = both_pem_, .crl_number = 2}, kCode,
                "other roots under the bundle version L/5");
  ExpectRefused({.version = {"L", 6}, .roots_pem = both_pem_, .crl_number = 1}, kCode,
                "CRL set 1, older than 2");
}

TEST_F(AcceptTrustTest, RefusesWhatIsNoTrust) {
  constexpr auto kCode = absl::StatusCode::kInvalidArgument;
  ExpectRefused({.version = {"L", 6}, .roots_pem = ""}, kCode, "bundle");
  ExpectRefused({.version = {"L", 6}, .roots_pem = "garbage"}, kCode, "bundle");
  ExpectRefused({.version = {"", 6}, .roots_pem = a_pem_}, kCode, "version");
  ExpectRefused({.version = {"L", 0}, .roots_pem = a_pem_}, kCode, "version");
  ExpectRefused({.version = {"L", 6}, .roots_pem = a_pem_, .crl_number = -1}, kCode, "version");
  ExpectRefused({.version = {"L", 6}, .roots_pem = a_pem_, .crl_number = 3, .crls_pem = "garbage"},
                kCode, "CRLs");
  const std::string leaf = x509::testing::MakeLeaf(MakeRoot()).certificate.ToPem();
  ExpectRefused({.version = {"L", 6}, .roots_pem = leaf}, kCode, "bundle");
}

}  // namespace
}  // namespace capstan::lifecycle
