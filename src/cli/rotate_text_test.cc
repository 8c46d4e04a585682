// SPDX-License-Identifier: Apache-2.0
#include "cli/rotate_text.h"

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
using testing::Text;
using testing::WaitingRotation;

TEST(RotationText, IsOneScreen) {
  EXPECT_EQ(
      RotationText(WaitingRotation()),
      "rotation       3, running, wished by: managed\n"
      "started        2026-03-01T11:48:00Z (12m ago)\n"
      "phase          both-trusted (2 of 4): both roots are trusted, the old authority\n"
      "               signs; for 3m10s\n"
      "gate           \"trust\" is shut until every consumer has acknowledged the bundle\n"
      "               with the new root\n"
      "               waiting for 1 absent, 1 laggard; spiffe://td/ns/a/sa/httpbin/one:\n"
      "               Envoy x (pid 7) has not acknowledged the bundle of sequence 4\n"
      "next           switch-issuer: let the new authority sign, and every leaf be\n"
      "               re-issued\n"
      "workloads      10 hold an unexpired certificate, 9 connected\n"
      "acknowledged   8 of 10 the bundle of this moment\n"
      "proven         7 of 10 by a handshake\n"
      "re-issued      0 of 10 show a leaf that stays good\n"
      "clock          the agents' clocks are 1.5s behind capstand's\n"
      "policy         soak 30s; absent workloads are waited for 1d per phase; a proof\n"
      "               by handshake where one is possible; re-issue at capstand's\n"
      "               budget, 20 a second\n"
      "issuer         aaaaaaaaaaaa → bbbbbbbbbbbb\n"
      "comes          2222bbbb (CN=Root B)\n"
      "leaves         1111aaaa (CN=Root A)\n"
      "passed over    spiffe://td/ns/a/sa/gone/g: excluded by the operator: switched\n"
      "               off (2026-03-01T11:50:00Z)\n"
      "\n"
      "KIND      NAME                              UNTIL                  WHY\n"
      "laggard   spiffe://td/ns/a/sa/httpbin/one   -                      Envoy x (pid 7) has not "
      "acknowledged the bundle of sequence 4; it refused ROOTCA: Failed to load trusted CA\n"
      "absent    spiffe://td/ns/a/sa/sleep/two     2026-03-01T23:00:00Z   its agent is not "
      "connected; last seen at 2026-03-01T09:00:00Z\n"
      "`capstan rotate explain` says what to do about each\n");
}

TEST(RotationText, TellsOfThoseWhoseAgentsWordIsAllThereIs) {
  control::v1::Rotation rotation = WaitingRotation();
  rotation.mutable_progress()->set_by_word(3);
  EXPECT_THAT(
      RotationText(rotation),
      HasSubstr("acknowledged   8 of 10 the bundle of this moment, 3 by their stock agents' word\n"
                "               alone\n"));
}

TEST(RotationText, ACanaryIsShownWithWhoCannotTell) {
  control::v1::Rotation rotation = testing::CanaryRotation();
  EXPECT_THAT(RotationText(rotation),
              AllOf(HasSubstr("canary         namespace=web: the new authority signs for 3 of 10 "
                              "workloads, 2\n               show its leaf\n"),
                    HasSubstr("4 workloads tell no failed handshakes: their agents have no\n"
                              "               --envoy-admin\n")));
  rotation.mutable_canary()->set_population(10);
  rotation.mutable_canary()->set_others(0);
  EXPECT_THAT(RotationText(rotation), HasSubstr("that is everybody"));
  EXPECT_THAT(StartedText(rotation, ""), HasSubstr("that is everybody"));
  rotation.set_state("rolled-back");
  rotation.set_turned_why("by itself, for the canary's harm: spiffe://td/a#1: because");
  EXPECT_THAT(RotationText(rotation), HasSubstr("turned back    by itself, for the canary's harm"));
  control::v1::ListRotationsResponse history;
  *history.add_rotations() = rotation;
  EXPECT_THAT(HistoryText(history), HasSubstr("Rotation 3 turned back by itself"));
}

TEST(RotationText, WithoutARotationSaysSo) {
  EXPECT_EQ(RotationText({}), "There was no rotation yet. `capstan rotate plan` plans one.\n");
}

TEST(RotationText, AnEndedOneTellsNoGate) {
  control::v1::Rotation rotation = WaitingRotation();
  rotation.set_state("done");
  rotation.set_phase("root-b");
  rotation.mutable_finished()->set_seconds(1772366400 + 60);
  EXPECT_THAT(RotationText(rotation),
              AllOf(HasSubstr("ended 2026-03-01T12:01:00Z after 13m"), HasSubstr("(4 of 4)"),
                    HasSubstr("passed over"), Not(HasSubstr("gate")), Not(HasSubstr("laggard"))));
}

TEST(RotationText, PausedAndEmergencyStandOut) {
  control::v1::Rotation rotation = WaitingRotation();
  rotation.set_state("paused");
  rotation.set_emergency(true);
  EXPECT_THAT(RotationText(rotation), AllOf(HasSubstr("3, paused, EMERGENCY (no gates)"),
                                            HasSubstr("PAUSED         `capstan rotate resume`")));
}

TEST(RotationText, CountsWhoIsNotShown) {
  control::v1::Rotation rotation = WaitingRotation();
  rotation.mutable_gate()->set_laggards(250);
  for (int i = 0; i < 20; ++i) *rotation.mutable_gate()->add_holders() = rotation.gate().holders(0);
  EXPECT_THAT(RotationText(rotation), HasSubstr("… and 243 more; `capstan rotate explain`"));
}

TEST(RotationText, NothingThatCameFromOutsideMovesTheCursor) {
  control::v1::Rotation rotation = WaitingRotation();
  rotation.mutable_gate()->mutable_holders(0)->set_name("\x1b[2Jevil");
  rotation.mutable_gate()->set_summary("\x1b[2J evil");
  rotation.mutable_exempt(0)->set_why("a\r\nb");
  EXPECT_THAT(RotationText(rotation), Not(HasSubstr("\x1b")));
  EXPECT_THAT(RotationText(rotation), HasSubstr("a??b"));
}

TEST(PolicyText, SaysEachPart) {
  EXPECT_EQ(PolicyText(Text<control::v1::RotationPolicy>(
                           R"pb(soak { seconds: 600 }
                                absent_deadline { seconds: 315576000000 }
                                require_proven: true
                                issue_per_second: 12.5)pb"),
                       12.5),
            "soak 10m; absent workloads are waited for until their leaves expire; a proof by "
            "handshake of every one; re-issue at a rate of its own, at most 12.5 a second");
  control::v1::RotationPolicy policy;
  policy.set_issue_per_second(50);
  EXPECT_THAT(PolicyText(policy, 20),
              HasSubstr("at a rate of its own, at most 50 a second; capstand's budget allows 20"));
  policy.clear_issue_per_second();
  EXPECT_THAT(PolicyText(policy, 0.125),
              HasSubstr("re-issue at capstand's budget, 0.125 a second"));
}

TEST(PlanText, TellsFindingsStepsAndTimes) {
  const auto plan = Text<control::v1::RotationPlan>(R"pb(
    findings {
      severity: "warning"
      code: "ends-soon"
      what: "it ends"
      where: "root R"
      remedy: "have another one"
    }
    steps { name: "add-roots" }
    steps { name: "switch-issuer" gate: "every consumer acknowledged" }
    steps { name: "drop-roots" gate: "nobody shows a leaf of A" }
    waited_for { kind: "absent" name: "spiffe://td/ns/a/sa/sleep/two" why: "not connected" }
    population: 10
    certificates_per_second: 20
    reissued_certificates: 1800
    reissue_takes { seconds: 90 }
    takes { seconds: 300 }
  )pb");
  EXPECT_EQ(PlanText(plan),
            "warning        ends-soon: it ends [root R]\n"
            "  do           have another one\n"
            "\n"
            "1. add-roots        trust the new root beside the old one\n"
            "   wait until       every consumer acknowledged\n"
            "2. switch-issuer    let the new authority sign, and every leaf be re-issued\n"
            "   wait until       nobody shows a leaf of A\n"
            "3. drop-roots       drop the old root; this cannot be undone\n"
            "each wait           also until the agents confirm capstand's clock: a wrong one\n"
            "                    opens no gate\n"
            "\n"
            "workloads      10 hold an unexpired certificate\n"
            "re-issue       1800 certificates in 1m30s, at 20 a second\n"
            "takes          at least 5m, with everybody there\n"
            "\n"
            "As things are, it would wait for\n"
            "KIND     NAME                            UNTIL   WHY\n"
            "absent   spiffe://td/ns/a/sa/sleep/two   -       not connected\n"
            "\n"
            "Nothing was changed. `capstan rotate start` with the same flags does it.\n");
  EXPECT_FALSE(HasErrors(plan));
}

TEST(PlanText, AnErrorForbidsTheStart) {
  const auto plan = Text<control::v1::RotationPlan>(
      R"pb(findings { severity: "error" what: "the key is weak" })pb");
  EXPECT_TRUE(HasErrors(plan));
  EXPECT_THAT(PlanText(plan), AllOf(HasSubstr("ERROR          the key is weak\n"),
                                    HasSubstr("It must not start like this."),
                                    HasSubstr("none: this is what is in force already")));
}

TEST(StartedText, SaysHowToGoOn) {
  EXPECT_EQ(
      StartedText(WaitingRotation(), " --socket /run/c.sock"),
      "Rotation 3 has started.\n"
      "  capstan rotate watch --socket /run/c.sock      shows how it goes, until it has ended\n"
      "  capstan rotate explain --socket /run/c.sock    says what it waits for, and what to do\n"
      "  capstan rotate rollback --socket /run/c.sock   goes back, until the old root has "
      "left\n");
}

TEST(EmergencyText, SaysWhatBreaks) {
  control::v1::RotationPlan plan;
  plan.set_population(1);
  EXPECT_THAT(EmergencyText(plan),
              AllOf(HasSubstr("EMERGENCY ROTATION"), HasSubstr("  - 1 workload holds an"),
                    HasSubstr("cannot be rolled back"), Not(HasSubstr("would have waited"))));
}

TEST(HistoryText, NamesWhoWasPassedOver) {
  control::v1::ListRotationsResponse history;
  control::v1::Rotation& first = *history.add_rotations();
  first = WaitingRotation();
  first.set_state("done");
  first.mutable_finished()->set_seconds(1772366400);
  *history.add_rotations() =
      Text<control::v1::Rotation>(R"pb(number: 4 state: "aborted" emergency: true)pb");
  EXPECT_EQ(
      HistoryText(history),
      "ROTATION      STATE     STARTED                TOOK   WISHED BY   FROM           TO"
      "             PASSED OVER\n"
      "3             done      2026-03-01T11:48:00Z   12m    managed     aaaaaaaaaaaa   "
      "bbbbbbbbbbbb   1\n"
      "4 emergency   aborted   -                      -      -           -              -"
      "              -\n"
      "\n"
      "Rotation 3 did not wait for\n"
      "NAME                         SINCE                  WHY\n"
      "spiffe://td/ns/a/sa/gone/g   2026-03-01T11:50:00Z   excluded by the operator: switched "
      "off\n");
  EXPECT_EQ(HistoryText({}), "There was no rotation yet.\n");
}

TEST(JournalText, PrintsEachEntry) {
  EXPECT_EQ(
      JournalText(Text<control::v1::ListRotationsResponse>(R"pb(
        journal {
          at { seconds: 1772366400 }
          kind: "switch-issuer"
          why: "the gate is open"
          rotation: 3
          sequence: 4
          issuer_epoch: 2
        })pb")),
      "\nAT                     ROTATION   KIND            BUNDLE   EPOCH   WHY\n"
      "2026-03-01T12:00:00Z   3          switch-issuer   4        2       the gate is open\n");
}

TEST(CodeOf, TellsAPipelineWhatIsSo) {
  control::v1::Rotation rotation = WaitingRotation();
  EXPECT_EQ(CodeOf(rotation), kWaiting);
  rotation.clear_gate();
  rotation.mutable_gate()->set_name("trust");
  rotation.mutable_gate()->mutable_soak_left()->set_seconds(5);
  EXPECT_EQ(CodeOf(rotation), kRunning) << "a soak ends by itself";
  rotation.set_state("paused");
  EXPECT_EQ(CodeOf(rotation), kPaused);
  rotation.set_state("rolled-back");
  EXPECT_EQ(CodeOf(rotation), kRolledBack);
  rotation.set_state("aborted");
  EXPECT_EQ(CodeOf(rotation), kRolledBack);
  rotation.set_state("done");
  EXPECT_EQ(CodeOf(rotation), kDone);
  EXPECT_EQ(CodeOf({}), kDone);
}

TEST(ExcludeCommand, IsSafeInAShell) {
  EXPECT_EQ(ExcludeCommand("spiffe://td/ns/a/sa/b/one"),
            "capstan rotate exclude spiffe://td/ns/a/sa/b/one --reason 'WHY'");
  EXPECT_EQ(ExcludeCommand("a $(reboot) 'b'"),
            "capstan rotate exclude 'a $(reboot) '\\''b'\\''' --reason 'WHY'");
  EXPECT_EQ(ExcludeCommand(""), "capstan rotate exclude '' --reason 'WHY'");
}

TEST(ReasonOf, FindsTheRefusal) {
  control::v1::Holder holder;
  holder.set_why("Envoy x has not acknowledged; it refused ROOTCA: bad: PEM");
  EXPECT_EQ(ReasonOf(holder).why, "Envoy x has not acknowledged");
  EXPECT_EQ(ReasonOf(holder).refused, "ROOTCA");
  EXPECT_EQ(ReasonOf(holder).nack, "bad: PEM");
  holder.set_why("no agent");
  EXPECT_EQ(ReasonOf(holder).why, "no agent");
  EXPECT_EQ(ReasonOf(holder).nack, "");
}

}  // namespace
}  // namespace capstan::cli
