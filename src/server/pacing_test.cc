// SPDX-License-Identifier: Apache-2.0
#include "server/pacing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/retry_after.h"
#include "base/strings.h"
#include "server/messages.h"
#include "trust/testing.h"

namespace capstan::server {
namespace {

using issuance::Urgency;
using ::testing::AllOf;
using ::testing::HasSubstr;
using trust::testing::TestNow;

const std::string kA(40, 'a');
const std::string kB(40, 'b');

trust::TrustState State(int64_t epoch, const std::string& issuer) {
  return {.version = {"lineage", epoch},
          .issuer_epoch = epoch,
          .issuer = *trust::AuthorityId::Parse(issuer)};
}

Issuers Of(trust::TrustState trust) {
  return {std::move(trust), std::nullopt, {}};
}

fleet::Leaf LeafOf(const std::string& serial, const std::string& authority, absl::Duration left) {
  return {serial, authority, TestNow() - absl::Hours(24) + left, TestNow() + left};
}

TEST(UrgencyTest, GoesByWhatIsLeftOfTheLeafThatIsReplaced) {
  const authn::Caller caller{*spiffe::SpiffeId::Parse("spiffe://td/ns/a/sa/b")};
  rpc::IssueRequest request;
  request.replaces = "1";
  const fleet::Leaf fresh = LeafOf("1", kA, absl::Hours(7));
  const fleet::Leaf old = LeafOf("1", kA, absl::Hours(5));
  const fleet::Leaf other = LeafOf("2", kA, absl::Hours(20));
  EXPECT_EQ(UrgencyOf(caller, request, &fresh, TestNow()), Urgency::kOrdinary);
  EXPECT_EQ(UrgencyOf(caller, request, &old, TestNow()), Urgency::kUrgent);
  EXPECT_EQ(UrgencyOf(caller, request, &other, TestNow()), Urgency::kUrgent)
      << "the answer before was lost: nobody knows how old the one that is held is";
  EXPECT_EQ(UrgencyOf(caller, request, nullptr, TestNow()), Urgency::kUrgent);
  request.replaces = "";
  EXPECT_EQ(UrgencyOf(caller, request, &fresh, TestNow()), Urgency::kUrgent)
      << "a new process has nothing to show, whatever is on record";
}

TEST(UrgencyTest, AStockAgentShowsTheLeafThatItWantsReplaced) {
  const auto pki = trust::testing::TestPki::Make();
  authn::Caller caller{*spiffe::SpiffeId::Parse("spiffe://td/ns/a/sa/b")};
  caller.certificate = pki.intermediate.certificate;  // any certificate has a life
  const absl::Time end = caller.certificate->not_after();
  const absl::Duration life = end - caller.certificate->not_before();
  EXPECT_EQ(UrgencyOf(caller, {}, nullptr, end - life / 2), Urgency::kOrdinary);
  EXPECT_EQ(UrgencyOf(caller, {}, nullptr, end - life / 5), Urgency::kUrgent);
  caller.proof = authn::Caller::Proof::kJoinToken;
  caller.certificate.reset();
  EXPECT_EQ(UrgencyOf(caller, {}, nullptr, end), Urgency::kUrgent);
}

class PacingTest : public ::testing::Test {
 protected:
  // Each with a leaf and an agent's credential of authority A.
  void Populate(int workloads) {
    for (int i = 0; i < workloads; ++i) {
      fleet::Workload& workload = workloads_[{absl::StrCat("w", i), "i", ""}];
      workload.leaf = LeafOf(absl::StrCat("l", i), kA, absl::Minutes(60 + i));
      workload.credential = LeafOf(absl::StrCat("c", i), kA, absl::Minutes(600 + i));
    }
  }
  FakeClock clock_{TestNow()};
  Metrics metrics_;
  std::map<fleet::Key, fleet::Workload> workloads_;
};

TEST_F(PacingTest, OverTheBudgetIsToldWhenToComeBack) {
  Pacing pacing(20, clock_, metrics_);
  absl::Status status;
  int admitted = 0;
  while ((status = pacing.Admit(Urgency::kOrdinary)).ok()) ++admitted;
  EXPECT_EQ(admitted, 3);  // a quarter of a second, less the reserve
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("signs 20/s and others come first: come"));
  EXPECT_EQ(RetryAfterOf(status), absl::Milliseconds(100));
  EXPECT_TRUE(pacing.Admit(Urgency::kUrgent).ok());
  EXPECT_THAT(metrics_.Text(),
              AllOf(HasSubstr("capstan_issue_budget_per_second 20"),
                    HasSubstr("capstan_issue_admitted_total{urgency=\"ordinary\"} 3"),
                    HasSubstr("capstan_issue_admitted_total{urgency=\"urgent\"} 1"),
                    HasSubstr("capstan_issue_put_off_total{urgency=\"ordinary\"} 1")));
  clock_.Advance(absl::Seconds(1));
  EXPECT_TRUE(pacing.Admit(Urgency::kOrdinary).ok());
}

TEST_F(PacingTest, TheAutomaticBudgetFollowsTheSigner) {
  Pacing pacing(0, clock_, metrics_);
  EXPECT_EQ(pacing.per_second(), 500);
  const auto sign = [&](absl::Duration took) {
    for (int i = 0; i < 3000; ++i) {
      clock_.Advance(absl::Milliseconds(1));
      pacing.Signed(*trust::AuthorityId::Parse(kA), took, true);
    }
  };
  sign(absl::Microseconds(100));
  EXPECT_GT(pacing.per_second(), 500);
  sign(absl::Milliseconds(30));
  EXPECT_LT(pacing.per_second(), 400);
  EXPECT_THAT(metrics_.Text(), HasSubstr("capstan_issue_signing_seconds 0.03"));
  Pacing fixed(20, clock_, metrics_);
  for (int i = 0; i < 3000; ++i) {
    clock_.Advance(absl::Milliseconds(1));
    fixed.Signed(*trust::AuthorityId::Parse(kA), absl::Microseconds(50), true);
  }
  EXPECT_EQ(fixed.per_second(), 20);
}

TEST_F(PacingTest, ASwitchIsPlannedOnceForTheLeavesOfOthers) {
  Populate(100);
  workloads_[{"w0", "i", ""}].leaf.authority = kB;
  workloads_[{"w1", "i", ""}].leaf.not_after = TestNow();
  Pacing pacing(20, clock_, metrics_);
  EXPECT_EQ(pacing.PlansFor(Of(State(1, kA)), workloads_).everybody, std::nullopt);
  const auto plan = pacing.PlansFor(Of(State(2, kB)), workloads_).everybody;
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->leaves, 198);
  EXPECT_EQ(plan->window.start, TestNow());
  EXPECT_EQ(plan->window.length, absl::Seconds(9.9));
  EXPECT_EQ(plan->window.bounds.size(), 16u);
  // A bundle that changes later changes nothing about it.
  clock_.Advance(absl::Seconds(5));
  workloads_.clear();
  EXPECT_EQ(pacing.PlansFor(Of(State(2, kB)), workloads_).everybody, plan);
  // A rollback is a switch.
  EXPECT_EQ(pacing.PlansFor(Of(State(3, kA)), workloads_).everybody->leaves, 0);
}

TEST_F(PacingTest, ACanaryHasAPlanOfItsOwnAndItsEndOneForTheWayBack) {
  for (int i = 0; i < 10; ++i) {
    const std::string id = absl::StrCat("spiffe://td/ns/", i < 3 ? "web" : "rest", "/sa/s", i);
    workloads_[{id, "i", ""}].leaf = LeafOf(absl::StrCat("0", i), kA, absl::Hours(12));
  }
  Pacing pacing(20, clock_, metrics_);
  const trust::AuthorityId b = *trust::AuthorityId::Parse(kB);
  Issuers issuers = Of(State(1, kA));
  issuers.canary = {b, *trust::Canary::Parse("namespace=web")};
  Plans plans = pacing.PlansFor(issuers, workloads_);
  EXPECT_FALSE(plans.everybody.has_value());
  EXPECT_EQ(plans.canary->leaves, 3);
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(pacing.PlansFor(issuers, workloads_).canary, plans.canary);
  for (auto& [key, workload] : workloads_) {
    if (key.spiffe_id.find("/ns/web/") != std::string::npos) workload.leaf.authority = kB;
  }
  issuers.canary.reset();
  issuers.retiring = {b};
  plans = pacing.PlansFor(issuers, workloads_);
  EXPECT_FALSE(plans.canary.has_value());
  EXPECT_EQ(plans.everybody->leaves, 3);
  EXPECT_EQ(Pacing(20, clock_, metrics_).PlansFor(issuers, workloads_).everybody->leaves, 3);
  // Its retirement is no new plan.
  clock_.Advance(absl::Seconds(1));
  issuers.retiring.clear();
  EXPECT_EQ(pacing.PlansFor(issuers, workloads_).everybody, plans.everybody);
}

TEST_F(PacingTest, ARotationsOwnBudgetLaysTheSlotsWhereItIsTheLowerOne) {
  Populate(100);
  Issuers issuers = Of(State(2, kB));
  issuers.budget = 5;
  const auto plan = Pacing(20, clock_, metrics_).PlansFor(issuers, workloads_).everybody;
  EXPECT_EQ(plan->per_second, 5);
  EXPECT_EQ(plan->window.length, absl::Seconds(40));
  std::map<int64_t, int> in_five_seconds;
  for (const auto& [key, workload] : workloads_) {
    for (const fleet::Leaf* leaf : {&workload.leaf, &workload.credential}) {
      const absl::Time slot = SlotOf(plan->window, leaf->not_after, key.spiffe_id, leaf->serial);
      ++in_five_seconds[absl::ToInt64Seconds(slot - TestNow()) / 5];
    }
  }
  for (const auto& [when, count] : in_five_seconds) EXPECT_LE(count, 25 + 3) << when;
  // What is left after a restart goes by the same.
  for (int i = 0; i < 50; ++i) workloads_.erase({absl::StrCat("w", i), "i", ""});
  EXPECT_EQ(Pacing(20, clock_, metrics_).PlansFor(issuers, workloads_).everybody->window.length,
            absl::Seconds(20));
  issuers.budget = 50;
  EXPECT_EQ(Pacing(20, clock_, metrics_).PlansFor(issuers, workloads_).everybody->per_second, 20);
  issuers = Of(State(1, kA));
  issuers.canary = {*trust::AuthorityId::Parse(kB), *trust::Canary::Parse("percent=100")};
  issuers.budget = 4;
  EXPECT_EQ(Pacing(20, clock_, metrics_).PlansFor(issuers, workloads_).canary->window.length,
            absl::Seconds(25));
}

TEST_F(PacingTest, ARotationsOwnBudgetIsNoMatterOfAdmission) {
  Pacing pacing(20, clock_, metrics_);
  EXPECT_EQ(pacing.RateOf(5), 5);
  EXPECT_EQ(pacing.RateOf(50), 20);
  EXPECT_EQ(pacing.RateOf(0), 20);
  EXPECT_EQ(pacing.per_second(), 20) << "renewals are signed as before";
}

TEST_F(PacingTest, TheAutomaticBudgetGoesByTheIssuerNotByTheCanarysAuthority) {
  Pacing pacing(0, clock_, metrics_);
  const trust::AuthorityId b = *trust::AuthorityId::Parse(kB);
  Issuers issuers = Of(State(1, kA));
  issuers.canary = {b, *trust::Canary::Parse("percent=10")};
  pacing.PlansFor(issuers, workloads_);
  for (int i = 0; i < 3000; ++i) {
    clock_.Advance(absl::Milliseconds(1));
    pacing.Signed(b, absl::Milliseconds(50), true);
  }
  EXPECT_EQ(pacing.per_second(), 500);
}

TEST_F(PacingTest, ARestartPlansForTheRest) {
  Populate(100);
  const auto first = Pacing(20, clock_, metrics_).PlansFor(Of(State(2, kB)), workloads_).everybody;
  clock_.Advance(absl::Seconds(5));
  for (int i = 0; i < 100; ++i) workloads_[{absl::StrCat("w", i), "i", ""}].leaf.authority = kB;
  const auto rest = Pacing(20, clock_, metrics_).PlansFor(Of(State(2, kB)), workloads_).everybody;
  EXPECT_EQ(rest->window.length, absl::Seconds(5));
  EXPECT_EQ(rest->eta(), first->eta());
}

TEST_F(PacingTest, APlanThatWasMadeByAClockThatWasAheadIsMadeAnew) {
  Populate(100);
  Pacing pacing(20, clock_, metrics_);
  clock_.StepWallClock(absl::Hours(24 * 7));
  ASSERT_EQ(pacing.PlansFor(Of(State(2, kB)), workloads_).everybody->window.start, clock_.Now());
  EXPECT_FALSE(pacing.DropPlansOfTheFuture());
  clock_.StepWallClock(-absl::Hours(24 * 7));
  EXPECT_TRUE(pacing.DropPlansOfTheFuture());
  const auto plan = pacing.PlansFor(Of(State(2, kB)), workloads_).everybody;
  EXPECT_EQ(plan->window.start, TestNow());
  EXPECT_EQ(plan->leaves, 200);
  EXPECT_FALSE(pacing.DropPlansOfTheFuture());
}

TEST_F(PacingTest, ThePlanTravels) {
  Populate(100);
  Pacing pacing(20, clock_, metrics_);
  const auto plan = pacing.PlansFor(Of(State(2, kB)), workloads_).everybody;
  const fleet::v1::TrustUpdate update =
      UpdateOf(State(2, kB), plan, *trust::AuthorityId::Parse(kB));
  const trust::AuthorityId a = *trust::AuthorityId::Parse(kA);
  EXPECT_EQ(update.renewal().authority_id(), kB);
  EXPECT_EQ(update.renewal().start().seconds(), absl::ToUnixSeconds(TestNow()));
  EXPECT_EQ(update.renewal().window().seconds(), 10);
  EXPECT_EQ(update.renewal().expiry_bounds_size(), 16);
  EXPECT_FALSE(UpdateOf(State(1, kA), std::nullopt, a).has_renewal());
  // Nobody is to be replaced: the directive stays, for whoever still holds something else.
  const auto none = pacing.PlansFor(Of(State(3, kA)), {}).everybody;
  EXPECT_EQ(UpdateOf(State(3, kA), none, a).renewal().authority_id(), kA);
  EXPECT_FALSE(UpdateOf(State(3, kA), none, a).renewal().has_window());
}

}  // namespace
}  // namespace capstan::server
