// SPDX-License-Identifier: Apache-2.0
#include "server/foreign_signers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace capstan::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ForeignSigners, AreReadAndWritten) {
  const auto signers = ParseForeignSigners("istiod-west=AA:bb:CC:dd:01, east/ca=0123456789abcdef");
  ASSERT_TRUE(signers.ok()) << signers.status();
  EXPECT_THAT(*signers, ElementsAre(ForeignSigner{"istiod-west", "aabbccdd01"},
                                    ForeignSigner{"east/ca", "0123456789abcdef"}));
  EXPECT_EQ(ParseForeignSigners(ToString(*signers)).value(), *signers);
  EXPECT_THAT(ParseForeignSigners("").value(), IsEmpty());
  for (const char* bad :
       {"istiod", "=aabbccdd", "a b=aabbccdd", "a=aabbcc", "a=xxbbccdd", "a#i=aabbccdd"}) {
    EXPECT_THAT(std::string(ParseForeignSigners(bad).status().message()),
                HasSubstr("is not NAME=FINGERPRINT"))
        << bad;
  }
}

TEST(ForeignSigners, HoldTheRootThatTheySignUnder) {
  const std::vector<ForeignSigner> signers = {{"west", "aabbccdd"}, {"east", "ffbbccdd"}};
  const auto holders = HoldersAmong(
      signers, {std::string("11") + std::string(62, '0'), "aabbccdd" + std::string(56, '1')});
  ASSERT_EQ(holders.size(), 1u);
  EXPECT_EQ(holders[0].name, "west");
  EXPECT_EQ(holders[0].kind, rotation::Holder::Kind::kForeign);
  EXPECT_EQ(holders[0].until, absl::InfiniteFuture());
  EXPECT_THAT(HoldersAmong(signers, {}), IsEmpty());
}

}  // namespace
}  // namespace capstan::server
