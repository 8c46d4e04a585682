// SPDX-License-Identifier: Apache-2.0
#include "trust/bundle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "trust/authority.h"
#include "trust/testing.h"

namespace capstan::trust {
namespace {

using ::capstan::trust::testing::CaSpec;
using ::capstan::trust::testing::MakeRoot;
using ::testing::SizeIs;

class BundleTest : public ::testing::Test {
 protected:
  const x509::Certificate a_ = MakeRoot().certificate;
  const x509::Certificate b_ = MakeRoot().certificate;
  const x509::Certificate c_ = MakeRoot().certificate;
};

TEST_F(BundleTest, IsASetWhateverItsText) {
  Bundle plain = Bundle::Of({a_, b_, c_});
  std::vector<x509::Certificate> order = {a_, b_, c_, b_};
  std::sort(order.begin(), order.end(), [](auto& x, auto& y) { return x.der() < y.der(); });
  do {
    Bundle other = *Bundle::ParsePem("text\n" + x509::ToPem(order) + "\r\nmore");
    EXPECT_EQ(other, plain);
    EXPECT_EQ(other.ToPem(), plain.ToPem());
    EXPECT_EQ(other.DigestHex(), plain.DigestHex());
  } while (std::next_permutation(order.begin(), order.end(),
                                 [](auto& x, auto& y) { return x.der() < y.der(); }));
  EXPECT_TRUE(std::is_sorted(plain.roots().begin(), plain.roots().end(),
                             [](auto& x, auto& y) { return x.fingerprint() < y.fingerprint(); }));
}

TEST_F(BundleTest, SetOperations) {
  Bundle ab = Bundle::Of({a_, b_});
  Bundle bc = Bundle::Of({b_, c_});
  EXPECT_EQ(Union(ab, bc), Bundle::Of({a_, b_, c_}));
  EXPECT_EQ(Difference(ab, bc), Bundle::Of({a_}));
  EXPECT_TRUE(Union(ab, bc).Includes(ab));
  EXPECT_FALSE(ab.Includes(bc));
  EXPECT_TRUE(ab.Includes(Bundle()));
  EXPECT_TRUE(ab.Contains(a_));
  EXPECT_FALSE(ab.Contains(c_));
  EXPECT_NE(ab.DigestHex(), bc.DigestHex());
}

TEST_F(BundleTest, RefusesWhatIsNoCa) {
  CaSpec leaf{"A workload"};
  leaf.ca = false;
  absl::Status status = Bundle::ParsePem(a_.ToPem() + MakeRoot(leaf).certificate.ToPem()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("certificate 2"));
  EXPECT_FALSE(Bundle::ParsePem("").ok());
}

TEST_F(BundleTest, VersionsAreOrderedWithinALineage) {
  EXPECT_LT((BundleVersion{"x", 1}), (BundleVersion{"x", 2}));
  EXPECT_EQ((BundleVersion{"x", 7}).ToString(), "x/7");
  EXPECT_TRUE(BundleVersion().empty());
}

TEST_F(BundleTest, AuthoritiesAreNamedByKey) {
  AuthorityId id = AuthorityId::Of(a_);
  EXPECT_EQ(*AuthorityId::Parse(id.hex()), id);
  EXPECT_THAT(id.hex(), SizeIs(40));
  for (const char* bad : {"", "abc", "AB", "zz", "ab cd"})
    EXPECT_FALSE(AuthorityId::Parse(bad).ok()) << bad;
  EXPECT_FALSE(AuthorityId::Parse(std::string(130, 'a')).ok());
  for (auto state : {AuthorityState::kPrepared, AuthorityState::kActive, AuthorityState::kRetiring,
                     AuthorityState::kRetired, AuthorityState::kRevoked}) {
    EXPECT_EQ(*ParseAuthorityState(AuthorityStateName(state)), state);
  }
  EXPECT_FALSE(ParseAuthorityState("gone").ok());
}

}  // namespace
}  // namespace capstan::trust
