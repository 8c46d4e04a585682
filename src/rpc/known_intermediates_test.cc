// SPDX-License-Identifier: Apache-2.0
#include "rpc/known_intermediates.h"

#include <gtest/gtest.h>

#include <memory>

#include "authn/test_pki.h"

namespace capstan::rpc {
namespace {

using authn::testing::At;
using authn::testing::LeafSpec;
using authn::testing::TestCa;

class KnownIntermediatesTest : public ::testing::Test {
 protected:
  std::vector<x509::Certificate> ChainOf(const TestCa& ca) const {
    return ca.Issue({.not_before = now_, .not_after = now_ + absl::Hours(1)}).chain;
  }
  std::vector<x509::Certificate> Completed(const std::vector<x509::Certificate>& chain) const {
    std::vector<x509::Certificate> bare = {chain.front()};
    known_.Complete(bare);
    return bare;
  }

  const absl::Time now_ = At("2026-03-01T12:00:00Z");
  const TestCa a_{now_, "Root CA", true};
  const TestCa b_{now_, "Root CA", true};  // everything of it is named as A's
  KnownIntermediates known_;
};

TEST_F(KnownIntermediatesTest, CompletesALeafOfAnIssuerItHasSeen) {
  EXPECT_EQ(Completed(ChainOf(a_)).size(), 1u);
  known_.Learn(ChainOf(a_));
  known_.Learn(ChainOf(b_));
  const auto of_a = ChainOf(a_);
  EXPECT_EQ(Completed(of_a), of_a);
  const auto of_b = ChainOf(b_);
  EXPECT_EQ(Completed(of_b), of_b);
}

TEST_F(KnownIntermediatesTest, LeavesAChainThatIsThereAlone) {
  known_.Learn(ChainOf(a_));
  auto chain = ChainOf(b_);
  const auto before = chain;
  known_.Complete(chain);
  EXPECT_EQ(chain, before);
}

TEST_F(KnownIntermediatesTest, LearnsOnlyWhatLeadsUpFromTheLeaf) {
  auto chain = ChainOf(a_);
  chain.push_back(b_.issuer());  // an extra that signed nothing here
  known_.Learn(chain);
  EXPECT_EQ(Completed(ChainOf(b_)).size(), 1u);
  EXPECT_EQ(Completed(ChainOf(a_)).size(), 2u);
}

TEST_F(KnownIntermediatesTest, IsBounded) {
  known_.Learn(ChainOf(a_));
  for (int i = 0; i < 40; ++i) {
    known_.Learn(ChainOf(TestCa(now_, "Other CA", true)));
  }
  EXPECT_EQ(Completed(ChainOf(a_)).size(), 1u) << "the oldest made room";
}

}  // namespace
}  // namespace capstan::rpc
