// SPDX-License-Identifier: Apache-2.0
// tests/interop/takeover_test.py has a real istiod.
#include "server/istiod_keeper.h"

#include <gtest/gtest.h>

#include "trust/testing.h"

namespace capstan::server {
namespace {

using trust::testing::TestNow;
using trust::testing::TestPki;

class IstiodSecretTest : public ::testing::Test {
 protected:
  const TestPki a_ = TestPki::Make("intermediateA");
  const TestPki b_ = TestPki::Make("intermediateB");
  const std::vector<x509::Certificate> both_ = {a_.root.certificate, b_.root.certificate};
  trust::TrustState State(const trust::CaSet& set, int64_t epoch) {
    return {{"lineage", 7}, set.bundle, epoch, set.authority.id, 0, {}};
  }
};

TEST_F(IstiodSecretTest, ShowsWhatIsInForceAndTakesNoWishAway) {
  const trust::CaSet a = a_.Set();
  const trust::CaSet b = b_.Set();
  const trust::CaSet between = a_.Set(both_);
  const std::string wish_a = a.ContentDigest();
  const std::string wish_b = b.ContentDigest();
  EXPECT_EQ(TaskFor(a, false, a, wish_a), SecretTask::kClaim) << "adopted";
  EXPECT_EQ(TaskFor(a, true, a, wish_a), SecretTask::kNothing);
  EXPECT_EQ(TaskFor(a, true, between, wish_b), SecretTask::kShow) << "a rotation began";
  EXPECT_EQ(TaskFor(b, false, a, wish_a), SecretTask::kLeave) << "not taken over, or not yet";
  EXPECT_EQ(TaskFor(std::nullopt, false, a, wish_a), SecretTask::kLeave) << "no CA at all";
  EXPECT_EQ(TaskFor(b, false, between, wish_b), SecretTask::kShow) << "replaced in one stroke";
  EXPECT_EQ(TaskFor(std::nullopt, true, b, wish_b), SecretTask::kShow) << "ours that has expired";
}

TEST_F(IstiodSecretTest, TheBytesOfTheRootsChangeWithEachStep) {
  const trust::CaSet before = a_.Set(both_);
  const trust::CaSet after = b_.Set(both_);
  const trust::CaFiles first = FilesForIstiod(before, State(before, 1), "");
  const trust::CaFiles second = FilesForIstiod(after, State(after, 2), first.at("root-cert.pem"));
  EXPECT_NE(first.at("root-cert.pem"), second.at("root-cert.pem")) << "another issuer";
  // Somebody else's bytes are the ones that would be written.
  const trust::CaFiles third = FilesForIstiod(after, State(after, 2), second.at("root-cert.pem"));
  EXPECT_NE(third.at("root-cert.pem"), second.at("root-cert.pem"));
  for (const auto& files : {first, second, third}) {
    const auto set = trust::ParseCaSet(files, TestNow());
    ASSERT_TRUE(set.ok()) << set.status();
    EXPECT_EQ(set->bundle, before.bundle);
  }
  EXPECT_EQ(trust::ParseCaSet(third, TestNow())->ContentDigest(), after.ContentDigest());
}

}  // namespace
}  // namespace capstan::server
