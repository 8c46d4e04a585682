// SPDX-License-Identifier: Apache-2.0
#include "sds/names.h"

#include <gtest/gtest.h>

#include "sds/edition.h"
#include "sds/test_material.h"

namespace capstan::sds {
namespace {

TEST(NamesTest, KnowsFourNamesAndNoOther) {
  const Names names(TestId());
  EXPECT_EQ(names.KindOf("default"), Kind::kLeaf);
  EXPECT_EQ(names.KindOf("spiffe://cluster.local/ns/foo/sa/httpbin"), Kind::kLeaf);
  EXPECT_EQ(names.KindOf("ROOTCA"), Kind::kTrust);
  EXPECT_EQ(names.KindOf("spiffe://cluster.local"), Kind::kTrust);
  for (const char* unknown :
       {"", "*", "Default", "rootca", "cluster.local", "spiffe://cluster.local/",
        "file-root:system", "spiffe://cluster.local/ns/foo/sa/sleep", "spiffe://other.td", "ALL"}) {
    EXPECT_EQ(names.KindOf(unknown), std::nullopt) << unknown;
  }
}

TEST(EditionTest, EachHasACommentOfItsOwnAheadOfTheSamePem) {
  const Edition edition{.kind = Kind::kTrust,
                        .number = 7,
                        .stamp = "tag.7",
                        .material = MaterialOf(1, "-----BEGIN A", "leaf")};
  EXPECT_EQ(RootsPem(edition), "# capstan tag.7\n-----BEGIN A");
  EXPECT_EQ(ChainPem(edition), "# capstan tag.7\nchain of leaf");
}

TEST(EditionTest, ContentIsWhatAnEnvoyWouldHoldNotItsVersion) {
  const auto base = MaterialOf(1, "A", "leaf");
  auto newer = MaterialOf(2, "A", "leaf");
  EXPECT_TRUE(SameContent(Kind::kTrust, *base, *newer));
  newer->crls_pem = "crl";
  EXPECT_FALSE(SameContent(Kind::kTrust, *base, *newer));
  EXPECT_TRUE(SameContent(Kind::kLeaf, *base, *newer));
  newer->key_pem = Secret("another");
  EXPECT_FALSE(SameContent(Kind::kLeaf, *base, *newer));
}

}  // namespace
}  // namespace capstan::sds
