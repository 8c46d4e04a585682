// SPDX-License-Identifier: Apache-2.0
#include "pcds/stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "trust/testing.h"

namespace capstan::pcds {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::shared_ptr<const Resource> Made(int64_t sequence, int64_t epoch,
                                     std::vector<std::string> roots) {
  return std::make_shared<const Resource>(Resource{{"lineage", sequence}, epoch, std::move(roots)});
}

TEST(Stream, SendsTheRootsToWhoAskedAndNotTwice) {
  Stream stream;
  EXPECT_FALSE(stream.Push(Made(1, 1, {"A"})).has_value()) << "nobody asked";
  EXPECT_THAT(stream.Requested({.type_url = kProxyConfigType, .node_id = "sidecar~1"}), IsEmpty());
  EXPECT_EQ(stream.node_id(), "sidecar~1");
  const auto first = stream.Push(Made(1, 1, {"A"}));
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->version, "1.1");
  EXPECT_FALSE(stream.Push(Made(1, 1, {"A"})).has_value());
  EXPECT_EQ(stream.acknowledged(), nullptr);
  stream.Requested({.type_url = kProxyConfigType, .nonce = first->nonce});
  EXPECT_EQ(stream.acknowledged()->version(), "1.1");
  EXPECT_TRUE(stream.Push(Made(1, 2, {"A", "A"})).has_value());
}

TEST(Stream, OnlyTheAnswerToTheLastOneCounts) {
  Stream stream;
  stream.Requested({.type_url = kProxyConfigType});
  const auto first = stream.Push(Made(1, 1, {"A"}));
  const auto second = stream.Push(Made(2, 1, {"A", "B"}));
  stream.Requested({.type_url = kProxyConfigType, .nonce = first->nonce});
  EXPECT_EQ(stream.acknowledged(), nullptr) << "of the one before";
  stream.Requested({.type_url = kProxyConfigType, .nonce = second->nonce, .refusal = "no"});
  EXPECT_EQ(stream.acknowledged(), nullptr);
  EXPECT_EQ(stream.refusal(), "no");
  const auto third = stream.Push(Made(3, 1, {"B"}));
  stream.Requested({.type_url = kProxyConfigType, .nonce = third->nonce});
  EXPECT_EQ(stream.acknowledged()->version(), "3.1");
  EXPECT_EQ(stream.refusal(), "");
}

TEST(Stream, TellsAnEnvoyThatThereIsNothingForIt) {
  Stream stream;
  const auto answers = stream.Requested({.type_url = kListenerType});
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(answers[0].type_url, kListenerType);
  EXPECT_EQ(answers[0].resource, nullptr);
  EXPECT_THAT(stream.Requested({.type_url = kListenerType, .nonce = answers[0].nonce}), IsEmpty());
  EXPECT_THAT(stream.Requested({.type_url = kClusterType}), SizeIs(1));
  EXPECT_THAT(stream.Requested({.type_url = "type.googleapis.com/some.Other"}), IsEmpty());
  EXPECT_FALSE(stream.subscribed());
}

class ResourceTest : public ::testing::Test {
 protected:
  trust::TrustState State(const std::vector<x509::Certificate>& roots, int64_t epoch) const {
    return {{"lineage", 1}, trust::Bundle::Of(roots), epoch, a_.authority().id, 0, {}};
  }
  const trust::testing::TestPki a_ = trust::testing::TestPki::Make("intermediateA");
  const trust::testing::TestPki b_ = trust::testing::TestPki::Make("intermediateB");
};

// Bytes that an agent has seen before are no news to it.
TEST_F(ResourceTest, OtherBytesForEachIssuer) {
  for (const auto& roots :
       {std::vector{a_.root.certificate}, std::vector{a_.root.certificate, b_.root.certificate}}) {
    for (int64_t epoch = 1; epoch < 6; ++epoch) {
      const Resource now = ResourceOf(State(roots, epoch));
      const Resource next = ResourceOf(State(roots, epoch + 1));
      EXPECT_NE(now.roots, next.roots) << roots.size() << " roots, epoch " << epoch;
      EXPECT_EQ(std::set(now.roots.begin(), now.roots.end()),
                std::set(next.roots.begin(), next.roots.end()));
      EXPECT_EQ(now.roots, ResourceOf(State(roots, epoch)).roots) << "a function";
    }
  }
}

// Where the bundle comes with answers: nothing is said until another authority signs.
TEST_F(ResourceTest, OfTheIssuerAloneChangesWithTheIssuer) {
  const auto& [a, b] = std::pair(a_.root.certificate, b_.root.certificate);
  const Resource before = IssuerResourceOf(State({a}, 1), a);
  EXPECT_FALSE(before.whole);
  EXPECT_EQ(before.roots, IssuerResourceOf(State({a, b}, 1), a).roots) << "another bundle";
  EXPECT_NE(before.roots, IssuerResourceOf(State({a, b}, 2), a).roots) << "another intermediate";
  EXPECT_THAT(IssuerResourceOf(State({a, b}, 3), b).roots, ElementsAre(b.ToPem()));
}

TEST(Slot, SpreadsAgentsOverWhatTheBudgetNeeds) {
  const auto resource = Made(2, 1, {"A", "B"});
  int early = 0;
  for (int i = 0; i < 1000; ++i) {
    const absl::Duration slot = SlotOf(*resource, "spiffe://t/x", absl::StrCat(i), 1000, 50);
    EXPECT_GE(slot, absl::ZeroDuration());
    EXPECT_LT(slot, absl::Seconds(20));
    early += slot < absl::Seconds(5) ? 1 : 0;
  }
  EXPECT_NEAR(early, 250, 60);
  EXPECT_EQ(SlotOf(*resource, "spiffe://t/x", "1", 1000, 0), absl::ZeroDuration());
}

}  // namespace
}  // namespace capstan::pcds
