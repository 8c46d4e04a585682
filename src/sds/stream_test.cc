// SPDX-License-Identifier: Apache-2.0
#include "sds/stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sds/test_material.h"

namespace capstan::sds {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class StreamTest : public ::testing::Test {
 protected:
  static Request First(std::vector<std::string> names) {
    Request request{.node_id = "node", .type_url = std::string(kSecretType)};
    request.names = std::move(names);
    return request;
  }
  static Request Answering(const Response& response, std::vector<std::string> names = {}) {
    Request request{.nonce = response.nonce};
    request.names = std::move(names);
    return request;
  }
  std::vector<std::string> NamesOf(const std::optional<Response>& response) const {
    std::vector<std::string> names;
    if (response.has_value()) {
      for (const Resource& resource : response->resources) {
        names.push_back(resource.name);
      }
    }
    return names;
  }
  Edition EditionOf(Kind kind, uint64_t number) const {
    return {.kind = kind,
            .number = number,
            .stamp = std::to_string(number),
            .material = MaterialOf(1, "A", "leaf")};
  }
  Fate FateOf(const Stream& stream, const std::string& name) const {
    return stream.subscriptions().at(name).fate;
  }

  const Names names_{TestId()};
  const Limits limits_;
  const Edition trust_ = EditionOf(Kind::kTrust, 1);
  const Edition leaf_ = EditionOf(Kind::kLeaf, 2);
};

TEST_F(StreamTest, AnswersEachNameOnceAndAgainOnlyForANewEdition) {
  Stream stream(Front::kStateOfTheWorld, "t");
  stream.Apply(First({"default", "ROOTCA"}), names_);
  const auto response = stream.Answer(&trust_, &leaf_);
  EXPECT_THAT(NamesOf(response), ElementsAre("ROOTCA", "default"));
  stream.Written();
  EXPECT_FALSE(stream.Answer(&trust_, &leaf_).has_value());
  EXPECT_TRUE(stream.Apply(Answering(*response, {"default", "ROOTCA"}), names_).accepted);
  EXPECT_FALSE(stream.Answer(&trust_, &leaf_).has_value()) << "an acceptance is not answered";
  const Edition newer = EditionOf(Kind::kTrust, 3);
  const auto second = stream.Answer(&newer, &leaf_);
  EXPECT_THAT(NamesOf(second), ElementsAre("ROOTCA"));
  EXPECT_NE(second->nonce, response->nonce);
}

TEST_F(StreamTest, WritesOneResponseAtATimeAndThenTheLatest) {
  Stream stream(Front::kStateOfTheWorld, "t");
  stream.Apply(First({"ROOTCA"}), names_);
  ASSERT_TRUE(stream.Answer(&trust_, nullptr).has_value());
  const Edition third = EditionOf(Kind::kTrust, 3);
  const Edition fourth = EditionOf(Kind::kTrust, 4);
  EXPECT_FALSE(stream.Answer(&third, nullptr).has_value());
  stream.Written();
  const auto response = stream.Answer(&fourth, nullptr);
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->resources[0].edition.number, 4u);
}

TEST_F(StreamTest, AnswersWhatIsThereAndTheRestWhenItComes) {
  Stream stream(Front::kStateOfTheWorld, "t");
  stream.Apply(First({"default", "ROOTCA"}), names_);
  EXPECT_FALSE(stream.Answer(nullptr, nullptr).has_value());
  EXPECT_THAT(NamesOf(stream.Answer(&trust_, nullptr)), ElementsAre("ROOTCA"));
  stream.Written();
  EXPECT_THAT(NamesOf(stream.Answer(&trust_, &leaf_)), ElementsAre("default"));
}

TEST_F(StreamTest, AnEmptyListIsAllNamesFirstAndNoneAfterNames) {
  Stream all(Front::kStateOfTheWorld, "t");
  all.Apply(First({}), names_);
  const auto response = all.Answer(&trust_, &leaf_);
  EXPECT_THAT(NamesOf(response), ElementsAre("ROOTCA", "default", "spiffe://cluster.local",
                                             "spiffe://cluster.local/ns/foo/sa/httpbin"));
  all.Written();
  all.Apply(Answering(*response), names_);
  EXPECT_EQ(all.subscriptions().size(), 4u)
      << "the acknowledgement's empty list is the same wildcard";

  Stream named(Front::kStateOfTheWorld, "t");
  named.Apply(First({"ROOTCA"}), names_);
  const auto first = named.Answer(&trust_, &leaf_);
  named.Written();
  named.Apply(Answering(*first, {}), names_);
  EXPECT_THAT(named.subscriptions(), IsEmpty());
  named.Apply(Answering(*first, {}), names_);
  EXPECT_THAT(named.subscriptions(), IsEmpty()) << "and it stays none";
}

TEST_F(StreamTest, TheStarIsAWildcardOnBothFronts) {
  for (const Front front : {Front::kStateOfTheWorld, Front::kDelta}) {
    Stream stream(front, "t");
    stream.Apply(First({"*", "file-root:system"}), names_);
    EXPECT_EQ(stream.subscriptions().size(), 4u);
  }
}

TEST_F(StreamTest, UnknownNamesAreToldOnceAndAnsweredWithNothing) {
  Stream stream(Front::kStateOfTheWorld, "t");
  EXPECT_THAT(stream.Apply(First({"nobody's"}), names_).unknown, ElementsAre("nobody's"));
  EXPECT_FALSE(stream.Answer(&trust_, &leaf_).has_value());
  Request again;
  again.names = {"nobody's", "ROOTCA"};
  EXPECT_THAT(stream.Apply(again, names_).unknown, IsEmpty());
  EXPECT_THAT(NamesOf(stream.Answer(&trust_, &leaf_)), ElementsAre("ROOTCA"));
}

TEST_F(StreamTest, ADeltaClientIsToldThatAnUnknownNameIsNotThere) {
  Stream stream(Front::kDelta, "t");
  stream.Apply(First({"nobody's", "ROOTCA"}), names_);
  const auto response = stream.Answer(&trust_, &leaf_);
  EXPECT_THAT(response->removed, ElementsAre("nobody's"));
  stream.Written();
  stream.Apply(Answering(*response), names_);
  EXPECT_FALSE(stream.Answer(&trust_, &leaf_).has_value()) << "once";
  // Not there *yet* is not told: the client waits.
  Stream early(Front::kDelta, "t");
  early.Apply(First({"default"}), names_);
  EXPECT_FALSE(early.Answer(&trust_, nullptr).has_value());
}

TEST_F(StreamTest, DeltaAddsTakesAwayAndAnswersWhoAsksAgain) {
  Stream stream(Front::kDelta, "t");
  stream.Apply(First({"ROOTCA"}), names_);
  ASSERT_TRUE(stream.Answer(&trust_, &leaf_).has_value());
  stream.Written();
  Request add;
  add.names = {"default"};
  stream.Apply(add, names_);
  EXPECT_THAT(NamesOf(stream.Answer(&trust_, &leaf_)), ElementsAre("default"));
  stream.Written();
  Request again;
  again.names = {"default"};
  stream.Apply(again, names_);
  EXPECT_THAT(NamesOf(stream.Answer(&trust_, &leaf_)), ElementsAre("default"));
  stream.Written();
  Request remove;
  remove.unsubscribe = {"default", "never asked for"};
  stream.Apply(remove, names_);
  EXPECT_EQ(stream.subscriptions().size(), 1u);
}

TEST_F(StreamTest, AcceptsOnlyWhatTheNonceCarriedAndOnlyIfNothingNewerWasSent) {
  Stream stream(Front::kStateOfTheWorld, "t");
  stream.Apply(First({"ROOTCA"}), names_);
  const auto first = stream.Answer(&trust_, &leaf_);
  stream.Written();
  const Edition newer = EditionOf(Kind::kTrust, 3);
  const auto second = stream.Answer(&newer, &leaf_);
  stream.Written();
  EXPECT_FALSE(stream.Apply(Answering(*first, {"ROOTCA"}), names_).accepted);
  EXPECT_EQ(FateOf(stream, "ROOTCA"), Fate::kSent);
  EXPECT_TRUE(stream.Apply(Answering(*second, {"ROOTCA"}), names_).accepted);
  EXPECT_EQ(FateOf(stream, "ROOTCA"), Fate::kAccepted);
}

TEST_F(StreamTest, AnAcceptanceOfAnEarlierNonceStillCountsForItsOwnNames) {
  Stream stream(Front::kStateOfTheWorld, "t");
  stream.Apply(First({"ROOTCA", "default"}), names_);
  const auto trust = stream.Answer(&trust_, nullptr);
  stream.Written();
  const auto leaf = stream.Answer(&trust_, &leaf_);
  stream.Written();
  EXPECT_TRUE(stream.Apply(Answering(*trust, {"ROOTCA", "default"}), names_).accepted);
  EXPECT_EQ(FateOf(stream, "ROOTCA"), Fate::kAccepted);
  EXPECT_EQ(FateOf(stream, "default"), Fate::kSent);
}

TEST_F(StreamTest, ARefusalCountsHoweverOldItsResponse) {
  Stream stream(Front::kStateOfTheWorld, "t");
  stream.Apply(First({"ROOTCA"}), names_);
  const auto first = stream.Answer(&trust_, &leaf_);
  stream.Written();
  const Edition newer = EditionOf(Kind::kTrust, 3);
  const auto second = stream.Answer(&newer, &leaf_);
  stream.Written();
  Request refusal = Answering(*first, {"ROOTCA"});
  refusal.error = "no";
  EXPECT_TRUE(stream.Apply(refusal, names_).refused.has_value());
  EXPECT_EQ(FateOf(stream, "ROOTCA"), Fate::kSent) << "the newer one is still to be answered for";
  refusal.nonce = second->nonce;
  EXPECT_EQ(stream.Apply(refusal, names_).refused, "ROOTCA");
  EXPECT_EQ(FateOf(stream, "ROOTCA"), Fate::kRefused);
  EXPECT_FALSE(stream.Apply(Answering(*second, {"ROOTCA"}), names_).accepted)
      << "what was refused cannot be accepted afterwards";
}

TEST_F(StreamTest, AStaleListOfNamesIsIgnoredAndAForeignNonceToo) {
  Stream stream(Front::kStateOfTheWorld, "t");
  stream.Apply(First({"ROOTCA"}), names_);
  const auto first = stream.Answer(&trust_, &leaf_);
  stream.Written();
  const Edition newer = EditionOf(Kind::kTrust, 3);
  ASSERT_TRUE(stream.Answer(&newer, &leaf_).has_value());
  EXPECT_FALSE(stream.Apply(Answering(*first, {"ROOTCA", "default"}), names_).ignored.empty());
  EXPECT_EQ(stream.subscriptions().size(), 1u);
  for (const char* nonce :
       {"x", "t-", "t-0", "t-3", "t-01", "t--1", "u-1", "t-99999999999999999999"}) {
    Request foreign{.nonce = nonce};
    foreign.names = {"default"};
    foreign.error = "no";
    const Stream::Effect effect = stream.Apply(foreign, names_);
    EXPECT_FALSE(effect.refused.has_value()) << nonce;
    EXPECT_FALSE(effect.ignored.empty()) << nonce;
    EXPECT_EQ(stream.subscriptions().count("default"), 0u) << nonce;
  }
}

TEST_F(StreamTest, ANonceOfAnEarlierStreamDoesNoHarmInTheFirstRequest) {
  Stream stream(Front::kStateOfTheWorld, "t");
  Request first = First({"ROOTCA"});
  first.nonce = "of-another-stream";
  first.error = "stale";
  EXPECT_FALSE(stream.Apply(first, names_).refused.has_value());
  EXPECT_THAT(NamesOf(stream.Answer(&trust_, &leaf_)), ElementsAre("ROOTCA"));
}

TEST_F(StreamTest, RefusesWhatNoClientMaySay) {
  const Stream fresh(Front::kDelta, "t");
  Request request = First({"default"});
  EXPECT_TRUE(fresh.Check(request, limits_).ok());
  request.type_url = "";
  EXPECT_TRUE(fresh.Check(request, limits_).ok()) << "implied by the service";
  request.type_url = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
  EXPECT_EQ(fresh.Check(request, limits_).code(), absl::StatusCode::kInvalidArgument);
  request = First({"default"});
  request.node_id.reset();
  EXPECT_EQ(fresh.Check(request, limits_).code(), absl::StatusCode::kInvalidArgument);
  request.node_id = "";
  EXPECT_EQ(fresh.Check(request, limits_).code(), absl::StatusCode::kInvalidArgument);
  request.node_id = std::string(limits_.node_id_bytes + 1, 'n');
  EXPECT_EQ(fresh.Check(request, limits_).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(fresh.Check(First({std::string(limits_.name_bytes + 1, 'n')}), limits_).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(fresh.Check(First(std::vector<std::string>(limits_.names_per_stream + 1, "n")), limits_)
                .code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(StreamTest, BoundsWhatADeltaClientAddsBitByBitAndKeepsItsNode) {
  Stream stream(Front::kDelta, "t");
  stream.Apply(First({"ROOTCA"}), names_);
  for (size_t i = 1; i < limits_.names_per_stream; ++i) {
    Request more;
    more.names = {"n" + std::to_string(i)};
    ASSERT_TRUE(stream.Check(more, limits_).ok());
    stream.Apply(more, names_);
  }
  Request more;
  more.names = {"one too many"};
  EXPECT_EQ(stream.Check(more, limits_).code(), absl::StatusCode::kResourceExhausted);
  Request other{.node_id = "another node"};
  EXPECT_EQ(stream.Check(other, limits_).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace capstan::sds
