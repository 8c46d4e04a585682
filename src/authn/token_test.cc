// SPDX-License-Identifier: Apache-2.0
#include "authn/token.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "absl/strings/escaping.h"

namespace capstan::authn {
namespace {

TEST(Token, HasAPrefixAndTwoHundredAndFiftySixBits) {
  SeededRandom random(1);
  const Secret token = NewToken(random);
  EXPECT_EQ(token.Reveal().substr(0, 4), "cjt_");
  std::string bytes;
  ASSERT_TRUE(absl::WebSafeBase64Unescape(std::string(token.Reveal().substr(4)), &bytes));
  EXPECT_EQ(bytes.size(), 32u);
  EXPECT_TRUE(LooksLikeToken(token));
}

TEST(Token, NoTwoAreEqual) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(seen.insert(std::string(NewToken(SystemRandom()).Reveal())).second);
  }
}

TEST(Token, HashIsSha256OfTheWholeText) {
  EXPECT_EQ(absl::BytesToHexString(HashToken(Secret("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Token, RefusesWhatItNeverMakes) {
  SeededRandom random(2);
  const std::string good(NewToken(random).Reveal());
  EXPECT_FALSE(LooksLikeToken(Secret("")));
  EXPECT_FALSE(LooksLikeToken(Secret("cjt_")));
  EXPECT_FALSE(LooksLikeToken(Secret(good.substr(0, good.size() - 1))));
  EXPECT_FALSE(LooksLikeToken(Secret(good + "A")));
  EXPECT_FALSE(LooksLikeToken(Secret("Cjt_" + good.substr(4))));
  EXPECT_FALSE(LooksLikeToken(Secret(good.substr(0, 10) + "+" + good.substr(11))));
}

}  // namespace
}  // namespace capstan::authn
