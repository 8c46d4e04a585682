// SPDX-License-Identifier: Apache-2.0
// What handshakes have to have shown before a workload counts as proven.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fleet/standing.h"

namespace capstan::fleet {
namespace {

using ::testing::HasSubstr;
using Verdict = Probe::Verdict;

const absl::Time kNow = absl::FromUnixSeconds(1'747'068'500);

Probe Of(const std::string& authority, Verdict verdict, const std::string& detail = "") {
  Probe probe;
  probe.target = "127.0.0.1:15006";
  probe.authority = authority;
  probe.verdict = verdict;
  probe.detail = detail;
  if (verdict != Verdict::kUnspecified) probe.at = kNow;
  return probe;
}

Standing With(std::vector<Probe> probes, const Target& target) {
  Workload workload;
  workload.generation = 1;
  workload.report = Report{.probes = std::move(probes)};
  return StandingOf(workload, target, kNow);
}

const Target kAccepted{.bundle = {"lineage", 2}, .authorities = {"bb"}, .accepted = "bb"};
const Target kRefused{.bundle = {"lineage", 3}, .authorities = {"bb"}, .refused = "aa"};

TEST(ProofTest, WithoutTargetsThereIsNothingToProve) {
  const Standing standing = With({}, kAccepted);
  EXPECT_FALSE(standing.probed);
  EXPECT_EQ(standing.proven, "");
}

TEST(ProofTest, WhatWasNotTriedYetIsWaitedFor) {
  // A target that the agent has not been asked about, and then one that it is about to try.
  for (const std::vector<Probe>& probes :
       {std::vector<Probe>{Of("", Verdict::kUnspecified)},
        {Of("aa", Verdict::kUnspecified), Of("bb", Verdict::kUnspecified, "no certificate")},
        {Of("aa", Verdict::kAccepted), Of("bb", Verdict::kUnspecified, "no certificate")}}) {
    const Standing standing = With(probes, kAccepted);
    EXPECT_TRUE(standing.probed);
    EXPECT_THAT(standing.proven,
                HasSubstr("no handshake with 127.0.0.1:15006 under authority bb yet"));
  }
  EXPECT_THAT(With({Of("bb", Verdict::kUnspecified, "no certificate")}, kAccepted).proven,
              HasSubstr("yet: no certificate"));
}

TEST(ProofTest, AcceptedIsProvenAndDistrustIsSaid) {
  EXPECT_EQ(With({Of("aa", Verdict::kAccepted), Of("bb", Verdict::kAccepted)}, kAccepted).proven,
            "");
  EXPECT_THAT(
      With({Of("aa", Verdict::kAccepted), Of("bb", Verdict::kUnknownCa, "alert 48")}, kAccepted)
          .proven,
      HasSubstr("alert 48"));
}

TEST(ProofTest, WhereTheControlIsNotAcceptedNothingIsSaidAboutTrust) {
  for (const Verdict verdict :
       {Verdict::kUnknownCa, Verdict::kRefused, Verdict::kSilent, Verdict::kUnreachable}) {
    const Standing standing = With({Of("aa", verdict), Of("bb", verdict)}, kAccepted);
    EXPECT_FALSE(standing.probed);
    EXPECT_EQ(standing.proven, "");
  }
}

TEST(ProofTest, ARefusalIsWaitedForWhileItCanBeTried) {
  const Probe control = Of("bb", Verdict::kAccepted);
  EXPECT_THAT(With({control, Of("aa", Verdict::kUnspecified)}, kRefused).proven,
              HasSubstr("no handshake with 127.0.0.1:15006 under authority aa yet"));
  EXPECT_THAT(With({control, Of("aa", Verdict::kAccepted)}, kRefused).proven,
              HasSubstr("still accepted"));
  EXPECT_EQ(With({control, Of("aa", Verdict::kUnknownCa)}, kRefused).proven, "");
  EXPECT_EQ(With({control}, kRefused).proven, "") << "no certificate was left to try it with";
}

Target CanaryTarget() {
  Target target = kAccepted;
  target.canary = *trust::Canary::Parse("namespace=web");
  return target;
}

TEST(HarmTest, OnlyWhatItsAgentServesOfTheNewAuthorityCanBeRefusedInItsName) {
  Workload workload;
  workload.generation = 1;
  Consumer envoy{.id = "e", .kind = ConsumerKind::kEnvoy, .connected = true};
  envoy.acknowledged_at = kNow - absl::Minutes(1);
  envoy.last_nack = Nack{"default", "key values mismatch", kNow};
  workload.report = Report{.leaf = {"01", "aa", kNow, kNow + absl::Hours(1)}, .consumers = {envoy}};
  EXPECT_EQ(StandingOf(workload, CanaryTarget(), kNow, true).harm, "");
  workload.report->leaf.authority = "bb";
  EXPECT_THAT(StandingOf(workload, CanaryTarget(), kNow, true).harm,
              HasSubstr("refused default: key values mismatch"));
  EXPECT_EQ(StandingOf(workload, CanaryTarget(), kNow, false).harm, "");
  EXPECT_EQ(StandingOf(workload, kAccepted, kNow).harm, "");
  workload.report->consumers[0].acknowledged_at = kNow + absl::Seconds(1);
  EXPECT_EQ(StandingOf(workload, CanaryTarget(), kNow, true).harm, "");
}

TEST(HarmTest, DistrustOfTheNewAuthorityIsHarmWhereTheControlIsAccepted) {
  const auto harm = [](Verdict control, Verdict asked, bool selected) {
    Workload workload;
    workload.generation = 1;
    workload.report = Report{.probes = {Of("aa", control), Of("bb", asked, "alert 48")}};
    for (Probe& probe : workload.report->probes) probe.bundle = kAccepted.bundle;
    return StandingOf(workload, CanaryTarget(), kNow, selected).harm;
  };
  EXPECT_THAT(harm(Verdict::kAccepted, Verdict::kUnknownCa, true), HasSubstr("alert 48"));
  EXPECT_THAT(harm(Verdict::kAccepted, Verdict::kUnknownCa, false), HasSubstr("alert 48"));
  EXPECT_NE(harm(Verdict::kAccepted, Verdict::kRefused, true), "");
  EXPECT_EQ(harm(Verdict::kAccepted, Verdict::kRefused, false), "");
  EXPECT_EQ(harm(Verdict::kUnknownCa, Verdict::kUnknownCa, true), "");
  EXPECT_EQ(harm(Verdict::kAccepted, Verdict::kSilent, true), "");
  EXPECT_EQ(harm(Verdict::kAccepted, Verdict::kAccepted, true), "");
}

TEST(HarmTest, WhoOnlyHasToTrustIsCompleteWithoutTheNewLeaf) {
  Standing standing;
  standing.moved = "its leaf is of authority aa";
  EXPECT_FALSE(Complete(standing, kAccepted));
  EXPECT_TRUE(Complete(standing, CanaryTarget()));
  standing.canary = true;
  EXPECT_FALSE(Complete(standing, CanaryTarget()));
}

}  // namespace
}  // namespace capstan::fleet
