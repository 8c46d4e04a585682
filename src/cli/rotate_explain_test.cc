// SPDX-License-Identifier: Apache-2.0
#include "cli/rotate_explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "cli/rotate_words.h"
#include "cli/test_rotation.h"

namespace capstan::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::WaitingRotation;

// The gate before the old root leaves.
control::v1::Rotation Moving() {
  control::v1::Rotation rotation = WaitingRotation();
  rotation.set_phase("new-issuer");
  rotation.set_next_step("drop-roots");
  rotation.mutable_gate()->set_name("move");
  rotation.mutable_progress()->set_moved(8);
  return rotation;
}

TEST(Explain, SaysHowTheCanaryDoesAndWhyItTurnedBack) {
  control::v1::Rotation rotation = testing::CanaryRotation();
  EXPECT_THAT(ExplainText(rotation, false),
              AllOf(HasSubstr("How does the canary do?"), HasSubstr("signs for 3 of 10"),
                    HasSubstr("4 workloads tell no failed handshakes")));
  rotation.set_turned_why("by itself, for the canary's harm: its Envoy refused");
  EXPECT_THAT(ExplainText(rotation, false), HasSubstr("is on its way back, turned by itself"));
  rotation.set_state("rolled-back");
  EXPECT_THAT(ExplainText(rotation, false), HasSubstr("was rolled back by itself, for the"));
  EXPECT_EQ(CodeOf(rotation), kRolledBack);
}

control::v1::Rotation HeldBy(const std::string& kind, const std::string& name) {
  control::v1::Rotation rotation = Moving();
  control::v1::Gate& gate = *rotation.mutable_gate();
  gate.clear_holders();
  control::v1::Holder& holder = *gate.add_holders();
  holder.set_kind(kind);
  holder.set_name(name);
  holder.set_why("because");
  return rotation;
}

TEST(ExplainText, AnswersInSentences) {
  EXPECT_EQ(ExplainText(WaitingRotation(), false),
            "Rotation 3 is running in phase both-trusted (2 of 4): both roots are trusted,\n"
            "the old authority signs.\n"
            "\n"
            "Why does it not go on?\n"
            "  The next step is switch-issuer (let the new authority sign, and every leaf be\n"
            "  re-issued). It comes when every consumer has acknowledged the bundle with the\n"
            "  new root, and that is not so.\n"
            "  capstand says: waiting for 1 absent, 1 laggard;\n"
            "  spiffe://td/ns/a/sa/httpbin/one: Envoy x (pid 7) has not acknowledged the\n"
            "  bundle of sequence 4.\n"
            "\n"
            "Who still depends on the old root?\n"
            "  10 of 10 workloads: they show a leaf of the old authority, or may. Each is\n"
            "  named at the gate before the old one leaves.\n"
            "\n"
            "Is it safe to remove the old root now?\n"
            "  NO: it is what every leaf chains to: the new authority does not sign yet.\n"
            "\n"
            "What to do?\n"
            "  absent (1): it holds a leaf that is still good, and its agent is not connected\n"
            "    do: start its agent, or wait until its last leaf has expired; a workload\n"
            "    that is gone for good may be excluded.\n"
            "    or pass over it, which costs: from the next step on it refuses every peer\n"
            "    with a new leaf, until it has taken the bundle.\n"
            "    spiffe://td/ns/a/sa/sleep/two (until 2026-03-01T23:00:00Z, in 11h)\n"
            "      its agent is not connected; last seen at 2026-03-01T09:00:00Z\n"
            "      capstan rotate exclude spiffe://td/ns/a/sa/sleep/two --reason 'WHY'\n"
            "  laggard (1): connected, and not there yet\n"
            "    do: read its reason. A NACK: mend what it names, then reload that proxy. No\n"
            "    consumer connected: start the proxy, or stop its agent. An agent that cannot\n"
            "    get a certificate says why in its log.\n"
            "    or pass over it, which costs: from the next step on it refuses every peer\n"
            "    with a new leaf, until it has taken the bundle.\n"
            "    spiffe://td/ns/a/sa/httpbin/one\n"
            "      Envoy x (pid 7) has not acknowledged the bundle of sequence 4\n"
            "      NACK of ROOTCA: Failed to load trusted CA\n"
            "      capstan rotate exclude spiffe://td/ns/a/sa/httpbin/one --reason 'WHY'\n");
}

TEST(ExplainText, NamesWhoDependsOnTheOldRootWithUntil) {
  EXPECT_THAT(ExplainText(Moving(), false),
              HasSubstr("Who still depends on the old root?\n"
                        "  spiffe://td/ns/a/sa/httpbin/one\n"
                        "  spiffe://td/ns/a/sa/sleep/two (until 2026-03-01T23:00:00Z, in 11h)\n"));
}

TEST(ExplainText, EveryKindHasItsRemedy) {
  for (const std::string kind :
       {"laggard", "absent", "unproven", "join-file", "foreign", "unrecorded", "bootstrap"}) {
    const std::string text = ExplainText(HeldBy(kind, "who"), false);
    EXPECT_THAT(text, AllOf(HasSubstr("  " + kind + " (1): "), HasSubstr("    do: "),
                            HasSubstr("which costs: "),
                            HasSubstr("capstan rotate exclude who --reason 'WHY'")));
    EXPECT_FALSE(AdviceFor(kind).means.empty()) << kind;
  }
}

TEST(ExplainText, SaysWhoseBudgetTheReissueGoesBy) {
  control::v1::Rotation rotation = Moving();
  rotation.mutable_progress()->mutable_eta()->set_seconds(1772366400 + 60);
  EXPECT_THAT(ExplainText(rotation, false), HasSubstr("at 20 a second (the budget of capstand)"));
  rotation.mutable_policy()->set_issue_per_second(20);
  EXPECT_THAT(ExplainText(rotation, false), HasSubstr("(the budget of this rotation)"));
  rotation.mutable_policy()->set_issue_per_second(50);
  EXPECT_THAT(ExplainText(rotation, false), HasSubstr("(the budget of capstand)"));
}

TEST(ExplainText, AClockIsNeverPassedOver) {
  EXPECT_THAT(ExplainText(HeldBy("clock", "clock"), false),
              AllOf(HasSubstr("mend the clock"), Not(HasSubstr("rotate exclude")),
                    HasSubstr("Nobody, as far as can be known")));
}

TEST(ExplainText, AKindOfALaterVersionIsShown) {
  EXPECT_THAT(ExplainText(HeldBy("moon", "who"), false),
              AllOf(HasSubstr("moon (1)\n"), HasSubstr("because")));
}

TEST(ExplainText, ShowsTheFirstOfEachKindOrAll) {
  control::v1::Rotation rotation = HeldBy("absent", "one");
  for (int i = 0; i < 6; ++i) {
    control::v1::Holder& holder = *rotation.mutable_gate()->add_holders();
    holder.set_kind("absent");
    holder.set_name("other-" + std::to_string(i));
  }
  EXPECT_THAT(ExplainText(rotation, false), HasSubstr("    … and 2 more (--all shows them)\n"));
  EXPECT_THAT(ExplainText(rotation, true),
              AllOf(HasSubstr("exclude other-5"), Not(HasSubstr("--all"))));
}

TEST(ExplainText, SaysWhenNothingIsWaitedFor) {
  EXPECT_EQ(ExplainText({}, false), "There was no rotation yet.\n");
  control::v1::Rotation rotation = WaitingRotation();
  rotation.clear_gate();
  EXPECT_THAT(ExplainText(rotation, false),
              AllOf(HasSubstr("at once: the next step takes nothing"), Not(HasSubstr("What to"))));
  rotation.mutable_gate()->set_name("trust");
  rotation.mutable_gate()->mutable_soak_left()->set_seconds(12);
  EXPECT_THAT(ExplainText(rotation, false), HasSubstr("for another 12s"));
  rotation.set_state("paused");
  EXPECT_THAT(ExplainText(rotation, false), HasSubstr("An operator paused it"));
}

TEST(SafeToRemove, IsYesOnlyBehindItsGate) {
  using Answer = Verdict::Answer;
  EXPECT_EQ(SafeToRemove({}).answer, Answer::kNo);
  EXPECT_EQ(SafeToRemove(WaitingRotation()).answer, Answer::kNo);
  control::v1::Rotation rotation = Moving();
  EXPECT_EQ(SafeToRemove(rotation).answer, Answer::kNo);
  EXPECT_EQ(SafeToRemove(rotation).because, rotation.gate().summary());
  rotation.mutable_gate()->clear_holders();
  rotation.mutable_gate()->clear_laggards();
  rotation.mutable_gate()->clear_absent();
  rotation.mutable_gate()->mutable_soak_left()->set_seconds(3);
  EXPECT_EQ(SafeToRemove(rotation).answer, Answer::kNo) << "it soaks";
  rotation.mutable_gate()->clear_soak_left();
  rotation.mutable_gate()->set_open(true);
  EXPECT_EQ(SafeToRemove(rotation).answer, Answer::kYes);
  rotation.set_next_step("move-serving");
  rotation.mutable_gate()->set_name("agents");
  EXPECT_EQ(SafeToRemove(rotation).answer, Answer::kNo) << "the control plane itself is on it";
  rotation.set_phase("root-b");
  EXPECT_EQ(SafeToRemove(rotation).answer, Answer::kRemoved);
  rotation.clear_leaving_roots();
  EXPECT_EQ(SafeToRemove(rotation).answer, Answer::kNoneLeaves);
}

}  // namespace
}  // namespace capstan::cli
