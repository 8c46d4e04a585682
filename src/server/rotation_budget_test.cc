// SPDX-License-Identifier: Apache-2.0
// How fast a rotation re-issues.
#include <gmock/gmock.h>

#include <limits>

#include "server/rotation_fixture.h"

namespace capstan::server {
namespace {

using testing::Agent;
using testing::RotationTest;

TEST_F(RotationTest, TheReportSaysHowFastAndUntilWhen) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Acknowledge(one);
  ASSERT_TRUE(Offer(b_).ok());
  EXPECT_GT(plane_->GetRotation()->progress().certificates_per_second(), 0);
  EXPECT_FALSE(plane_->GetRotation()->progress().has_eta());  // nothing is re-issued yet
}

TEST_F(RotationTest, ABudgetOfItsOwnIsKeptOverARestartAndOnTheWayBack) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Agent two = Join("two");
  Acknowledge(one);
  Acknowledge(two);
  control::v1::StartRotationRequest request;
  request.set_generate(true);
  request.mutable_policy()->set_issue_per_second(0.25);
  const control::v1::RotationPlan plan = *plane_->PlanRotation(request);
  EXPECT_EQ(plan.certificates_per_second(), 0.25);
  EXPECT_EQ(plan.reissued_certificates(), 4);
  EXPECT_EQ(plan.reissue_takes().seconds(), 16);
  ASSERT_TRUE(plane_->StartRotation(request).ok());
  executor_.Advance(absl::Seconds(1));
  Restart();
  EXPECT_EQ(plane_->GetRotation()->policy().issue_per_second(), 0.25);
  EXPECT_EQ(plane_->GetRotation()->progress().certificates_per_second(), 0.25);
  Connect(one);
  Connect(two);
  Acknowledge(one);
  Acknowledge(two);
  Pass(absl::Seconds(12), {&one, &two});
  ASSERT_EQ(View().record.phase, "new-issuer");
  EXPECT_EQ(plane_->update()->renewal().window().seconds(), 16);
  EXPECT_EQ(plane_->GetRotation()->progress().eta().seconds(),
            plane_->update()->renewal().start().seconds() + 16);
  Reissue(one);
  executor_.Advance(absl::Seconds(1));
  Restart();
  EXPECT_EQ(plane_->update()->renewal().window().seconds(), 8) << "what is left, by the same";
  ASSERT_TRUE(plane_->keeper().Steer(Steering::kRollback).ok());
  for (Agent* agent : {&one, &two}) {
    Connect(*agent);
    Acknowledge(*agent);
  }
  Pass(absl::Seconds(12), {&one, &two});
  EXPECT_EQ(plane_->update()->renewal().authority_id(), a_.authority().id.hex());
  EXPECT_EQ(plane_->update()->renewal().window().seconds(), 8) << "the two that had moved";
  EXPECT_EQ(plane_->ListRotations()->rotations(0).policy().issue_per_second(), 0.25);
}

TEST_F(RotationTest, CapstandsOwnBudgetIsNeverExceeded) {
  ASSERT_TRUE(Offer(a_).ok());
  control::v1::StartRotationRequest request;
  request.set_generate(true);
  const double own = plane_->PlanRotation(request)->certificates_per_second();
  request.mutable_policy()->set_issue_per_second(own * 2);
  EXPECT_EQ(plane_->PlanRotation(request)->certificates_per_second(), own);
  ASSERT_TRUE(plane_->StartRotation(request).ok());
  EXPECT_EQ(plane_->GetRotation()->policy().issue_per_second(), own * 2);
  EXPECT_EQ(plane_->GetRotation()->source(), "managed");
}

TEST_F(RotationTest, ABudgetThatIsNoneIsRefused) {
  ASSERT_TRUE(Offer(a_).ok());
  control::v1::StartRotationRequest request;
  request.set_generate(true);
  for (double budget : {-1.0, 0.0001, std::numeric_limits<double>::infinity(),
                        std::numeric_limits<double>::quiet_NaN()}) {
    request.mutable_policy()->set_issue_per_second(budget);
    EXPECT_EQ(plane_->StartRotation(request).status().code(), absl::StatusCode::kInvalidArgument)
        << budget;
  }
  EXPECT_EQ(plane_->GetRotation()->number(), 0);
}

}  // namespace
}  // namespace capstan::server
