// SPDX-License-Identifier: Apache-2.0
#include "rotation/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "base/status.h"
#include "trust/testing.h"

namespace capstan::rotation {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using trust::AuthorityState;
using trust::Bundle;
using trust::testing::TestNow;
using trust::testing::TestPki;

const std::vector<TestPki>& Pkis() {
  static const auto& pkis =
      *new std::vector<TestPki>{TestPki::Make("a"), TestPki::Make("b"), TestPki::Make("c")};
  return pkis;
}
trust::AuthorityId Id(int i) {
  return Pkis()[i].authority().id;
}
Bundle Roots(int bits) {
  std::vector<x509::Certificate> roots;
  for (int i = 0; i < 3; ++i) {
    if ((bits >> i) & 1) roots.push_back(Pkis()[i].root.certificate);
  }
  return Bundle::Of(std::move(roots));
}

Situation Running(int bits, int issuer) {
  Situation situation{{{"lineage", 5}, Roots(bits), 3, Id(issuer), 0, {}}, {}, Id(issuer)};
  for (int i = 0; i < 3; ++i) {
    const bool signs = i == issuer;
    situation.authorities.insert(
        {Id(i), Standing{Pkis()[i].authority(),
                         signs ? AuthorityState::kActive : AuthorityState::kPrepared, signs,
                         signs ? TestNow() + absl::Hours(24) : absl::InfinitePast()}});
  }
  return situation;
}

std::vector<std::string> Names(const std::vector<PlannedStep>& steps) {
  std::vector<std::string> names;
  for (const PlannedStep& step : steps) names.push_back(step.name);
  return names;
}

TEST(PlanTest, OneStrokeIsWalkedToItsEndWithoutTheKey) {
  const auto steps = PlanSteps(Running(1, 0), {Roots(2), {}, Id(1)}, TestNow());
  ASSERT_TRUE(steps.ok()) << steps.status();
  ASSERT_THAT(Names(*steps),
              ElementsAre("add-roots", "switch-issuer", "move-serving", "drop-roots", "end"));
  EXPECT_EQ((*steps)[0].gate_says, "");
  EXPECT_EQ((*steps)[0].phase, Phase::kRootA);
  EXPECT_THAT((*steps)[1].gate_says, HasSubstr("every workload acknowledged bundle 6"));
  EXPECT_THAT((*steps)[1].gate_says, HasSubstr(Id(1).hex()));
  EXPECT_EQ((*steps)[1].phase, Phase::kBothTrusted);
  EXPECT_EQ((*steps)[2].gate_says, "every agent holds bundle 6");
  EXPECT_THAT((*steps)[3].gate_says, HasSubstr("the last of them expires at 2025-05-13"));
  EXPECT_THAT((*steps)[3].gate_says, HasSubstr("no way back"));
  for (const PlannedStep& step : *steps) {
    EXPECT_THAT(step.gate_says, ::testing::Not(HasSubstr("clock"))) << "it is of every gate";
  }
  EXPECT_EQ((*steps)[3].phase, Phase::kNewIssuer);
  EXPECT_THAT((*steps)[4].gate_says, HasSubstr("acknowledged bundle 7"));
  EXPECT_THAT((*steps)[4].gate_says, HasSubstr(Id(0).hex()));
  EXPECT_EQ((*steps)[4].phase, Phase::kRootB);
}

TEST(PlanTest, ACanaryIsAStepMoreAndAGateMore) {
  const Wish wish{Roots(2), {}, Id(1), *trust::Canary::Parse("namespace=web")};
  const auto steps = PlanSteps(Running(1, 0), wish, TestNow());
  ASSERT_TRUE(steps.ok()) << steps.status();
  ASSERT_THAT(Names(*steps), ElementsAre("add-roots", "start-canary", "switch-issuer",
                                         "move-serving", "drop-roots", "end"));
  EXPECT_THAT((*steps)[1].gate_says, HasSubstr("every workload acknowledged bundle 6"));
  EXPECT_THAT((*steps)[2].gate_says, HasSubstr("every workload of namespace=web shows a leaf"));
  EXPECT_THAT((*steps)[2].gate_says, HasSubstr("by itself"));
  EXPECT_EQ((*steps)[2].phase, Phase::kBothTrusted);
  EXPECT_EQ(EstimateOf(*steps, {0, 0, 0, absl::Seconds(1)}).takes, absl::Seconds(1 + 15 + 1));
}

TEST(PlanTest, NothingToDoIsTheEndAlone) {
  const auto steps = PlanSteps(Running(1, 0), {Roots(1), {}, Id(0)}, TestNow());
  ASSERT_TRUE(steps.ok());
  EXPECT_THAT(Names(*steps), ElementsAre("end"));
  EXPECT_EQ(EstimateOf(*steps, {1000, 2000, 10, absl::Seconds(30)}), Estimate{});
}

TEST(PlanTest, AnUnknownAuthorityIsSaid) {
  Situation situation = Running(1, 0);
  situation.authorities.erase(Id(1));
  EXPECT_EQ(PlanSteps(situation, {Roots(2), {}, Id(1)}, TestNow()).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(PlanTest, TheEstimateIsReissuingAndSoaking) {
  const auto steps = PlanSteps(Running(1, 0), {Roots(2), {}, Id(1)}, TestNow());
  ASSERT_TRUE(steps.ok());
  const Estimate estimate = EstimateOf(*steps, {1500, 3000, 50, absl::Seconds(30)});
  EXPECT_EQ(estimate.reissued, 3000);
  EXPECT_EQ(estimate.reissue_takes, absl::Seconds(60));
  EXPECT_EQ(estimate.takes, absl::Seconds(60 + 2 * 30));  // before the switch and before the drop
  EXPECT_EQ(EstimateOf(*steps, {1500, 3000, 0, absl::Seconds(30)}).reissue_takes,
            absl::ZeroDuration());
  // A root more or less makes nobody ask for a certificate.
  const auto roots_only = PlanSteps(Running(1, 0), {Roots(3), {}, Id(0)}, TestNow());
  ASSERT_TRUE(roots_only.ok());
  EXPECT_EQ(EstimateOf(*roots_only, {1500, 3000, 50, absl::Seconds(30)}).takes,
            absl::ZeroDuration());
}

RC_GTEST_PROP(PlanProperty, EveryPlanEndsWhereItIsWished, ()) {
  const int from = *rc::gen::inRange(0, 3);
  const int to = *rc::gen::inRange(0, 3);
  Wish wish{Roots(*rc::gen::inRange(0, 8) | 1 << to), {}, Id(to)};
  if (*rc::gen::arbitrary<bool>()) wish.canary = *trust::Canary::Parse("percent=10");
  const Situation now_is = Running(*rc::gen::inRange(0, 8) | 1 << from, from);
  const auto steps = PlanSteps(now_is, wish, TestNow());
  RC_ASSERT(steps.ok());
  RC_ASSERT(steps->back().name == "end");
  for (const PlannedStep& step : *steps) {
    RC_ASSERT((step.gate.kind == GateKind::kNone) == step.gate_says.empty());
  }
}

}  // namespace
}  // namespace capstan::rotation
