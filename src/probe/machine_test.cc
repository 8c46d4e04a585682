// SPDX-License-Identifier: Apache-2.0
#include "probe/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace capstan::probe {
namespace {

using fleet::v1::ProbeResult;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using trust::AuthorityId;

constexpr absl::Duration kLife = absl::Minutes(5);

const AuthorityId kA = *AuthorityId::Parse("aa");
const AuthorityId kB = *AuthorityId::Parse("bb");
const AuthorityId kC = *AuthorityId::Parse("cc");

// Performs the machine's actions against consumers that trust some authorities, with a clock that
// moves by hand. Every action is written down.
class World {
 public:
  explicit World(size_t targets = 1) : machine_("seed", targets, {}) {
    Feed(ProbeMachine::Serving{Version(1)});
  }

  static trust::BundleVersion Version(int64_t sequence) { return {"lineage", sequence}; }
  static ProbedConsumer Consumer(const std::string& id, int64_t sequence,
                                 const std::string& leaf = "1") {
    return {id, Version(sequence), leaf};
  }

  void Feed(const ProbeMachine::Event& event) {
    const ProbeMachine::Decision decision = machine_.On(event, now_);
    changes_ += decision.changed;
    ASSERT_FALSE(decision.actions.empty());
    for (const auto& action : decision.actions) {
      if (const auto* obtain = std::get_if<ProbeMachine::ObtainLeaf>(&action)) {
        ASSERT_FALSE(pending_.has_value()) << "one at a time";
        pending_ = action;
        log_.push_back("obtain " + obtain->authority.hex());
      } else if (const auto* attempt = std::get_if<ProbeMachine::Try>(&action)) {
        ASSERT_FALSE(pending_.has_value()) << "one at a time";
        ASSERT_TRUE(leaves_.contains(attempt->authority));
        ASSERT_GT(leaves_.at(attempt->authority), now_.wall);
        pending_ = action;
        log_.push_back(absl::StrCat("try ", attempt->target, " ", attempt->authority.hex()));
      } else if (const auto* drop = std::get_if<ProbeMachine::DropLeaf>(&action)) {
        leaves_.erase(drop->authority);
        log_.push_back("drop " + drop->authority.hex());
      } else {
        wake_ = std::get<ProbeMachine::WakeAfter>(action).delay;
      }
    }
  }
  // Answers what is pending, until nothing is.
  void Settle() {
    while (pending_.has_value()) AnswerOne();
  }
  void AnswerOne() {
    const ProbeMachine::Action action = *std::exchange(pending_, std::nullopt);
    if (const auto* obtain = std::get_if<ProbeMachine::ObtainLeaf>(&action)) {
      if (!unobtainable_.empty()) {
        Feed(ProbeMachine::LeafFailed{unobtainable_});
        return;
      }
      leaves_[obtain->authority] = now_.wall + kLife;
      Feed(ProbeMachine::LeafObtained{now_.wall + kLife});
      return;
    }
    const AuthorityId& id = std::get<ProbeMachine::Try>(action).authority;
    ProbeOutcome outcome;
    outcome.verdict = trusted_.contains(id) ? ProbeResult::ACCEPTED : ProbeResult::UNKNOWN_CA;
    Feed(ProbeMachine::Tried{outcome});
  }
  void Move(absl::Duration by) {
    now_.wall += by;
    now_.monotonic += by;
  }
  // Moves the clock to when the machine wants to be woken. False: it does not.
  bool Wake() {
    if (wake_ == absl::InfiniteDuration()) return false;
    Move(wake_);
    Feed(ProbeMachine::Woke{});
    Settle();
    return true;
  }
  // What was done since the last call.
  std::vector<std::string> Log() { return std::exchange(log_, {}); }
  absl::Duration wake() const { return wake_; }

  // "0 aa ACCEPTED@1": target, authority, verdict, bundle.
  std::vector<std::string> Results() const {
    std::vector<std::string> texts;
    for (const auto& result : machine_.results(now_)) {
      texts.push_back(
          absl::StrCat(result.target, " ", result.authority ? result.authority->hex() : "-", " ",
                       result.outcome.verdict == ProbeResult::VERDICT_UNSPECIFIED
                           ? "?"
                           : absl::StrCat(ProbeResult::Verdict_Name(result.outcome.verdict), "@",
                                          result.outcome.bundle.sequence)));
    }
    return texts;
  }

  ProbeMachine machine_;
  lifecycle::Instant now_{absl::FromUnixSeconds(1'750'000'000), absl::Seconds(100)};
  std::set<AuthorityId> trusted_ = {kA, kB};
  std::string unobtainable_;  // why nothing can be obtained; "": it can
  std::map<AuthorityId, absl::Time> leaves_;
  std::optional<ProbeMachine::Action> pending_;
  int changes_ = 0;

 private:
  absl::Duration wake_ = absl::InfiniteDuration();
  std::vector<std::string> log_;
};

class ProbeMachineTest : public ::testing::Test {
 protected:
  void AskBoth() {
    world_.Feed(ProbeMachine::Consumers{{World::Consumer("e", 1)}});
    world_.Feed(ProbeMachine::Asked{{.accepted = {kA, kB}, .refused = {}}});
  }
  // Both are accepted; then A's root leaves.
  void DropA() {
    AskBoth();
    ASSERT_TRUE(world_.Wake());
    world_.Log();
    world_.Feed(ProbeMachine::Serving{World::Version(2)});
    world_.Feed(ProbeMachine::Asked{{.accepted = {kB}, .refused = {kA}}});
  }
  World world_;
};

TEST_F(ProbeMachineTest, NothingIsTriedUnlessAskedFor) {
  world_.Feed(ProbeMachine::Consumers{{World::Consumer("e", 1)}});
  EXPECT_EQ(world_.wake(), absl::InfiniteDuration());
  EXPECT_THAT(world_.Log(), IsEmpty());
  EXPECT_THAT(world_.Results(), ElementsAre("0 - ?")) << "the target is known all the same";
}

TEST_F(ProbeMachineTest, TheControlComesFirst) {
  AskBoth();
  EXPECT_GE(world_.wake(), absl::Milliseconds(300));
  EXPECT_LE(world_.wake(), absl::Milliseconds(1300));
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ?", "0 bb ?"));
  ASSERT_TRUE(world_.Wake());
  EXPECT_THAT(world_.Log(), ElementsAre("obtain aa", "obtain bb", "try 0 aa", "try 0 bb"));
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ACCEPTED@1", "0 bb ACCEPTED@1"));
}

TEST_F(ProbeMachineTest, EveryTargetIsTried) {
  World two(2);
  two.Feed(ProbeMachine::Consumers{{World::Consumer("e", 1)}});
  two.Feed(ProbeMachine::Asked{{.accepted = {kA, kB}, .refused = {}}});
  ASSERT_TRUE(two.Wake());
  EXPECT_THAT(two.Log(), ElementsAre("obtain aa", "obtain bb", "try 0 aa", "try 0 bb", "try 1 aa",
                                     "try 1 bb"));
  EXPECT_EQ(two.Results().size(), 4u);
}

TEST_F(ProbeMachineTest, NobodyIsTriedBeforeHeAcknowledgedABundle) {
  world_.Feed(ProbeMachine::Asked{{.accepted = {kA, kB}, .refused = {}}});
  EXPECT_FALSE(world_.Wake());
  world_.Feed(ProbeMachine::Consumers{{{.id = "e", .bundle = {}, .leaf_serial = ""}}});
  EXPECT_FALSE(world_.Wake());
  world_.Move(absl::Minutes(1));
  world_.Feed(ProbeMachine::Consumers{{World::Consumer("e", 1)}});
  EXPECT_EQ(world_.wake(), absl::Milliseconds(300)) << "though a round has been due for long";
  EXPECT_TRUE(world_.Wake());
}

TEST_F(ProbeMachineTest, WhatIsNotAsAskedIsTriedAgainSoonAndWhatIsLater) {
  world_.trusted_ = {kA};
  AskBoth();
  ASSERT_TRUE(world_.Wake());
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ACCEPTED@1", "0 bb UNKNOWN_CA@1"));
  EXPECT_GE(world_.wake(), absl::Seconds(9));
  EXPECT_LE(world_.wake(), absl::Seconds(11));
  world_.trusted_ = {kA, kB};
  ASSERT_TRUE(world_.Wake());
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ACCEPTED@1", "0 bb ACCEPTED@1"));
  EXPECT_GE(world_.wake(), absl::Seconds(54));
  EXPECT_LE(world_.wake(), absl::Seconds(66));
}

TEST_F(ProbeMachineTest, AnAcknowledgementCallsForAnotherRoundAndKeepsTheResults) {
  AskBoth();
  ASSERT_TRUE(world_.Wake());
  world_.Log();
  world_.Feed(ProbeMachine::Consumers{{World::Consumer("e", 1, "2")}});
  EXPECT_EQ(world_.wake(), absl::Milliseconds(300));
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ACCEPTED@1", "0 bb ACCEPTED@1"));
  ASSERT_TRUE(world_.Wake());
  EXPECT_THAT(world_.Log(), ElementsAre("try 0 aa", "try 0 bb"));
  // The same again is nothing new.
  const absl::Duration wake = world_.wake();
  world_.Feed(ProbeMachine::Consumers{{World::Consumer("e", 1, "2")}});
  EXPECT_EQ(world_.wake(), wake);
}

TEST_F(ProbeMachineTest, OtherConsumersHaveShownNothing) {
  AskBoth();
  ASSERT_TRUE(world_.Wake());
  world_.Feed(ProbeMachine::Consumers{{World::Consumer("e", 1), World::Consumer("f", 1)}});
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ?", "0 bb ?"));
  ASSERT_TRUE(world_.Wake());
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ACCEPTED@1", "0 bb ACCEPTED@1"));
  world_.Feed(ProbeMachine::Consumers{{World::Consumer("f", 1)}});
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ?", "0 bb ?"));
}

TEST_F(ProbeMachineTest, AnotherBundleHasNotBeenShownToBeTrusted) {
  AskBoth();
  ASSERT_TRUE(world_.Wake());
  world_.Feed(ProbeMachine::Serving{World::Version(2)});
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ?", "0 bb ?"));
  ASSERT_TRUE(world_.Wake());
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ACCEPTED@2", "0 bb ACCEPTED@2"));
}

TEST_F(ProbeMachineTest, AHandshakeThatBeganWithOthersCountsForNothing) {
  AskBoth();
  world_.Move(world_.wake());
  world_.Feed(ProbeMachine::Woke{});
  world_.AnswerOne();  // A's certificate
  world_.AnswerOne();  // B's
  ASSERT_TRUE(world_.pending_.has_value());
  world_.Feed(ProbeMachine::Consumers{{World::Consumer("f", 1)}});
  world_.AnswerOne();
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ?", "0 bb ?"));
  EXPECT_FALSE(world_.pending_.has_value()) << "the rest of the round is not made";
  ASSERT_TRUE(world_.Wake());
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ACCEPTED@1", "0 bb ACCEPTED@1"));
}

TEST_F(ProbeMachineTest, WithoutACertificateTheReasonIsThere) {
  world_.unobtainable_ = "the control plane is away";
  AskBoth();
  ASSERT_TRUE(world_.Wake());
  EXPECT_THAT(world_.Log(), ElementsAre("obtain aa", "obtain bb"));
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ?", "0 bb ?"));
  EXPECT_EQ(world_.machine_.results(world_.now_)[0].outcome.detail, "the control plane is away");
  EXPECT_LE(world_.wake(), absl::Seconds(11));
  world_.unobtainable_.clear();
  ASSERT_TRUE(world_.Wake());
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ACCEPTED@1", "0 bb ACCEPTED@1"));
}

TEST_F(ProbeMachineTest, CertificatesKeepHalfOfTheirLife) {
  AskBoth();
  for (int round = 0; round < 30; ++round) {
    ASSERT_TRUE(world_.Wake());
    for (const AuthorityId& id : {kA, kB}) {
      EXPECT_GE(world_.leaves_.at(id) - world_.now_.wall, kLife / 2);
    }
  }
  const std::vector<std::string> log = world_.Log();
  const auto obtained = std::count(log.begin(), log.end(), "obtain aa");
  EXPECT_GE(obtained, 8);
  EXPECT_LE(obtained, 14) << "and no more are asked for than that takes";
}

TEST_F(ProbeMachineTest, OnceARootLeftItsClientsAreToBeRefused) {
  DropA();
  EXPECT_THAT(world_.Results(), ElementsAre("0 bb ?", "0 aa ?"));
  world_.trusted_ = {kB};
  ASSERT_TRUE(world_.Wake());
  EXPECT_THAT(world_.Log(), ElementsAre("try 0 bb", "try 0 aa"));
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa UNKNOWN_CA@2", "0 bb ACCEPTED@2"));
  EXPECT_GE(world_.wake(), absl::Seconds(54));
}

TEST_F(ProbeMachineTest, AConsumerThatGoesOnAcceptingIsAskedAgain) {
  DropA();
  ASSERT_TRUE(world_.Wake());
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ACCEPTED@2", "0 bb ACCEPTED@2"));
  EXPECT_LE(world_.wake(), absl::Seconds(11));
  world_.trusted_ = {kB};
  world_.Feed(ProbeMachine::Consumers{{World::Consumer("e", 2)}});
  ASSERT_TRUE(world_.Wake());
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa UNKNOWN_CA@2", "0 bb ACCEPTED@2"));
}

TEST_F(ProbeMachineTest, ARefusalCannotBeTriedWithoutACertificateOfBefore) {
  world_.Feed(ProbeMachine::Consumers{{World::Consumer("e", 1)}});
  world_.Feed(ProbeMachine::Asked{{.accepted = {kB}, .refused = {kA}}});
  EXPECT_FALSE(world_.Wake()) << "the control alone shows nothing";
  EXPECT_THAT(world_.Log(), IsEmpty());
  EXPECT_THAT(world_.Results(), ElementsAre("0 - ?"));
}

TEST_F(ProbeMachineTest, ItEndsWithTheCertificate) {
  DropA();
  world_.Feed(ProbeMachine::Consumers{{World::Consumer("e", 2)}});
  int rounds = 0;
  while (world_.Wake()) ASSERT_LT(++rounds, 60);
  EXPECT_GE(rounds, 10) << "still accepted: asked again and again";
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ACCEPTED@2", "0 bb ACCEPTED@2"));
  // What it would now say cannot be found out any more: no result is not a refusal.
  world_.Feed(ProbeMachine::Consumers{{World::Consumer("e", 2, "9")}});
  EXPECT_THAT(world_.Results(), ElementsAre("0 bb ACCEPTED@2"));
  EXPECT_FALSE(world_.Wake());
}

TEST_F(ProbeMachineTest, WhenNothingIsAskedTheCertificatesGoAndTheResultsStay) {
  AskBoth();
  ASSERT_TRUE(world_.Wake());
  world_.Log();
  world_.Feed(ProbeMachine::Asked{{}});
  EXPECT_THAT(world_.Log(), ElementsAre("drop aa", "drop bb"));
  EXPECT_EQ(world_.wake(), absl::InfiniteDuration());
  EXPECT_THAT(world_.Results(), ElementsAre("0 aa ACCEPTED@1", "0 bb ACCEPTED@1"));
  world_.Feed(ProbeMachine::Asked{{.accepted = {kB, kC}, .refused = {}}});
  EXPECT_THAT(world_.Results(), ElementsAre("0 bb ACCEPTED@1", "0 cc ?"));
  ASSERT_TRUE(world_.Wake());
  EXPECT_THAT(world_.Log(), ElementsAre("obtain bb", "obtain cc", "try 0 bb", "try 0 cc"));
}

TEST_F(ProbeMachineTest, ACertificateThatComesTooLateIsDroppedAtOnce) {
  AskBoth();
  world_.Move(world_.wake());
  world_.Feed(ProbeMachine::Woke{});
  ASSERT_TRUE(world_.pending_.has_value());
  world_.Feed(ProbeMachine::Asked{{}});
  world_.AnswerOne();
  EXPECT_THAT(world_.Log(), ElementsAre("obtain aa", "drop aa"));
  EXPECT_THAT(world_.leaves_, IsEmpty());
}

TEST_F(ProbeMachineTest, AWallClockThatStepsBackMakesNoCertificateLast) {
  AskBoth();
  ASSERT_TRUE(world_.Wake());
  world_.Log();
  world_.now_.wall -= absl::Hours(1);
  world_.Move(kLife);
  world_.Feed(ProbeMachine::Woke{});
  world_.Settle();
  EXPECT_THAT(world_.Log(), ElementsAre("obtain aa", "obtain bb", "try 0 aa", "try 0 bb"));
}

// Whatever comes in whatever order: what is listed names every target, counts for the present
// consumers and bundle only, and the machine goes to rest or wants to be woken.
RC_GTEST_PROP(ProbeMachineProperty, AnyOrderOfEvents, ()) {
  World world(2);
  int64_t sequence = 1;
  for (int events = *rc::gen::inRange(1, 60); events > 0; --events) {
    switch (*rc::gen::inRange(0, 8)) {
      case 0:
        world.Feed(ProbeMachine::Asked{{.accepted = {kA, kB}, .refused = {}}});
        break;
      case 1:
        world.Feed(ProbeMachine::Asked{{.accepted = {kB}, .refused = {kA}}});
        break;
      case 2:
        world.Feed(ProbeMachine::Asked{{}});
        break;
      case 3:
        world.Feed(ProbeMachine::Serving{World::Version(++sequence)});
        break;
      case 4: {
        std::set<ProbedConsumer> consumers;
        for (const char* id : {"e", "f"}) {
          if (*rc::gen::inRange(0, 2) == 0) continue;
          consumers.insert(World::Consumer(id, *rc::gen::inRange<int64_t>(1, sequence + 1)));
        }
        world.Feed(ProbeMachine::Consumers{consumers});
        break;
      }
      case 5:
        if (world.pending_.has_value()) world.AnswerOne();
        break;
      case 6:
        world.Wake();
        break;
      case 7:
        world.unobtainable_ = *rc::gen::element<std::string>("", "away");
        world.Move(absl::Seconds(*rc::gen::inRange(0, 400)));
        break;
    }
    RC_ASSERT(!::testing::Test::HasFatalFailure());
    std::set<size_t> named;
    for (const auto& result : world.machine_.results(world.now_)) {
      named.insert(result.target);
      RC_ASSERT(result.outcome.verdict == ProbeResult::VERDICT_UNSPECIFIED ||
                result.outcome.bundle == World::Version(sequence));
    }
    RC_ASSERT(named.size() == 2u);
  }
}

}  // namespace
}  // namespace capstan::probe
