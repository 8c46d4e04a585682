// SPDX-License-Identifier: Apache-2.0
#include "rpc/trust_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "rpc/server_fixture.h"

namespace capstan::rpc {
namespace {

using ::testing::HasSubstr;
using testing::StreamClient;

using Streams = std::map<int64_t, testing::FakeControlPlane::Stream>;

class TrustStreamTest : public testing::ServerFixture {
 protected:
  static size_t ReportsOf(const Streams& streams, int64_t generation) {
    auto found = streams.find(generation);
    return found == streams.end() ? 0 : found->second.reports.size();
  }
  static fleet::v1::Report ReportOf(const std::string& serial) {
    fleet::v1::Report report;
    report.mutable_leaf()->set_serial(serial);
    return report;
  }
  static void ExpectEnd(const grpc::Status& status, grpc::StatusCode code, const std::string& why) {
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(why));
  }
};

TEST_F(TrustStreamTest, AnswersTheHelloWithTheStateAndFollowsChanges) {
  StreamClient stream(ChannelOf(a_));
  ASSERT_TRUE(stream.Hello("one"));
  EXPECT_EQ(stream.Next(), 1);
  plane_.SetTrust(Union(a_.bundle(), b_.bundle()));
  EXPECT_EQ(stream.Next(), 2);
  plane_.SetTrust(a_.bundle());
  EXPECT_EQ(stream.Next(), 3);
  EXPECT_EQ(plane_.streams().at(1).instance, "one");
  EXPECT_EQ(server_->trust_streams(), 1u);
}

TEST_F(TrustStreamTest, ReportsReachTheControlPlaneInOrder) {
  StreamClient stream(ChannelOf(a_));
  ASSERT_TRUE(stream.Hello("one"));
  ASSERT_TRUE(stream.Report(ReportOf("01")));
  ASSERT_TRUE(stream.Report(ReportOf("02")));
  ASSERT_TRUE(plane_.AwaitStreams([](const Streams& s) { return ReportsOf(s, 1) == 2; }));
  EXPECT_EQ(plane_.streams().at(1).reports[0].leaf().serial(), "01");
  EXPECT_EQ(plane_.streams().at(1).reports[1].leaf().serial(), "02");
}

TEST_F(TrustStreamTest, EndsWellWhenTheAgentIsDone) {
  StreamClient stream(ChannelOf(a_));
  ASSERT_TRUE(stream.Hello("one"));
  EXPECT_EQ(stream.Next(), 1);
  stream.WritesDone();
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_TRUE(plane_.AwaitStreams([](const Streams& s) { return !s.at(1).connected; }));
}

TEST_F(TrustStreamTest, NothingButAHelloComesFirst) {
  StreamClient stream(ChannelOf(a_));
  stream.Report(ReportOf("01"));
  ExpectEnd(stream.Finish(), grpc::StatusCode::INVALID_ARGUMENT, "first message");
  EXPECT_TRUE(plane_.streams().empty());
}

TEST_F(TrustStreamTest, OneHelloIsEnough) {
  StreamClient stream(ChannelOf(a_));
  ASSERT_TRUE(stream.Hello("one"));
  stream.Hello("two");
  ExpectEnd(stream.Finish(), grpc::StatusCode::INVALID_ARGUMENT, "second Hello");
}

TEST_F(TrustStreamTest, AnInstanceHasAName) {
  StreamClient stream(ChannelOf(a_));
  stream.Hello("");
  ExpectEnd(stream.Finish(), grpc::StatusCode::INVALID_ARGUMENT, "hello.instance");
}

TEST_F(TrustStreamTest, AMalformedReportEndsTheStreamWithItsField) {
  StreamClient stream(ChannelOf(a_));
  ASSERT_TRUE(stream.Hello("one"));
  stream.Report(ReportOf("NOT HEX"));
  ExpectEnd(stream.Finish(), grpc::StatusCode::INVALID_ARGUMENT, "leaf.serial");
  EXPECT_TRUE(plane_.streams().at(1).reports.empty());
}

TEST_F(TrustStreamTest, WhatTheControlPlaneRefusesEndsTheStream) {
  StreamClient stream(ChannelOf(a_));
  ASSERT_TRUE(stream.Hello("one"));
  fleet::v1::Report report;
  report.set_last_error("about another identity");
  stream.Report(report);
  ExpectEnd(stream.Finish(), grpc::StatusCode::PERMISSION_DENIED, "another identity");
}

TEST_F(TrustStreamTest, AnOversizedMessageEndsTheStream) {
  StreamClient stream(ChannelOf(a_));
  ASSERT_TRUE(stream.Hello("one"));
  fleet::v1::Report report;
  report.set_last_error(std::string(300 << 10, 'x'));
  stream.Report(report);
  ExpectEnd(stream.Finish(), grpc::StatusCode::RESOURCE_EXHAUSTED, "bytes");
}

TEST_F(TrustStreamTest, ATokenOpensNoStream) {
  const std::string token(plane_.AddToken("spiffe://cluster.local/ns/default/sa/sleep").Reveal());
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + token);
  auto stub = fleet::v1::FleetService::NewStub(Channel(std::nullopt));
  ExpectEnd(stub->Trust(&context)->Finish(), grpc::StatusCode::PERMISSION_DENIED, "certificate");
}

TEST_F(TrustStreamTest, StrangersAreToldWhy) {
  ExpectEnd(StreamClient(Channel(std::nullopt)).Finish(), grpc::StatusCode::UNAUTHENTICATED,
            "neither");
  ExpectEnd(StreamClient(ChannelOf(b_)).Finish(), grpc::StatusCode::UNAUTHENTICATED,
            "does not chain");
}

TEST_F(TrustStreamTest, EndsAtTheCertificatesNotAfter) {
  StreamClient stream(ChannelOf(a_));
  ASSERT_TRUE(stream.Hello("one"));
  EXPECT_EQ(stream.Next(), 1);
  clock_.Advance(absl::Hours(1) + absl::Seconds(1));
  ExpectEnd(stream.Finish(), grpc::StatusCode::UNAUTHENTICATED, "expired at");
}

TEST_F(TrustStreamTest, EndsWhenItsRootLeavesTheBundle) {
  plane_.SetTrust(Union(a_.bundle(), b_.bundle()));
  StreamClient old_root(ChannelOf(a_));
  StreamClient new_root(ChannelOf(b_));
  ASSERT_TRUE(old_root.Hello("old"));
  ASSERT_TRUE(new_root.Hello("new"));
  EXPECT_EQ(old_root.Next(), 2);
  EXPECT_EQ(new_root.Next(), 2);
  plane_.SetTrust(b_.bundle());
  ExpectEnd(old_root.Finish(), grpc::StatusCode::UNAUTHENTICATED, "does not chain");
  EXPECT_EQ(new_root.Next(), 3);
}

TEST_F(TrustStreamTest, ANewerStreamOfTheInstanceSupersedes) {
  const auto channel = ChannelOf(a_);
  StreamClient first(channel);
  ASSERT_TRUE(first.Hello("one"));
  EXPECT_EQ(first.Next(), 1);
  StreamClient other(channel);
  ASSERT_TRUE(other.Hello("two"));
  EXPECT_EQ(other.Next(), 1);
  StreamClient second(channel);
  ASSERT_TRUE(second.Hello("one"));
  EXPECT_EQ(second.Next(), 1);
  ExpectEnd(first.Finish(), grpc::StatusCode::ABORTED, "superseded");
  EXPECT_TRUE(plane_.AwaitStreams([](const Streams& s) { return !s.at(1).connected; }));
  plane_.SetTrust(a_.bundle());
  EXPECT_EQ(second.Next(), 2);
  EXPECT_EQ(other.Next(), 2);
}

TEST_F(TrustStreamTest, InstancesOfAnotherIdentityAreNotSuperseded) {
  StreamClient sleep(ChannelOf(a_));
  ASSERT_TRUE(sleep.Hello("one"));
  EXPECT_EQ(sleep.Next(), 1);
  StreamClient httpbin(
      Channel(a_.Issue(plane_.Valid("spiffe://cluster.local/ns/default/sa/httpbin"))));
  ASSERT_TRUE(httpbin.Hello("one"));
  EXPECT_EQ(httpbin.Next(), 1);
  plane_.SetTrust(a_.bundle());
  EXPECT_EQ(sleep.Next(), 2);
  EXPECT_EQ(httpbin.Next(), 2);
}

TEST_F(TrustStreamTest, AnIdentityThatIsToldSomethingElseGetsItsOwnAndFollowsChanges) {
  const std::string other = "spiffe://cluster.local/ns/other/sa/other";
  plane_.TellApart(other);
  StreamClient before(Channel(a_.Issue(plane_.Valid(other))));
  ASSERT_TRUE(before.Hello("before"));
  EXPECT_EQ(before.Next(), 1);
  StreamClient stream(ChannelOf(a_));
  ASSERT_TRUE(stream.Hello("one"));
  EXPECT_EQ(stream.Next(), 1);
  plane_.SetTrust(Union(a_.bundle(), b_.bundle()));
  EXPECT_EQ(before.Next(), testing::FakeControlPlane::kApart + 2);
  EXPECT_EQ(stream.Next(), 2);
  StreamClient late(Channel(a_.Issue(plane_.Valid(other))));
  ASSERT_TRUE(late.Hello("late"));
  EXPECT_EQ(late.Next(), testing::FakeControlPlane::kApart + 2);
  plane_.TellApart("");
  plane_.SetTrust(a_.bundle());
  EXPECT_EQ(before.Next(), 3);
  EXPECT_EQ(late.Next(), 3);
  EXPECT_EQ(stream.Next(), 3);
}

TEST_F(TrustStreamTest, ASlowStreamGetsOnlyTheLatest) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 64 << 10);
  StreamClient stream(Channel(a_.Issue(plane_.Valid()), arguments));
  ASSERT_TRUE(stream.Hello("one"));
  // Each update is larger than what the connection takes unread.
  const int64_t kUpdates = 50;
  for (int64_t i = 1; i < kUpdates; ++i) {
    plane_.SetTrust(a_.bundle(), std::string(3 << 20, 'x'));
  }
  std::vector<int64_t> received;
  while (received.empty() || received.back() != kUpdates) {
    const std::optional<int64_t> next = stream.Next();
    ASSERT_TRUE(next.has_value());
    EXPECT_TRUE(received.empty() || *next > received.back()) << "updates only go forward";
    received.push_back(*next);
  }
  EXPECT_LT(received.size(), 10u) << "of " << kUpdates;
}

TEST_F(TrustStreamTest, AnAgentThatDoesNotReadIsCutWhenItsTimeIsUp) {
  const auto channel = ChannelOf(a_);
  StreamClient stream(channel);
  ASSERT_TRUE(stream.Hello("one"));
  ASSERT_TRUE(plane_.AwaitStreams([](const Streams& s) { return s.count(1) == 1; }));
  for (int i = 0; i < 3; ++i) {
    plane_.SetTrust(a_.bundle(), std::string(16 << 20, 'x'));
  }
  clock_.Advance(absl::Hours(2));
  EXPECT_TRUE(plane_.AwaitStreams([](const Streams& s) { return !s.at(1).connected; }));
}

TEST_F(TrustStreamTest, ReportsBeyondTheRateWaitAndAreNotLost) {
  StreamClient stream(ChannelOf(a_));
  ASSERT_TRUE(stream.Hello("one"));
  const TrustStreamLimits limits;
  const size_t sent = static_cast<size_t>(limits.report_burst) + 10;
  const absl::Duration start = RealClock().Monotonic();
  for (size_t i = 0; i < sent; ++i) {
    ASSERT_TRUE(stream.Report(ReportOf(absl::StrCat(absl::Hex(i)))));
  }
  ASSERT_TRUE(plane_.AwaitStreams([&](const Streams& s) { return ReportsOf(s, 1) == sent; }));
  EXPECT_GE(RealClock().Monotonic() - start, absl::Milliseconds(400)) << "the last ten waited";
  EXPECT_EQ(plane_.streams().at(1).reports.back().leaf().serial(),
            absl::StrCat(absl::Hex(sent - 1)));
}

TEST_F(TrustStreamTest, TwoHundredStreamsFollowEveryChange) {
  const auto channel = ChannelOf(a_);
  std::vector<std::unique_ptr<StreamClient>> streams;
  for (int i = 0; i < 200; ++i) {
    streams.push_back(std::make_unique<StreamClient>(channel));
    ASSERT_TRUE(streams.back()->Hello(absl::StrCat("instance-", i)));
  }
  for (auto& stream : streams) {
    ASSERT_EQ(stream->Next(), 1);
  }
  EXPECT_EQ(server_->trust_streams(), 200u);
  for (int64_t sequence = 2; sequence <= 5; ++sequence) {
    plane_.SetTrust(sequence % 2 == 0 ? Union(a_.bundle(), b_.bundle()) : a_.bundle());
    for (auto& stream : streams) {
      ASSERT_EQ(stream->Next(), sequence);
    }
  }
  streams.clear();
  EXPECT_TRUE(plane_.AwaitStreams([](const Streams& s) {
    return std::none_of(s.begin(), s.end(), [](const auto& at) { return at.second.connected; });
  }));
}

TEST_F(TrustStreamTest, ShutdownTellsEveryStream) {
  const auto channel = ChannelOf(a_);
  StreamClient greeted(channel);
  ASSERT_TRUE(greeted.Hello("one"));
  EXPECT_EQ(greeted.Next(), 1);
  StreamClient silent(channel);
  // Until the server has seen the stream that says nothing.
  for (int i = 0; server_->trust_streams() < 2 && i < 1000; ++i) {
    plane_.SetTrust(a_.bundle());
    ASSERT_TRUE(greeted.Next().has_value());
  }
  server_->Shutdown();
  ExpectEnd(greeted.Finish(), grpc::StatusCode::UNAVAILABLE, "shutting down");
  ExpectEnd(silent.Finish(), grpc::StatusCode::UNAVAILABLE, "shutting down");
  EXPECT_FALSE(plane_.streams().at(1).connected);
}

TEST_F(TrustStreamTest, MoreStreamsThanItServesAreRefused) {
  server_->Shutdown();
  Start({.listen = "127.0.0.1:0", .max_trust_streams = 1});
  StreamClient first(ChannelOf(a_));
  ASSERT_TRUE(first.Hello("one"));
  EXPECT_EQ(first.Next(), 1);
  ExpectEnd(StreamClient(ChannelOf(a_)).Finish(), grpc::StatusCode::RESOURCE_EXHAUSTED,
            "1 trust streams and no more");
}

// Streams that come, are superseded, go and are shut down while trust changes: for the sanitizers.
TEST_F(TrustStreamTest, ComingAndGoingDuringChanges) {
  const auto channel = ChannelOf(a_);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::unique_ptr<StreamClient>> streams;
    for (int i = 0; i < 10; ++i) {
      streams.push_back(std::make_unique<StreamClient>(channel));
      streams.back()->Hello(absl::StrCat("instance-", i % 5));
      plane_.SetTrust(i % 3 == 0 ? Union(a_.bundle(), b_.bundle()) : a_.bundle());
      streams.back()->Report(ReportOf("01"));
    }
  }
  StreamClient last(channel);
  last.Hello("last");
  server_->Shutdown();
}

}  // namespace
}  // namespace capstan::rpc
