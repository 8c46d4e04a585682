// SPDX-License-Identifier: Apache-2.0
#include "sds/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "sds/test_material.h"

namespace capstan::sds {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class RegistryTest : public ::testing::Test {
 protected:
  Moment Now() const { return {absl::UnixEpoch() + now_, now_}; }

  // Remembers what each stream was sent last; writes are done at once.
  std::vector<std::string> Do(Actions actions) {
    std::vector<std::string> sent;
    std::vector<StreamId> streams;
    for (const Actions::Send& send : actions.sends) {
      for (const Resource& resource : send.response.resources) {
        const bool trust = resource.edition.kind == Kind::kTrust;
        sent.push_back(absl::StrCat(
            resource.name, "=",
            trust ? resource.edition.material->roots_pem : resource.edition.material->leaf_serial));
      }
      last_[send.stream] = send.response;
      streams.push_back(send.stream);
      last_why_ = send.why;
    }
    for (const Actions::Note& note : actions.notes) {
      notes_.push_back(note.text);
    }
    ends_ = actions.ends;
    for (const StreamId stream : streams) {
      for (std::string& more : Do(registry_.Written(stream, Now()))) {
        sent.push_back(std::move(more));
      }
    }
    return sent;
  }
  std::vector<std::string> Publish(int64_t sequence, std::string roots, std::string leaf) {
    return Do(registry_.Published(MaterialOf(sequence, std::move(roots), std::move(leaf)), Now()));
  }
  std::vector<std::string> Open(StreamId id, std::vector<std::string> names, int64_t pid = 7,
                                std::string held = "", std::string node = "node") {
    const Peer peer{.pid = pid, .started = 1, .connection = pid == 0 ? id : 1};
    Do(registry_.Opened(id, Front::kStateOfTheWorld, peer, absl::StrCat("t", id), Now()));
    names_[id] = names;
    Request first{.node_id = node, .held_version = held};
    first.names = std::move(names);
    return Do(registry_.Requested(id, first, Now()));
  }
  std::vector<std::string> Ack(StreamId id) {
    Request ack{.nonce = last_[id].nonce};
    ack.names = names_[id];
    return Do(registry_.Requested(id, ack, Now()));
  }
  std::vector<std::string> Nack(StreamId id, const std::string& text = "bad") {
    Request nack{.nonce = last_[id].nonce};
    nack.names = names_[id];
    nack.error = text;
    return Do(registry_.Requested(id, nack, Now()));
  }
  std::vector<std::string> Pass(absl::Duration time) {
    now_ += time;
    return Do(registry_.Woken(Now()));
  }
  // Two streams, both secrets accepted.
  void Serve(const std::string& roots = "A", const std::string& leaf = "leaf1") {
    Publish(1, roots, leaf);
    Open(1, {"default"});
    Open(2, {"ROOTCA"});
    Ack(1);
    Ack(2);
    ASSERT_EQ(Report().acknowledged_bundle.sequence, 1);
  }
  ConsumerReport Report() const {
    const auto reports = registry_.Reports();
    return reports.size() == 1 ? reports[0] : ConsumerReport{};
  }
  bool Acknowledges() const { return !Report().acknowledged_bundle.empty(); }

  absl::Duration now_ = absl::Hours(1);
  Registry registry_{Config{.id = TestId()}};
  std::map<StreamId, Response> last_;
  std::map<StreamId, std::vector<std::string>> names_;
  std::string last_why_;
  std::vector<std::string> notes_;
  std::vector<Actions::End> ends_;
};

TEST_F(RegistryTest, CountsBothSecretsOrNothing) {
  Publish(1, "A", "leaf1");
  EXPECT_THAT(Open(1, {"default"}), ElementsAre("default=leaf1"));
  Ack(1);
  EXPECT_FALSE(Acknowledges());
  EXPECT_THAT(Open(2, {"ROOTCA"}), ElementsAre("ROOTCA=A"));
  EXPECT_FALSE(Acknowledges());
  Ack(2);
  EXPECT_EQ(Report().acknowledged_bundle.sequence, 1);
  EXPECT_EQ(Report().acknowledged_leaf_serial, "leaf1");
  EXPECT_EQ(Report().acknowledged_at, absl::UnixEpoch() + now_);
}

TEST_F(RegistryTest, TrustIsServedBeforeThereIsALeaf) {
  Open(1, {"default"});
  EXPECT_THAT(Open(2, {"ROOTCA"}), IsEmpty());
  EXPECT_THAT(Publish(1, "A", ""), ElementsAre("ROOTCA=A"));
  EXPECT_THAT(Publish(1, "A", "leaf1"), ElementsAre("default=leaf1"))
      << "the first leaf never waits";
}

TEST_F(RegistryTest, PushesOnlyWhatChanged) {
  Serve();
  EXPECT_THAT(Publish(1, "A", "leaf1"), IsEmpty());
  EXPECT_THAT(Publish(2, "AB", "leaf1"), ElementsAre("ROOTCA=AB"));
  Ack(2);
  EXPECT_THAT(Publish(2, "AB", "leaf2"), ElementsAre("default=leaf2"));
}

TEST_F(RegistryTest, ANewVersionOfTheSameRootsCountsWithoutAPush) {
  Serve();
  EXPECT_THAT(Publish(9, "A", "leaf1"), IsEmpty());
  EXPECT_EQ(Report().acknowledged_bundle.sequence, 9);
}

TEST_F(RegistryTest, WhatIsAcknowledgedStaysWhileSomethingNewerIsUnderWay) {
  Serve();
  Publish(2, "AB", "leaf1");
  EXPECT_EQ(Report().acknowledged_bundle.sequence, 1);
  Ack(2);
  EXPECT_EQ(Report().acknowledged_bundle.sequence, 2);
}

TEST_F(RegistryTest, ALeafWaitsForItsTrust) {
  Serve();
  EXPECT_THAT(Publish(2, "AB", "leaf2"), ElementsAre("ROOTCA=AB"));
  EXPECT_THAT(notes_.back(), HasSubstr("the new leaf is held"));
  EXPECT_THAT(Ack(2), ElementsAre("default=leaf2"));
  EXPECT_THAT(last_why_, HasSubstr("its trust is accepted"));
}

TEST_F(RegistryTest, ALeafWaitsOnlySoLong) {
  Serve();
  Publish(2, "AB", "leaf2");
  ASSERT_EQ(registry_.wake_at(), now_ + absl::Seconds(10));
  EXPECT_THAT(Pass(absl::Seconds(9)), IsEmpty());
  EXPECT_THAT(Pass(absl::Seconds(1)), ElementsAre("default=leaf2"));
  EXPECT_EQ(registry_.wake_at(), std::nullopt);
}

TEST_F(RegistryTest, PublishingOnDoesNotExtendTheWait) {
  Serve();
  Publish(2, "AB", "leaf2");
  Pass(absl::Seconds(6));
  Publish(3, "ABC", "leaf3");
  EXPECT_THAT(Pass(absl::Seconds(4)), ElementsAre("default=leaf3"));
}

// It may be of an authority that only the new trust knows; and only it may mend what makes the
// trust refused.
TEST_F(RegistryTest, ALeafThatReplacesARefusedOneWaitsForWhateverIsSaidOfTheTrust) {
  Serve();
  Publish(1, "A", "leaf2");
  Nack(1);
  EXPECT_THAT(Publish(2, "AB", "leaf3"), ElementsAre("ROOTCA=AB"));
  EXPECT_THAT(Ack(2), ElementsAre("default=leaf3"));
  Nack(1);
  EXPECT_THAT(Publish(3, "B", "leaf4"), ElementsAre("ROOTCA=B"));
  EXPECT_THAT(Nack(2), ElementsAre("default=leaf4"));
  Nack(1);
  EXPECT_THAT(Publish(4, "BC", "leaf5"), ElementsAre("ROOTCA=BC"));
  EXPECT_THAT(Pass(absl::Milliseconds(9999)), IsEmpty());
  EXPECT_THAT(Pass(absl::Milliseconds(1)), ElementsAre("default=leaf5")) << "it says nothing";
}

TEST_F(RegistryTest, AConsumerThatTakesNoTrustGetsItsLeafAtOnceAndAcknowledgesNothing) {
  Publish(1, "A", "leaf1");
  Open(1, {"default"});
  Ack(1);
  EXPECT_THAT(Publish(2, "AB", "leaf2"), ElementsAre("default=leaf2"));
  Ack(1);
  EXPECT_FALSE(Acknowledges());
}

// An Envoy that lived before this agent did has a leaf to lose: trust first, whichever stream is
// back first.
TEST_F(RegistryTest, AReturningEnvoyGetsItsTrustFirst) {
  Publish(1, "AB", "leaf2");
  EXPECT_THAT(Open(1, {"default"}, 7, "earlier-agent.1"), IsEmpty());
  EXPECT_THAT(Open(2, {"ROOTCA"}, 7, "earlier-agent.1"), ElementsAre("ROOTCA=AB"));
  EXPECT_THAT(Ack(2), ElementsAre("default=leaf2"));
}

TEST_F(RegistryTest, AReturningEnvoyThatRefusesTheTrustGetsTheLeafThatMayMendIt) {
  Publish(1, "AB", "leaf2");
  Open(1, {"default"}, 7, "earlier-agent.1");
  Open(2, {"ROOTCA"}, 7, "earlier-agent.1");
  EXPECT_THAT(Nack(2, "Failed to load private key"), ElementsAre("default=leaf2"));
  EXPECT_THAT(Ack(1), IsEmpty());
  EXPECT_FALSE(Acknowledges());
  EXPECT_THAT(Pass(absl::Seconds(1)), ElementsAre("ROOTCA=AB"));
  Ack(2);
  EXPECT_EQ(Report().acknowledged_leaf_serial, "leaf2");
}

TEST_F(RegistryTest, AfterARefusalNothingCountsUntilBothAreAcceptedInNewBytes) {
  Serve();
  Publish(2, "AB", "leaf1");
  const std::string first = last_[2].version;
  EXPECT_THAT(Nack(2, "bad\nCRL"), IsEmpty());
  EXPECT_FALSE(Acknowledges());
  EXPECT_EQ(Report().last_nack->resource, "ROOTCA");
  EXPECT_EQ(Report().last_nack->message, "bad CRL");
  EXPECT_EQ(Report().last_nack->at, absl::UnixEpoch() + now_);
  EXPECT_THAT(Pass(absl::Seconds(1)), ElementsAre("ROOTCA=AB"));
  EXPECT_NE(last_[2].version, first);
  EXPECT_THAT(Ack(2), ElementsAre("default=leaf1"));
  EXPECT_FALSE(Acknowledges()) << "the leaf was accepted before the refusal, not after it";
  Ack(1);
  EXPECT_EQ(Report().acknowledged_bundle.sequence, 2);
  EXPECT_TRUE(Report().last_nack.has_value()) << "it stays to be read";
}

TEST_F(RegistryTest, AnAcceptanceOfWhatWasUnderWayAtTheRefusalDoesNotCount) {
  Publish(1, "A", "leaf1");
  Open(1, {"default"});
  Open(2, {"ROOTCA"});
  Nack(1);
  Ack(2);
  Pass(absl::Seconds(1));
  EXPECT_FALSE(Acknowledges());
  EXPECT_THAT(Ack(2), ElementsAre("default=leaf1"));
  EXPECT_FALSE(Acknowledges());
  Ack(1);
  EXPECT_TRUE(Acknowledges());
}

TEST_F(RegistryTest, EachRefusalIsMetOnceWithGrowingPauses) {
  Serve();
  Publish(1, "A", "leaf2");
  absl::Duration pause = absl::Seconds(1);
  Nack(1);
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(registry_.wake_at(), now_ + pause);
    EXPECT_THAT(Pass(pause - absl::Milliseconds(1)), IsEmpty());
    EXPECT_THAT(Pass(absl::Milliseconds(1)), ElementsAre("ROOTCA=A"));
    EXPECT_THAT(Nack(2), ElementsAre("default=leaf2")) << "it may be what is missing";
    EXPECT_THAT(Nack(1), IsEmpty()) << "the same pause for both";
    pause = std::min(pause * 2, absl::Duration(absl::Minutes(1)));
  }
  Pass(pause);
  Ack(2);
  Ack(1);
  EXPECT_EQ(registry_.wake_at(), std::nullopt) << "not again without a refusal";
  Publish(1, "A", "leaf3");
  Nack(1);
  EXPECT_EQ(registry_.wake_at(), now_ + absl::Seconds(1)) << "success resets the pause";
}

TEST_F(RegistryTest, NewMaterialEndsThePauseAndTheSameMaterialDoesNot) {
  Serve();
  Publish(1, "A", "leaf2");
  Nack(1);
  EXPECT_THAT(Publish(1, "A", "leaf2"), IsEmpty());
  EXPECT_THAT(Publish(1, "A", "leaf3"), ElementsAre("ROOTCA=A"));
  EXPECT_THAT(Ack(2), ElementsAre("default=leaf3"));
  EXPECT_EQ(registry_.wake_at(), std::nullopt);
}

TEST_F(RegistryTest, AStreamThatEndsWithoutAnAnswerIsTakenForARefusal) {
  Serve();
  Publish(2, "AB", "leaf1");
  Do(registry_.Closed(2, Now()));
  EXPECT_FALSE(Acknowledges());
  EXPECT_FALSE(Report().last_nack.has_value());
  EXPECT_THAT(Open(3, {"ROOTCA"}, 7, last_[2].version), ElementsAre("ROOTCA=AB"));
  Ack(3);
  EXPECT_FALSE(Acknowledges()) << "the same bytes again prove nothing";
  EXPECT_THAT(Pass(absl::Seconds(1)), ElementsAre("ROOTCA=AB"));
  EXPECT_THAT(Ack(3), ElementsAre("default=leaf1"));
  Ack(1);
  EXPECT_TRUE(Acknowledges());
}

TEST_F(RegistryTest, WithoutAStreamThatWasThereNothingNewCounts) {
  Serve();
  Open(3, {"spiffe://cluster.local"});
  Ack(3);
  Do(registry_.Closed(3, Now()));
  EXPECT_TRUE(Acknowledges()) << "nothing that counted was taken back";
  Publish(2, "AB", "leaf1");
  Ack(2);
  EXPECT_EQ(Report().acknowledged_bundle.sequence, 1)
      << "the third stream's holder has the old roots";
  Open(4, {"spiffe://cluster.local"}, 7, last_[3].version);
  EXPECT_EQ(Report().acknowledged_bundle.sequence, 1);
  Ack(4);
  EXPECT_EQ(Report().acknowledged_bundle.sequence, 2);
}

TEST_F(RegistryTest, ANewHolderIsNotTakenForTheOneThatIsExpectedBack) {
  Serve();
  Do(registry_.Closed(2, Now()));
  Publish(2, "AB", "leaf1");
  Open(3, {"ROOTCA"});  // has nothing: not the one that was there
  Ack(3);
  EXPECT_FALSE(Acknowledges());
  Do(registry_.Closed(3, Now()));
  Open(4, {"ROOTCA"}, 7, last_[3].version);
  Ack(4);
  EXPECT_FALSE(Acknowledges()) << "one of the two is still away";
  Pass(absl::Minutes(1));
  EXPECT_EQ(Report().acknowledged_bundle.sequence, 2);
}

TEST_F(RegistryTest, AStreamThatNobodyKnewOfMustAcceptAsWell) {
  Serve();
  Open(3, {"ROOTCA"}, 7, "earlier-agent.1");
  EXPECT_FALSE(Acknowledges()) << "it may hold what an earlier agent gave it";
  Ack(3);
  EXPECT_TRUE(Acknowledges());
}

TEST_F(RegistryTest, AStreamThatNeverComesBackIsForgottenAfterAMinute) {
  Serve();
  Open(3, {"spiffe://cluster.local"});
  Ack(3);
  Do(registry_.Closed(3, Now()));
  Publish(2, "AB", "leaf1");
  Ack(2);
  Pass(absl::Minutes(1));
  EXPECT_EQ(Report().acknowledged_bundle.sequence, 2);
}

TEST_F(RegistryTest, WhoLeavesAcknowledgesNothingAndStartsOverWhenItReturns) {
  Serve();
  const std::string before = last_[2].version;
  Do(registry_.Closed(1, Now()));
  Do(registry_.Closed(2, Now()));
  EXPECT_FALSE(Report().connected);
  EXPECT_FALSE(Acknowledges());
  EXPECT_THAT(Open(3, {"ROOTCA"}, 7, before), ElementsAre("ROOTCA=A"));
  EXPECT_NE(last_[3].version, before);
  Ack(3);
  Open(4, {"default"}, 7, last_[1].version);
  Ack(4);
  EXPECT_TRUE(Acknowledges());
  EXPECT_THAT(registry_.Reports(), SizeIs(1)) << "the same process";
}

TEST_F(RegistryTest, ARestartedProcessIsAnotherConsumerAndTheOldOneIsForgotten) {
  Serve();
  Do(registry_.Closed(1, Now()));
  Do(registry_.Closed(2, Now()));
  Open(3, {"default"}, /*pid=*/8);
  EXPECT_THAT(registry_.Reports(), SizeIs(2));
  ASSERT_EQ(registry_.wake_at(), now_ + absl::Minutes(5));
  Pass(absl::Minutes(5));
  ASSERT_THAT(registry_.Reports(), SizeIs(1));
  EXPECT_EQ(registry_.Reports()[0].pid, 8);
}

TEST_F(RegistryTest, WithoutAProcessIdEachConnectionIsAConsumer) {
  Open(1, {"default"}, /*pid=*/0);
  Open(2, {"ROOTCA"}, /*pid=*/0);
  EXPECT_THAT(registry_.Reports(), SizeIs(2));
}

TEST_F(RegistryTest, OnePublicationReachesEveryConsumerAndARefusalOnlyItsOwn) {
  Serve();
  Open(3, {"default", "ROOTCA"}, /*pid=*/8);
  Ack(3);
  EXPECT_THAT(Publish(2, "AB", "leaf1"), SizeIs(2));
  Nack(2);
  Ack(3);
  for (const ConsumerReport& report : registry_.Reports()) {
    EXPECT_EQ(report.acknowledged_bundle.sequence, report.pid == 8 ? 2 : 0);
  }
}

TEST_F(RegistryTest, BytesOfTwoConsumersNeverAgree) {
  Serve();
  Open(3, {"ROOTCA"}, /*pid=*/8);
  EXPECT_NE(RootsPem(last_[2].resources[0].edition), RootsPem(last_[3].resources[0].edition));
}

TEST_F(RegistryTest, AnUnknownNameEndsNothingAndIsLoggedOnce) {
  Publish(1, "A", "leaf1");
  EXPECT_THAT(Open(1, {"file-root:system", "ROOTCA"}), ElementsAre("ROOTCA=A"));
  Open(2, {"file-root:system"});
  EXPECT_THAT(ends_, IsEmpty());
  EXPECT_EQ(std::count_if(notes_.begin(), notes_.end(),
                          [](const auto& note) { return note.find("no secret") != note.npos; }),
            1);
}

TEST_F(RegistryTest, AnUnheardOfRequestEndsItsStreamOnly) {
  Serve();
  Do(registry_.Opened(3, Front::kDelta, Peer{}, "t3", Now()));
  Do(registry_.Requested(3, Request{}, Now()));
  ASSERT_THAT(ends_, SizeIs(1));
  EXPECT_EQ(ends_[0].status.code(), absl::StatusCode::kInvalidArgument);
  Do(registry_.Closed(3, Now()));
  Do(registry_.Requested(3, Request{}, Now()));
  EXPECT_THAT(ends_, IsEmpty());
  Do(registry_.Requested(1, Request{.type_url = "wrong"}, Now()));
  ASSERT_THAT(ends_, SizeIs(1));
  EXPECT_EQ(ends_[0].stream, 1u);
  EXPECT_THAT(Publish(2, "AB", "leaf1"), ElementsAre("ROOTCA=AB"));
}

TEST_F(RegistryTest, BoundsStreamsAndProcesses) {
  Config config{.id = TestId()};
  config.limits.streams = 6;
  config.limits.streams_per_consumer = 2;
  config.limits.consumers = 2;
  Registry registry(config);
  const auto open = [&](StreamId id, int64_t pid) {
    const Actions opened = registry.Opened(id, Front::kDelta, Peer{.pid = pid}, "t", Now());
    return opened.ends.empty() &&
           registry.Requested(id, Request{.node_id = "n"}, Now()).ends.empty();
  };
  EXPECT_TRUE(open(1, 1));
  EXPECT_TRUE(open(2, 1));
  EXPECT_FALSE(open(3, 1)) << "streams of one process";
  EXPECT_TRUE(open(4, 2));
  EXPECT_FALSE(open(5, 3)) << "processes";
  registry.Closed(4, Now());
  EXPECT_TRUE(open(6, 3)) << "who left makes room";
  for (StreamId id = 10; id < 13; ++id) {
    EXPECT_TRUE(registry.Opened(id, Front::kDelta, Peer{}, "t", Now()).ends.empty());
  }
  EXPECT_THAT(registry.Opened(13, Front::kDelta, Peer{}, "t", Now()).ends, SizeIs(1)) << "all";
}

}  // namespace
}  // namespace capstan::sds
