// SPDX-License-Identifier: Apache-2.0
// docs/rotation.md's runbook has a row for every reason that a rotation gives for not going on. The
// list below is both: what the page must have, and what the code may say. Whatever random
// workloads, tokens, clocks and timers make the code say has to be in it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
// After GoogleTest, which it needs but does not include.
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "base/strings.h"
#include "fleet/standing.h"
#include "rotation/canary.h"
#include "rotation/machine.h"
#include "rotation/schedule.h"
#include "server/observe.h"
#include "trust/testing.h"

namespace capstan::server {
namespace {

using ::testing::HasSubstr;
using trust::testing::TestNow;

const std::vector<std::string>& Reasons() {
  static const auto& reasons = *new std::vector<std::string>{
      // laggard
      "its agent has not taken the bundle of sequence ",
      "its agent has not reported yet",
      "has not acknowledged the bundle",
      "has not acknowledged the leaf ",
      "no consumer is connected to its agent",
      "its leaf is of authority ",
      "its agent's certificate is of authority ",
      "its agent has no leaf yet",
      "its leaf expired at",
      "its agent's certificate expired at",
      "was shown a leaf of authority ",
      // absent
      "its agent is not connected; last seen at",
      "its agent never connected",
      // unproven
      "no handshake with ",
      "a handshake with ",
      "is still accepted",
      "no handshake can reach it, and proof is required (--require proven)",
      // join-file, foreign, unrecorded
      "an unused join file for ",
      "the root was there before Capstan: others may have signed leaves under it",
      "it is declared (foreign-signers) to sign under root ",
      "capstand ended without warning before the records of its last leaves were written",
      "the join tokens cannot be read from the state: ",
      // bootstrap
      "does not hold bundle ",
      "that kubelet takes to bring it to its pods",
      "are not known yet: ",
      "are not written for bundle ",
      "cannot be followed: ",
      "is not known yet: ",
      "is not written for bundle ",
      // clock
      "no agent is connected that would confirm",
      "the control plane's clock is ",
      // canary
      "holds an unexpired leaf",
      "its Envoy refused the certificate of a peer ",
      "refused default: ",
      "tell no failed handshakes",
      "the canary does harm; ",
      // the gate itself, and who was passed over
      "the next step takes nothing away from anybody",
      "every condition holds",
      "soaking for another ",
      "paused by the operator",
      "absent for longer than the deadline of ",
      "excluded by the operator: ",
      // pacing
      "put off by the control plane (",
      // timer
      "rotation-timer is announce",
      "is followed and cannot be written",
      "the key of the root is not here, so the intermediate has to be signed where it is",
      "the next one is begun by hand",
      "what was wished last is not done yet",
      "is running",
      "the control plane's clock is not confirmed by its agents'",
      "the next maintenance window opens at ",
      "nothing that is on a timer can be due: the intermediates end with their root",
  };
  return reasons;
}

bool IsKnown(const std::string& why) {
  return std::any_of(Reasons().begin(), Reasons().end(), [&](const std::string& reason) {
    return absl::StrContains(why, absl::StripSuffix(reason, " "));
  });
}

TEST(Runbook, HasARowForEveryReason) {
  const absl::StatusOr<std::string> page =
      ReadFile(absl::StrCat(CAPSTAN_SOURCE_DIR, "/docs/rotation.md"));
  ASSERT_TRUE(page.ok()) << page.status();
  std::vector<std::string> symptoms;
  bool here = false;
  for (const auto line : absl::StrSplit(*page, '\n')) {
    if (absl::StartsWith(line, "#")) here = line == "## Runbook";
    if (!here || !absl::StartsWith(line, "| ")) continue;
    const std::vector<std::string> cells = absl::StrSplit(line, " | ");
    EXPECT_EQ(cells.size(), 3u) << line;  // symptom, cause, remedy
    symptoms.push_back(cells[0]);
  }
  for (const std::string& reason : Reasons()) {
    const bool there = std::any_of(symptoms.begin(), symptoms.end(), [&](const std::string& row) {
      return absl::StrContains(row, absl::StripSuffix(reason, " "));
    });
    EXPECT_TRUE(there) << "no row of the runbook has: " << reason;
  }
}

TEST(Runbook, EveryReasonIsOneThatTheCodeGives) {
  std::string sources;
  for (const char* file :
       {"fleet/standing.cc", "lifecycle/machine.cc", "rotation/canary.cc", "rotation/machine.cc",
        "rotation/schedule.cc", "server/canary_view.cc", "server/control_plane.cc",
        "server/control_plane_timer.cc", "server/foreign_signers.cc", "server/observe.cc",
        "cluster/cluster_trust_bundle.cc", "cluster/root_config_maps.cc", "cluster/upkeep.cc",
        "server/trust_keeper.cc", "server/trust_walk.cc"}) {
    const absl::StatusOr<std::string> source =
        ReadFile(absl::StrCat(CAPSTAN_SOURCE_DIR, "/src/", file));
    ASSERT_TRUE(source.ok()) << source.status();
    for (const auto line : absl::StrSplit(*source, '\n')) {
      absl::StrAppend(&sources, absl::StripAsciiWhitespace(line));
    }
  }
  // Literals that go on in the next line are one.
  sources = absl::StrReplaceAll(sources, {{"\"\"", ""}});
  for (const std::string& reason : Reasons()) {
    // Put together from parts.
    if (reason == "its agent's certificate is of authority " || reason == "its leaf expired at" ||
        reason == "its agent has no leaf yet" || reason == "its leaf is of authority " ||
        reason == "its agent's certificate expired at" || reason == "refused default: ") {
      continue;
    }
    EXPECT_TRUE(absl::StrContains(sources, reason)) << "no code says: " << reason;
  }
}

// ── What random things make the code say ─────────────────────────────────────────────────────────

std::string GenAuthority() {
  return *rc::gen::element<std::string>("aa", "bb");
}

trust::BundleVersion GenVersion() {
  return *rc::gen::element<trust::BundleVersion>(trust::BundleVersion{},
                                                 trust::BundleVersion{"lineage", 4},
                                                 trust::BundleVersion{"lineage", 5});
}

absl::Time GenTime() {
  return TestNow() + absl::Minutes(*rc::gen::inRange(-2, 3));
}

fleet::Leaf GenLeaf() {
  if (*rc::gen::inRange(0, 4) == 0) return {};
  return {*rc::gen::element<std::string>("01", "02"), GenAuthority(), TestNow() - absl::Hours(1),
          GenTime()};
}

fleet::Consumer GenConsumer() {
  fleet::Consumer consumer;
  consumer.id = "c";
  consumer.kind = *rc::gen::element(fleet::ConsumerKind::kEnvoy, fleet::ConsumerKind::kFiles);
  consumer.connected = *rc::gen::inRange(0, 4) != 0;
  consumer.acknowledged_bundle = GenVersion();
  consumer.acknowledged_leaf_serial = *rc::gen::element<std::string>("", "01", "02");
  consumer.acknowledged_at = GenTime();
  if (*rc::gen::arbitrary<bool>()) consumer.last_nack = fleet::Nack{"default", "words", GenTime()};
  return consumer;
}

fleet::Probe GenProbe() {
  using Verdict = fleet::Probe::Verdict;
  return {*rc::gen::element<std::string>("here:1", "there:2"),
          GenAuthority(),
          *rc::gen::element(Verdict::kUnspecified, Verdict::kAccepted, Verdict::kUnknownCa,
                            Verdict::kRefused, Verdict::kSilent, Verdict::kUnreachable),
          "detail",
          GenTime(),
          GenVersion(),
          GenLeaf()};
}

fleet::Workload GenWorkload() {
  fleet::Workload workload;
  workload.leaf = GenLeaf();
  workload.credential = GenLeaf();
  workload.generation = *rc::gen::inRange(0, 4);
  if (*rc::gen::arbitrary<bool>()) workload.last_seen = GenTime();
  if (*rc::gen::inRange(0, 6) == 0) return workload;
  fleet::Report report;
  report.leaf = GenLeaf();
  report.credential = GenLeaf();
  report.bundle = GenVersion();
  report.last_error = *rc::gen::element<std::string>("", "put off by the control plane (come)");
  for (int i = *rc::gen::inRange(0, 3); i > 0; --i) report.consumers.push_back(GenConsumer());
  for (int i = *rc::gen::inRange(0, 4); i > 0; --i) report.probes.push_back(GenProbe());
  workload.report = std::move(report);
  return workload;
}

RC_GTEST_PROP(RunbookProperty, WhateverAWorkloadLacksIsOnThePage, ()) {
  const fleet::Workload workload = GenWorkload();
  fleet::Target target;
  target.bundle = {"lineage", 5};
  target.authorities = {"bb"};
  if (*rc::gen::arbitrary<bool>()) target.accepted = "bb";
  if (*rc::gen::arbitrary<bool>()) target.refused = "aa";
  if (*rc::gen::arbitrary<bool>()) target.canary = *trust::Canary::Parse("percent=10");
  const fleet::Standing standing =
      fleet::StandingOf(workload, target, TestNow(), *rc::gen::arbitrary<bool>());
  for (const std::string* why :
       {&standing.agent, &standing.trusts, &standing.moved, &standing.proven, &standing.harm}) {
    if (!why->empty() && !IsKnown(*why)) RC_FAIL("not on the page: " + *why);
  }
}

TEST(Runbook, WhatHoldsAGateBesidesWorkloadsIsOnThePage) {
  rotation::Observation seen;
  seen.anybody = true;
  EXPECT_TRUE(IsKnown(rotation::ClockDoubt(seen, {})));
  for (absl::Duration offset : {absl::Hours(1), -absl::Hours(1)}) {
    seen.clock_offset = offset;
    EXPECT_TRUE(IsKnown(rotation::ClockDoubt(seen, {})));
  }
  EXPECT_TRUE(IsKnown(rotation::RiseOver({1, 0}, 3, absl::Hours(1))));
  EXPECT_TRUE(IsKnown(rotation::RiseOver({1, 2}, 30, absl::Hours(1))));
  EXPECT_TRUE(IsKnown(rotation::UntoldText(3)));
  rotation::Gate gate{.kind = rotation::GateKind::kCanary, .bundle = {"lineage", 5}};
  gate.canary = *trust::Canary::Parse("percent=10");
  for (const rotation::Holder& holder : ObservationOf({}, gate).holders) {
    EXPECT_TRUE(IsKnown(holder.why)) << holder.why;
  }
  for (const rotation::Holder& holder : JoinFileHolders({{.hash = "h", .sequence = 4}}, gate)) {
    EXPECT_TRUE(IsKnown(holder.why)) << holder.why;
  }
}

// Every kind of holder has a row that begins with it, but for the workloads' own kinds, whose
// reasons are what is looked up.
TEST(Runbook, EveryKindOfHolderIsOnThePage) {
  using Kind = rotation::Holder::Kind;
  const absl::StatusOr<std::string> page =
      ReadFile(absl::StrCat(CAPSTAN_SOURCE_DIR, "/docs/rotation.md"));
  ASSERT_TRUE(page.ok()) << page.status();
  for (Kind kind : {Kind::kLaggard, Kind::kAbsent, Kind::kUnproven, Kind::kJoinFile, Kind::kForeign,
                    Kind::kUnrecorded, Kind::kBootstrap, Kind::kClock, Kind::kCanary}) {
    EXPECT_THAT(*page, HasSubstr(absl::StrCat("\n| **", rotation::HolderKindName(kind), "**")));
  }
}

RC_GTEST_PROP(RunbookProperty, WhateverATimerWaitsForIsOnThePage, ()) {
  static const auto& pki = *new trust::testing::TestPki(trust::testing::TestPki::Make("a"));
  rotation::TimerPolicy policy;
  policy.mode = *rc::gen::element(rotation::TimerMode::kAnnounce, rotation::TimerMode::kRotate);
  policy.root_at = *rc::gen::element(0.0, 0.000001, 0.5);
  policy.intermediate_at = *rc::gen::element(0.0, 0.000001, 0.5);
  if (*rc::gen::arbitrary<bool>()) {
    policy.windows = {*rotation::MaintenanceWindow::Parse("Sun 02:00-02:01 UTC")};
  }
  rotation::TimerFacts facts{.issuer = pki.authority()};
  facts.root_key = *rc::gen::arbitrary<bool>();
  facts.source = *rc::gen::element<std::string>("", "/etc/cacerts");
  facts.turned_back = *rc::gen::element<std::string>(
      "", "rotation 3 was turned back (aborted): the next one is begun by hand");
  facts.not_now = *rc::gen::element<std::string>("", "rotation 3 is running");
  const rotation::TimerDecision decision = rotation::DecideTimer(policy, facts, TestNow());
  using Action = rotation::TimerDecision::Action;
  const bool waits = decision.action == Action::kWait || decision.action == Action::kAnnounce;
  if (waits && !IsKnown(decision.why)) RC_FAIL("not on the page: " + decision.why);
}

}  // namespace
}  // namespace capstan::server
