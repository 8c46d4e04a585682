// SPDX-License-Identifier: Apache-2.0
#include "fleet/fleet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/strings.h"

namespace capstan::fleet {
namespace {

using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

const absl::Time kNow = absl::FromUnixSeconds(1'747'068'500);

class FleetTest : public ::testing::Test {
 protected:
  Leaf LeafOf(std::string serial, std::string authority = "aa",
              absl::Duration left = absl::Hours(1)) {
    return {std::move(serial), std::move(authority), kNow - absl::Minutes(2), kNow + left};
  }
  Consumer EnvoyWith(trust::BundleVersion bundle, std::string serial) {
    Consumer consumer;
    consumer.id = "e1";
    consumer.kind = ConsumerKind::kEnvoy;
    consumer.node_id = "httpbin";
    consumer.pid = 42;
    consumer.connected = true;
    consumer.acknowledged_bundle = std::move(bundle);
    consumer.acknowledged_leaf_serial = std::move(serial);
    consumer.acknowledged_at = kNow;
    return consumer;
  }
  Report Good() {
    Report report;
    report.leaf = LeafOf("01");
    report.bundle = current_.bundle;
    report.consumers = {EnvoyWith(current_.bundle, "01")};
    return report;
  }
  Judgement JudgeWith(Report report) {
    int64_t generation = *fleet_.Connect(key_, kNow);
    EXPECT_TRUE(fleet_.Fold(key_, generation, std::move(report), kNow).ok());
    return Judge(*fleet_.Find(key_), current_, kNow);
  }

  const Key key_{"spiffe://td/a", "i1", ""};
  const Current current_{{"lineage", 4}, "aa"};
  Fleet fleet_{{.workloads = 3, .consumers_per_workload = 2}};
};

TEST_F(FleetTest, AcknowledgedNeedsEverything) {
  EXPECT_EQ(JudgeWith(Good()).grade, Grade::kAcknowledged);

  Report report = Good();
  report.bundle.sequence = 3;
  EXPECT_THAT(JudgeWith(report).why,
              HasSubstr("has not taken the bundle of sequence 4 (it has sequence 3)"));
  report = Good();
  report.leaf = {};
  report.last_error = "no route";
  EXPECT_THAT(JudgeWith(report).why,
              ::testing::AllOf(HasSubstr("no leaf yet"), HasSubstr("no route")));
  report = Good();
  report.leaf = LeafOf("01", "bb");
  EXPECT_THAT(JudgeWith(report).why, HasSubstr("of authority bb, the issuer is aa"));
  report = Good();
  report.leaf = LeafOf("01", "aa", -absl::Seconds(1));
  EXPECT_THAT(JudgeWith(report).why, HasSubstr("expired"));
  report = Good();
  report.consumers[0].acknowledged_bundle = {"lineage", 3};
  report.consumers[0].last_nack = Nack{"ROOTCA", "no such key", kNow};
  EXPECT_THAT(JudgeWith(report).why, ::testing::AllOf(HasSubstr("Envoy httpbin (pid 42)"),
                                                      HasSubstr("refused ROOTCA: no such key")));
  report = Good();
  report.consumers[0].acknowledged_leaf_serial = "00";
  EXPECT_THAT(JudgeWith(report).why, HasSubstr("has not acknowledged the leaf 01"));
  report = Good();
  report.consumers[0].connected = false;
  EXPECT_THAT(JudgeWith(report).why, HasSubstr("no consumer is connected"));
  report = Good();
  report.consumers.push_back(EnvoyWith({"lineage", 3}, "01"));
  EXPECT_EQ(JudgeWith(report).grade, Grade::kLaggard);
  // Another lineage's equal number is another bundle.
  report = Good();
  report.consumers[0].acknowledged_bundle.lineage = "other";
  EXPECT_EQ(JudgeWith(report).grade, Grade::kLaggard);
}

TEST_F(FleetTest, AReconnectStartsFromNothing) {
  JudgeWith(Good());
  int64_t generation = *fleet_.Connect(key_, kNow);
  EXPECT_EQ(Judge(*fleet_.Find(key_), current_, kNow).grade, Grade::kLaggard);
  fleet_.Disconnect(key_, generation, kNow);
  EXPECT_EQ(Judge(*fleet_.Find(key_), current_, kNow).grade, Grade::kAbsent);
}

TEST_F(FleetTest, ALaterStreamSupersedes) {
  int64_t first = *fleet_.Connect(key_, kNow);
  int64_t second = *fleet_.Connect(key_, kNow);
  EXPECT_GT(second, first);
  EXPECT_EQ(fleet_.Fold(key_, first, Good(), kNow).code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(fleet_.Fold(key_, second, Good(), kNow).ok());
  fleet_.Disconnect(key_, first, kNow);  // the old one's end says nothing
  EXPECT_TRUE(fleet_.Find(key_)->connected());
  EXPECT_EQ(fleet_.connected(), 1);
  fleet_.Disconnect(key_, second, kNow);
  EXPECT_EQ(fleet_.connected(), 0);
}

TEST_F(FleetTest, IsBounded) {
  for (const char* instance : {"1", "2", "3"}) {
    EXPECT_TRUE(
        fleet_
            .Issued({"spiffe://td/a", instance, ""}, Fleet::Purpose::kWorkload, LeafOf("01"), kNow)
            .ok());
  }
  const Key more{"spiffe://td/a", "4", ""};
  EXPECT_EQ(fleet_.Issued(more, Fleet::Purpose::kWorkload, LeafOf("01"), kNow).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(fleet_.Connect(more, kNow).ok());
  fleet_.Forget(kNow + absl::Hours(2));
  EXPECT_TRUE(fleet_.Connect(more, kNow).ok());
  Report report = Good();
  report.consumers.resize(3);
  EXPECT_EQ(fleet_.Fold(more, fleet_.Find(more)->generation, report, kNow).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(FleetTest, ThePopulationHoldsUnexpiredLeavesConnectedOrNot) {
  ASSERT_TRUE(fleet_.Issued(key_, Fleet::Purpose::kWorkload, LeafOf("01", "aa"), kNow).ok());
  ASSERT_TRUE(
      fleet_.Issued(key_, Fleet::Purpose::kAgent, LeafOf("02", "bb", absl::Minutes(1)), kNow).ok());
  ASSERT_TRUE(
      fleet_
          .Issued({"spiffe://td/b", "", "03"}, Fleet::Purpose::kWorkload, LeafOf("03", "aa"), kNow)
          .ok());
  EXPECT_EQ(fleet_.Population(kNow), 2);
  EXPECT_THAT(fleet_.UnexpiredLeaves(kNow), UnorderedElementsAre(Pair("aa", 2), Pair("bb", 1)));
  EXPECT_THAT(fleet_.UnexpiredLeaves(kNow + absl::Minutes(2)), UnorderedElementsAre(Pair("aa", 2)));
  EXPECT_EQ(fleet_.Population(kNow + absl::Hours(1)), 0);
}

class TallyTest : public FleetTest {
 protected:
  TallyTest() { fleet_.Measure(target_, kNow); }

  // A workload that issued itself a leaf of `authority` and reports it acknowledged with `bundle`.
  int64_t Join(const Key& key, const std::string& authority, int64_t sequence) {
    Leaf leaf = LeafOf("01", authority);
    EXPECT_TRUE(fleet_.Issued(key, Fleet::Purpose::kWorkload, leaf, kNow).ok());
    const int64_t generation = *fleet_.Connect(key, kNow);
    EXPECT_TRUE(fleet_.Fold(key, generation, ReportOf(leaf, sequence), kNow).ok());
    return generation;
  }
  Report ReportOf(const Leaf& leaf, int64_t sequence) {
    Report report;
    report.leaf = report.credential = leaf;
    report.bundle = {"lineage", sequence};
    report.consumers = {EnvoyWith(report.bundle, leaf.serial)};
    report.agent_time = kNow;
    return report;
  }
  static Probe ProbeOf(std::string authority, Probe::Verdict verdict, std::string served = "") {
    Probe probe{"127.0.0.1:1", std::move(authority), verdict, "as a test says", kNow};
    if (!served.empty()) probe.served = {"01", std::move(served), kNow, kNow + absl::Hours(1)};
    return probe;
  }

  Target target_{.bundle = {"lineage", 4}, .authorities = {"bb"}};
  const Key one_{"spiffe://td/a", "i1", ""};
  const Key two_{"spiffe://td/b", "i1", ""};
};

TEST_F(TallyTest, FollowsEveryChange) {
  Join(one_, "aa", 3);
  Tally tally = fleet_.TallyAt(kNow);
  EXPECT_EQ(tally.population, 1);
  EXPECT_EQ(tally.connected, 1);
  EXPECT_EQ(tally.trusting, 0);
  EXPECT_THAT(tally.lacking.at(one_).trusts, HasSubstr("has not taken the bundle"));
  EXPECT_THAT(tally.lacking.at(one_).moved, HasSubstr("of authority aa"));

  int64_t generation = *fleet_.Connect(one_, kNow);
  ASSERT_TRUE(fleet_.Fold(one_, generation, ReportOf(LeafOf("02", "aa"), 4), kNow).ok());
  EXPECT_EQ(fleet_.TallyAt(kNow).trusting, 1);
  EXPECT_EQ(fleet_.TallyAt(kNow).moved, 0);
  ASSERT_TRUE(fleet_.Fold(one_, generation, ReportOf(LeafOf("03", "bb"), 4), kNow).ok());
  EXPECT_EQ(fleet_.TallyAt(kNow).moved, 1);
  EXPECT_TRUE(fleet_.TallyAt(kNow).lacking.empty());

  // Absent: it holds a gate on trust, but what its Envoy accepted last stays accepted.
  fleet_.Disconnect(one_, generation, kNow);
  EXPECT_EQ(fleet_.TallyAt(kNow).connected, 0);
  EXPECT_EQ(fleet_.TallyAt(kNow).trusting, 0);
  EXPECT_EQ(fleet_.TallyAt(kNow).moved, 1);
  EXPECT_THAT(fleet_.TallyAt(kNow).lacking.at(one_).trusts, HasSubstr("not connected"));
}

TEST_F(TallyTest, WhoConnectsAnewIsJudgedByWhatItToldLastToo) {
  int64_t generation = Join(one_, "bb", 4);
  const auto lacking = [&] { return fleet_.TallyAt(kNow).lacking.at(one_); };
  const auto expect = [&](bool trusted, bool moved) {
    EXPECT_EQ(lacking().trusted_last, trusted);
    EXPECT_EQ(lacking().moved_last, moved);
  };
  generation = *fleet_.Connect(one_, kNow);
  EXPECT_THAT(lacking().trusts, HasSubstr("not reported yet"));
  expect(true, true);
  fleet_.Disconnect(one_, generation, kNow);
  expect(true, true);
  generation = *fleet_.Connect(one_, kNow);
  ASSERT_TRUE(fleet_.Fold(one_, generation, ReportOf(LeafOf("02", "aa"), 4), kNow).ok());
  EXPECT_FALSE(lacking().trusted_last) << "it is heard of";
  generation = *fleet_.Connect(one_, kNow);
  expect(true, false);
  ASSERT_TRUE(fleet_.Fold(one_, generation, ReportOf(LeafOf("03", "bb"), 3), kNow).ok());
  fleet_.Disconnect(one_, generation, kNow);
  expect(false, true);
  // One that was never heard of.
  ASSERT_TRUE(fleet_.Issued(two_, Fleet::Purpose::kWorkload, LeafOf("01", "bb"), kNow).ok());
  ASSERT_TRUE(fleet_.Connect(two_, kNow).ok());
  EXPECT_FALSE(fleet_.TallyAt(kNow).lacking.at(two_).trusted_last);
}

TEST_F(TallyTest, ProofIsAskedOfWhatWasToldLastAsWell) {
  target_.accepted = "bb";
  fleet_.Measure(target_, kNow);
  int64_t generation = Join(one_, "bb", 4);
  Report report = ReportOf(LeafOf("01", "bb"), 4);
  report.probes = {ProbeOf("bb", Probe::Verdict::kUnknownCa),
                   ProbeOf("aa", Probe::Verdict::kAccepted)};
  ASSERT_TRUE(fleet_.Fold(one_, generation, report, kNow).ok());
  fleet_.Disconnect(one_, generation, kNow);
  EXPECT_FALSE(fleet_.TallyAt(kNow).lacking.at(one_).trusted_last);
}

TEST_F(TallyTest, TheAgentsOwnCertificateMovesToo) {
  const int64_t generation = Join(one_, "bb", 4);
  Report report = ReportOf(LeafOf("01", "bb"), 4);
  report.credential = LeafOf("02", "aa");
  ASSERT_TRUE(fleet_.Fold(one_, generation, report, kNow).ok());
  EXPECT_EQ(fleet_.TallyAt(kNow).moved, 0);
  EXPECT_THAT(fleet_.TallyAt(kNow).lacking.at(one_).moved,
              HasSubstr("agent's certificate is of authority aa"));
}

TEST_F(TallyTest, TheAbsentCountUntilTheirLastLeafExpires) {
  ASSERT_TRUE(fleet_.Issued(one_, Fleet::Purpose::kWorkload, LeafOf("01", "aa"), kNow).ok());
  EXPECT_EQ(fleet_.TallyAt(kNow).population, 1);
  EXPECT_EQ(fleet_.TallyAt(kNow).lacking.at(one_).until, kNow + absl::Hours(1));
  EXPECT_EQ(fleet_.TallyAt(kNow + absl::Hours(1)).population, 0);
  EXPECT_TRUE(fleet_.TallyAt(kNow + absl::Hours(1)).lacking.empty());
  // The clock was ahead, and is set back.
  EXPECT_EQ(fleet_.TallyAt(kNow).population, 1);
  EXPECT_EQ(fleet_.TallyAt(kNow).lacking.count(one_), 1u);
}

// On record is the new leaf; whether its Envoy ever got it nobody knows.
TEST_F(TallyTest, AnAbsentOneOfWhichOnlyTheNewLeafIsOnRecordMayShowAnOlderOne) {
  target_.others_expire = kNow + absl::Hours(5);
  fleet_.Measure(target_, kNow);
  fleet_.Restore(one_, Fleet::Purpose::kWorkload, LeafOf("02", "bb"), {"envoy"}, kNow);
  EXPECT_FALSE(fleet_.TallyAt(kNow).lacking.at(one_).moved.empty());
  EXPECT_EQ(fleet_.TallyAt(kNow).lacking.at(one_).until, kNow + absl::Hours(5));
}

TEST_F(TallyTest, AnotherTargetMeasuresEverybodyAnew) {
  Join(one_, "aa", 4);
  Join(two_, "bb", 4);
  EXPECT_EQ(fleet_.TallyAt(kNow).moved, 1);
  fleet_.Measure({.bundle = {"lineage", 4}, .authorities = {"aa", "bb"}}, kNow);
  EXPECT_EQ(fleet_.TallyAt(kNow).moved, 2);
  fleet_.Measure({.bundle = {"lineage", 5}, .authorities = {"bb"}}, kNow);
  EXPECT_EQ(fleet_.TallyAt(kNow).trusting, 0);
  EXPECT_EQ(fleet_.TallyAt(kNow).population, 2);
}

TEST_F(TallyTest, WhatHandshakesShow) {
  target_.accepted = "bb";
  fleet_.Measure(target_, kNow);
  const int64_t generation = Join(one_, "bb", 4);
  Report report = ReportOf(LeafOf("01", "bb"), 4);
  const auto standing = [&](std::vector<Probe> probes) {
    report.probes = std::move(probes);
    EXPECT_TRUE(fleet_.Fold(one_, generation, report, kNow).ok());
    const Tally& tally = fleet_.TallyAt(kNow);
    return tally.lacking.contains(one_) ? tally.lacking.at(one_) : Standing();
  };
  using Verdict = Probe::Verdict;
  EXPECT_EQ(standing({}).proven, "");
  EXPECT_EQ(fleet_.TallyAt(kNow).proven, 0);
  EXPECT_THAT(standing({ProbeOf("aa", Verdict::kAccepted)}).proven, HasSubstr("no handshake"));
  EXPECT_THAT(
      standing({ProbeOf("aa", Verdict::kAccepted), ProbeOf("bb", Verdict::kUnknownCa)}).proven,
      HasSubstr("as a test says"));
  // Where the control is refused too, it says nothing about trust.
  EXPECT_EQ(
      standing({ProbeOf("aa", Verdict::kUnreachable), ProbeOf("bb", Verdict::kUnreachable)}).proven,
      "");
  EXPECT_EQ(fleet_.TallyAt(kNow).proven, 0);
  EXPECT_EQ(
      standing({ProbeOf("aa", Verdict::kAccepted), ProbeOf("bb", Verdict::kAccepted, "bb")}).proven,
      "");
  EXPECT_EQ(fleet_.TallyAt(kNow).proven, 1);
  // Acknowledged is not shown: the handshake was shown a leaf of the old authority.
  EXPECT_THAT(
      standing({ProbeOf("aa", Verdict::kAccepted), ProbeOf("bb", Verdict::kAccepted, "aa")}).moved,
      HasSubstr("was shown a leaf of authority aa"));
  target_.proof_required = true;
  fleet_.Measure(target_, kNow);
  standing({});
  EXPECT_TRUE(fleet_.TallyAt(kNow).lacking.contains(one_));
}

TEST_F(TallyTest, TheMedianOfClocksThatToldLately) {
  EXPECT_EQ(fleet_.ClockOffset(kNow), std::nullopt);
  const int64_t generation = Join(one_, "aa", 4);
  EXPECT_EQ(fleet_.ClockOffset(kNow), absl::ZeroDuration());
  Report report = ReportOf(LeafOf("01", "aa"), 4);
  report.agent_time = kNow + absl::Minutes(3);
  ASSERT_TRUE(fleet_.Fold(one_, generation, report, kNow).ok());
  EXPECT_EQ(fleet_.ClockOffset(kNow), absl::Minutes(3));
  // Our own clock jumped: what was told before says nothing now.
  EXPECT_EQ(fleet_.ClockOffset(kNow + absl::Hours(24 * 7)), std::nullopt);
  EXPECT_EQ(fleet_.ClockOffset(kNow - absl::Hours(1)), std::nullopt);
}

TEST(FleetCanaryTest, ItsSumsAreOfTheSelectedAndOfWhatOthersTell) {
  Fleet fleet({});
  const Target target{.bundle = {"lineage", 2},
                      .authorities = {"bb"},
                      .canary = *trust::Canary::Parse("namespace=web")};
  const auto report = [&](const std::string& ns, std::optional<int64_t> failed, absl::Time now) {
    const Key key{absl::StrCat("spiffe://td/ns/", ns, "/sa/s"), "i", ""};
    const int64_t generation = *fleet.Connect(key, now);
    Report told{.leaf = {"01", "bb", kNow, kNow + absl::Hours(1)}};
    told.failed_verifications = failed;
    EXPECT_TRUE(fleet.Fold(key, generation, told, now).ok());
    return key;
  };
  fleet.Measure(target, kNow);
  report("web", 5, kNow);
  const Key other = report("other", 3, kNow);
  report("dumb", std::nullopt, kNow);
  const Tally& tally = fleet.TallyAt(kNow);
  EXPECT_EQ(tally.canary, 1);
  EXPECT_EQ(tally.untold, 1);
  ASSERT_EQ(tally.failed.size(), 1u);
  EXPECT_EQ(tally.failed.at(other), 3);
  // What was told first is kept over connections, until the count begins anew.
  report("other", 4, kNow + absl::Minutes(1));
  EXPECT_EQ(fleet.Find(other)->first_failed->failed, 3);
  report("other", 1, kNow + absl::Minutes(2));
  EXPECT_EQ(fleet.Find(other)->first_failed->failed, 1);
  EXPECT_EQ(fleet.TallyAt(kNow).failed.at(other), 1);
}

// A stock agent says which bundle it took. What it serves is what was issued to it last.
TEST_F(FleetTest, AStockAgentIsAcknowledgedByItsWordAndItsRecord) {
  Consumer stock;
  stock.id = "stock";
  stock.kind = ConsumerKind::kStockAgent;
  stock.node_id = "sidecar~127.0.0.1~httpbin-1.httpbin~httpbin.svc.cluster.local";
  stock.connected = true;
  stock.acknowledged_bundle = current_.bundle;
  Report report;
  report.bundle = current_.bundle;
  report.consumers = {stock};
  EXPECT_THAT(JudgeWith(report).why, HasSubstr("has no leaf yet"));

  ASSERT_TRUE(fleet_.Issued(key_, Fleet::Purpose::kWorkload, LeafOf("01", "bb"), kNow).ok());
  EXPECT_THAT(Judge(*fleet_.Find(key_), current_, kNow).why, HasSubstr("is of authority bb"));
  ASSERT_TRUE(fleet_.Issued(key_, Fleet::Purpose::kWorkload, LeafOf("02"), kNow).ok());
  EXPECT_EQ(Judge(*fleet_.Find(key_), current_, kNow).grade, Grade::kAgentAcknowledged);
  EXPECT_EQ(GradeName(Grade::kAgentAcknowledged), "agent-acknowledged");

  report.bundle = report.consumers[0].acknowledged_bundle = {"lineage", 3};
  EXPECT_THAT(JudgeWith(report).why,
              HasSubstr("has not taken the bundle of sequence 4 (it has sequence 3)"));
}

// A stock agent whose roots come from elsewhere, and with each certificate.
TEST_F(FleetTest, WhoIsToldWithACertificateIsKnownByTheLastOne) {
  const auto issue = [&](const char* serial, const char* authority, int64_t told) {
    Leaf leaf = LeafOf(serial, authority);
    leaf.told = told;
    ASSERT_TRUE(fleet_.Issued(key_, Fleet::Purpose::kWorkload, leaf, kNow).ok());
  };
  const Target target{.bundle = current_.bundle, .authorities = {"aa"}};
  issue("01", "bb", 3);
  Standing standing = StandingOf(*fleet_.Find(key_), target, kNow);
  EXPECT_TRUE(standing.counted);
  EXPECT_FALSE(standing.connected);
  EXPECT_THAT(standing.trusts, HasSubstr("told the bundle of sequence 3 with its last cert"));
  EXPECT_EQ(standing.agent, standing.trusts);
  EXPECT_THAT(standing.moved, HasSubstr("its leaf is of authority bb"));
  EXPECT_EQ(Judge(*fleet_.Find(key_), current_, kNow).grade, Grade::kAbsent);

  issue("02", "bb", 4);
  standing = StandingOf(*fleet_.Find(key_), target, kNow);
  EXPECT_EQ(standing.trusts, "");
  EXPECT_THAT(standing.moved, HasSubstr("its leaf is of authority bb"));

  issue("03", "aa", 4);
  EXPECT_TRUE(Complete(StandingOf(*fleet_.Find(key_), target, kNow), target));
  EXPECT_EQ(Judge(*fleet_.Find(key_), current_, kNow).grade, Grade::kTold);
  EXPECT_THAT(StandingOf(*fleet_.Find(key_), target, kNow + absl::Hours(2)).trusts,
              HasSubstr("not connected; last seen"))
      << "an expired leaf tells of nobody";
}

// Once it speaks for itself, that counts: what it was told may be older.
TEST_F(FleetTest, WhoConnectsIsNotKnownByWhatItWasTold) {
  Leaf leaf = LeafOf("01");
  leaf.told = 4;
  ASSERT_TRUE(fleet_.Issued(key_, Fleet::Purpose::kWorkload, leaf, kNow).ok());
  EXPECT_EQ(Judge(*fleet_.Find(key_), current_, kNow).grade, Grade::kTold);
  ASSERT_TRUE(fleet_.Connect(key_, kNow).ok());
  EXPECT_EQ(Judge(*fleet_.Find(key_), current_, kNow).grade, Grade::kLaggard);
}

// What is read of an Envoy counts beside what its stock agent says, and instead of nothing.
TEST_F(FleetTest, AnEnvoyThatIsReadLiftsTheGradeOrHolds) {
  const Target target{.bundle = current_.bundle, .authorities = {"aa"}, .accepted = "aa"};
  Leaf leaf = LeafOf("01");
  leaf.told = 4;
  ASSERT_TRUE(fleet_.Issued(key_, Fleet::Purpose::kWorkload, leaf, kNow).ok());
  Sighting seen{.envoy = Consumer{.id = "envoy",
                                  .kind = ConsumerKind::kEnvoy,
                                  .connected = true,
                                  .acknowledged_leaf_serial = "00"},
                .shown = LeafOf("00", "bb"),
                .probes = {{.target = "10.0.0.1:8080", .authority = "aa"}}};
  seen.envoy->acknowledged_bundle = {"lineage", 3};
  const auto standing = [&] { return StandingOf(*fleet_.Find(key_), target, kNow); };
  const auto grade = [&] { return Judge(*fleet_.Find(key_), current_, kNow).grade; };
  const auto steps = [&](Grade told, Grade read) {
    EXPECT_EQ(grade(), told);
    fleet_.Saw(key_, seen, kNow);
    EXPECT_THAT(standing().trusts, HasSubstr("has not acknowledged the bundle of sequence 4"));
    EXPECT_THAT(standing().moved, HasSubstr("has not acknowledged the leaf 01"));
    EXPECT_THAT(standing().proven, HasSubstr("no handshake with 10.0.0.1:8080"));
    EXPECT_EQ(standing().agent, "") << "what the agent holds is its own";
    Sighting right = seen;
    right.envoy->acknowledged_bundle = {"lineage", 4};
    right.shown = LeafOf("00");  // an earlier one of the same authority
    right.probes[0].verdict = Probe::Verdict::kAccepted;
    fleet_.Saw(key_, right, kNow);
    EXPECT_TRUE(Complete(standing(), target));
    EXPECT_TRUE(standing().probed);
    EXPECT_EQ(grade(), read);
    fleet_.Saw(key_, std::nullopt, kNow);
    EXPECT_EQ(grade(), told);
  };
  steps(Grade::kTold, Grade::kAcknowledged);

  const auto generation = fleet_.Connect(key_, kNow);
  Report report;
  report.bundle = {"lineage", 4};
  report.consumers.push_back({.id = "stock-agent",
                              .kind = ConsumerKind::kStockAgent,
                              .connected = true,
                              .acknowledged_bundle = {"lineage", 4}});
  ASSERT_TRUE(fleet_.Fold(key_, *generation, report, kNow).ok());
  steps(Grade::kAgentAcknowledged, Grade::kAcknowledged);

  report.consumers[0].kind = ConsumerKind::kEnvoy;
  report.leaf = LeafOf("01");
  report.consumers[0].acknowledged_leaf_serial = "01";
  ASSERT_TRUE(fleet_.Fold(key_, *generation, report, kNow).ok());
  fleet_.Saw(key_, seen, kNow);
  EXPECT_EQ(grade(), Grade::kAcknowledged) << "whose agent reports needs nobody to look";
}

}  // namespace
}  // namespace capstan::fleet
