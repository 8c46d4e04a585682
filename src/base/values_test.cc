// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/jitter.h"
#include "base/log.h"
#include "base/random.h"
#include "base/secret.h"

namespace capstan {
namespace {

using ::testing::MatchesRegex;

TEST(Jitter, IsAFunctionOfItsArguments) {
  EXPECT_EQ(Jitter("spiffe://td/a", "01"), Jitter("spiffe://td/a", "01"));
  EXPECT_NE(Jitter("spiffe://td/a", "01"), Jitter("spiffe://td/a", "02"));
  EXPECT_NE(Jitter("ab", "c"), Jitter("a", "bc"));
}

TEST(Jitter, SpreadsSequentialSerialsEvenly) {
  std::vector<int> buckets(10);
  for (int serial = 0; serial < 10000; ++serial) {
    double j = Jitter("spiffe://cluster.local/ns/a/sa/b", absl::StrCat(serial));
    ASSERT_GE(j, 0.0);
    ASSERT_LT(j, 1.0);
    ++buckets[static_cast<size_t>(j * 10)];
  }
  for (int count : buckets) EXPECT_NEAR(count, 1000, 150);
}

TEST(Random, UuidsAreVersion4AndDiffer) {
  std::string uuid = SystemRandom().Uuid();
  EXPECT_THAT(uuid,
              MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_NE(uuid, SystemRandom().Uuid());
}

TEST(Random, SeededBytesRepeat) {
  SeededRandom a(7), b(7), c(8);
  std::string first = a.Bytes(33);
  EXPECT_EQ(first, b.Bytes(33));
  EXPECT_NE(first, c.Bytes(33));
  EXPECT_NE(first, a.Bytes(33));
}

TEST(Secret, ComparesByContentAndEmptiesTheMovedFrom) {
  Secret a(std::string(100, 'k'));
  Secret copy = a;
  EXPECT_TRUE(a == copy);
  EXPECT_FALSE(a == Secret(std::string(99, 'k')));
  EXPECT_FALSE(a == Secret(std::string(100, 'x')));
  Secret moved = std::move(copy);
  EXPECT_TRUE(copy.empty());  // NOLINT(bugprone-use-after-move): the contract says so
  EXPECT_TRUE(moved == a);
}

TEST(Secret, WipesTheWholeBuffer) {
  std::string bytes(64, 's');
  const char* at = bytes.data();
  WipeBytes(bytes);
  EXPECT_TRUE(bytes.empty());
  ASSERT_EQ(at, bytes.data());
  EXPECT_TRUE(std::all_of(at, at + 64, [](char c) { return c == '\0'; }));
}

TEST(Log, TextIsOneLineWhateverIsInIt) {
  EXPECT_EQ(
      log::Render(log::Format::kText, "T", log::Level::kInfo, "a\nb", {{"k", "v w"}, {"n", 3}}),
      "T\tinfo\ta\\nb\tk=\"v w\"\tn=3");
}

TEST(Log, JsonSurvivesBytesThatAreNotUtf8) {
  EXPECT_EQ(log::Render(log::Format::kJson, "T", log::Level::kWarn, "m", {{"k", "\xff\n"}}),
            "{\"time\":\"T\",\"level\":\"warn\",\"message\":\"m\",\"k\":\"\xEF\xBF\xBD\\n\"}");
}

}  // namespace
}  // namespace capstan
