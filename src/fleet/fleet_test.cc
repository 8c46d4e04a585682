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

}  // namespace
}  // namespace capstan::fleet
