// SPDX-License-Identifier: Apache-2.0
#include "rpc/report_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <functional>
#include <string>

#include "base/strings.h"

namespace capstan::rpc {
namespace {

using ::testing::HasSubstr;

fleet::v1::Report Good() {
  fleet::v1::Report report;
  report.mutable_leaf()->set_serial("0a1b");
  report.mutable_leaf()->set_authority_id("00ff");
  report.mutable_bundle()->set_lineage("7d7ad3a1-1111-4222-8333-123456789abc");
  report.mutable_bundle()->set_sequence(3);
  fleet::v1::Consumer& consumer = *report.add_consumers();
  consumer.set_id("envoy-1");
  consumer.set_kind(fleet::v1::Consumer::ENVOY);
  consumer.mutable_last_nack()->set_resource("ROOTCA");
  return report;
}

std::string ErrorOf(const std::function<void(fleet::v1::Report&)>& change) {
  fleet::v1::Report report = Good();
  change(report);
  return std::string(CheckReport(report).message());
}

TEST(ReportCheck, AcceptsWhatAgentsSay) {
  fleet::v1::Report report = Good();
  EXPECT_TRUE(CheckReport(report).ok());
  fleet::v1::Report empty;
  EXPECT_TRUE(CheckReport(empty).ok());
}

TEST(ReportCheck, NamesTheFieldThatIsWrong) {
  EXPECT_THAT(ErrorOf([](auto& r) { r.mutable_leaf()->set_serial("0A"); }),
              HasSubstr("leaf.serial"));
  EXPECT_THAT(ErrorOf([](auto& r) { r.mutable_credential()->set_authority_id("zz"); }),
              HasSubstr("credential.authority_id"));
  EXPECT_THAT(ErrorOf([](auto& r) { r.mutable_bundle()->set_sequence(-1); }), HasSubstr("bundle"));
  EXPECT_THAT(ErrorOf([](auto& r) { r.mutable_agent_time()->set_seconds(int64_t{1} << 60); }),
              HasSubstr("agent_time"));
  EXPECT_THAT(ErrorOf([](auto& r) { r.mutable_agent_time()->set_nanos(-1); }),
              HasSubstr("agent_time"));
  EXPECT_THAT(ErrorOf([](auto& r) { r.mutable_consumers(0)->set_id(""); }),
              HasSubstr("consumers.id"));
  EXPECT_THAT(ErrorOf([](auto& r) { *r.add_consumers() = r.consumers(0); }),
              HasSubstr("there twice"));
  EXPECT_THAT(ErrorOf([](auto& r) { r.mutable_consumers(0)->set_node_id(std::string(2000, 'x')); }),
              HasSubstr("consumers.node_id"));
}

fleet::v1::ProbeResult* AddProbe(fleet::v1::Report& report, const std::string& authority) {
  fleet::v1::ProbeResult* probe = report.add_probes();
  probe->set_target("127.0.0.1:15006,sni=httpbin");
  probe->set_authority_id(authority);
  probe->set_verdict(fleet::v1::ProbeResult::ACCEPTED);
  return probe;
}

TEST(ReportCheck, ChecksProbes) {
  fleet::v1::Report report = Good();
  AddProbe(report, "00ff")->mutable_served_leaf()->set_serial("0a");
  AddProbe(report, "00fe")->set_detail(std::string(100'000, 'x'));
  report.add_probes()->set_target("127.0.0.1:1");  // nothing is asked about it
  ASSERT_TRUE(CheckReport(report).ok()) << CheckReport(report);
  EXPECT_EQ(report.probes(1).detail().size(), 4096u);

  EXPECT_THAT(ErrorOf([](auto& r) { AddProbe(r, "00ff")->set_target(""); }),
              HasSubstr("probes.target"));
  EXPECT_THAT(ErrorOf([](auto& r) { AddProbe(r, "00ff")->set_target(std::string(513, 'x')); }),
              HasSubstr("probes.target"));
  EXPECT_THAT(ErrorOf([](auto& r) { AddProbe(r, "XY"); }), HasSubstr("probes.authority_id"));
  EXPECT_THAT(ErrorOf([](auto& r) { AddProbe(r, ""); }),
              HasSubstr("probes.authority_id is missing"));
  EXPECT_THAT(ErrorOf([](auto& r) { AddProbe(r, "00")->mutable_at()->set_nanos(-1); }),
              HasSubstr("probes.at"));
  EXPECT_THAT(ErrorOf([](auto& r) { AddProbe(r, "00")->mutable_bundle()->set_sequence(-1); }),
              HasSubstr("probes.bundle"));
  EXPECT_THAT(ErrorOf([](auto& r) { AddProbe(r, "00")->mutable_served_leaf()->set_serial("Z"); }),
              HasSubstr("probes.served_leaf.serial"));
  EXPECT_THAT(ErrorOf([](auto& r) {
                AddProbe(r, "00");
                AddProbe(r, "00");
              }),
              HasSubstr("twice"));
}

TEST(ReportCheck, BoundsTheNumberOfProbes) {
  fleet::v1::Report report;
  for (int i = 0; i < 257; ++i) report.add_probes()->set_target(absl::StrCat("a:", i));
  EXPECT_EQ(CheckReport(report).code(), absl::StatusCode::kResourceExhausted);
  report.mutable_probes()->RemoveLast();
  EXPECT_TRUE(CheckReport(report).ok());
}

TEST(ReportCheck, BoundsTheNumberOfConsumers) {
  fleet::v1::Report report;
  for (int i = 0; i < 257; ++i) {
    report.add_consumers()->set_id(absl::StrCat("c", i));
  }
  EXPECT_EQ(CheckReport(report).code(), absl::StatusCode::kResourceExhausted);
  report.mutable_consumers()->RemoveLast();
  EXPECT_TRUE(CheckReport(report).ok());
}

TEST(ReportCheck, CutsTextsThatOthersWroteAtACharactersBorder) {
  fleet::v1::Report report = Good();
  report.mutable_consumers(0)->mutable_last_nack()->set_message(std::string(4095, 'x') + "ééé");
  report.set_last_error(std::string(100'000, 'y'));
  ASSERT_TRUE(CheckReport(report).ok());
  EXPECT_EQ(report.consumers(0).last_nack().message(), std::string(4095, 'x'));
  EXPECT_EQ(report.last_error().size(), 4096u);
}

TEST(ReportCheck, HelloNeedsAnInstance) {
  fleet::v1::Hello hello;
  EXPECT_FALSE(CheckHello(hello).ok());
  hello.set_instance("node 1");
  EXPECT_FALSE(CheckHello(hello).ok());
  hello.set_instance("node-1/é");
  EXPECT_FALSE(CheckHello(hello).ok());
  hello.set_instance("pod-1_a.b:c");
  EXPECT_TRUE(CheckHello(hello).ok());
  hello.mutable_bundle()->set_sequence(-1);
  EXPECT_FALSE(CheckHello(hello).ok());
}

RC_GTEST_PROP(ReportCheck, DamagedBytesAreRefusedOrBounded, ()) {
  std::string bytes = Good().SerializeAsString();
  const auto flips = *rc::gen::inRange(1, 4);
  for (int i = 0; i < flips; ++i) {
    bytes[*rc::gen::inRange<size_t>(0, bytes.size())] =
        static_cast<char>(*rc::gen::inRange(0, 256));
  }
  fleet::v1::Report report;
  RC_PRE(report.ParseFromString(bytes));
  const absl::Status status = CheckReport(report);
  if (!status.ok()) {
    RC_ASSERT(!status.message().empty());
    return;
  }
  RC_ASSERT(report.bundle().sequence() >= 0);
  for (const fleet::v1::Consumer& consumer : report.consumers()) {
    RC_ASSERT(!consumer.id().empty() && consumer.id().size() <= 128);
  }
}

}  // namespace
}  // namespace capstan::rpc
