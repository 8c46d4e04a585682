// SPDX-License-Identifier: Apache-2.0
#include "rotation/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "trust/testing.h"

namespace capstan::rotation {
namespace {

using ::testing::HasSubstr;
using trust::testing::CaSpec;
using trust::testing::MakeIntermediate;
using trust::testing::MakeRoot;
using trust::testing::TestCa;
using trust::testing::TestNow;
using Action = TimerDecision::Action;

absl::Time At(const std::string& text) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, text + "Z", &time, &error)) << error;
  return time;
}

TEST(MaintenanceWindowTest, OpensWhenItSays) {
  struct Case {
    const char* windows;
    const char* now;
    const char* opens;  // "": open
  };
  // 2026-03-01 is a Sunday; the nights of 29 March and 25 October 2026 are where Europe changes its
  // clocks.
  const Case kCases[] = {
      {"02:00-06:00 UTC", "2026-03-01T01:59:59", "2026-03-01T02:00:00"},
      {"02:00-06:00 UTC", "2026-03-01T02:00:00", ""},
      {"02:00-06:00 UTC", "2026-03-01T05:59:59", ""},
      {"02:00-06:00 UTC", "2026-03-01T06:00:00", "2026-03-02T02:00:00"},
      {"Sat,Sun 02:00-06:00 UTC", "2026-03-01T04:00:00", ""},
      {"Sat,Sun 02:00-06:00 UTC", "2026-03-01T06:00:00", "2026-03-07T02:00:00"},
      {"Sun 02:00-06:00 UTC", "2026-03-01T06:00:00", "2026-03-08T02:00:00"},
      {"Mon-Fri 02:00-06:00 UTC", "2026-03-01T04:00:00", "2026-03-02T02:00:00"},
      {"Sat-Mon 02:00-06:00 UTC", "2026-03-03T03:00:00", "2026-03-07T02:00:00"},
      // Over midnight: it is the day's on which it begins.
      {"Sat 22:00-02:00 UTC", "2026-03-01T01:59:59", ""},
      {"Sat 22:00-02:00 UTC", "2026-03-01T02:00:00", "2026-03-07T22:00:00"},
      {"Sat 22:00-02:00 UTC", "2026-03-07T01:00:00", "2026-03-07T22:00:00"},
      {"Sun 22:00-02:00 UTC", "2026-03-02T00:00:00", ""},
      {"22:00-02:00 UTC", "2026-03-04T02:00:00", "2026-03-04T22:00:00"},
      {"Tue 00:00-24:00 UTC", "2026-03-03T23:59:59", ""},
      {"Tue 00:00-24:00 UTC", "2026-03-04T00:00:00", "2026-03-10T00:00:00"},
      {"Tue 18:00-00:00 UTC", "2026-03-03T23:59:59", ""},
      // UTC has no night with an hour more or less.
      {"Sun 01:00-03:00 UTC", "2026-03-29T02:30:00", ""},
      {"Sun 01:00-03:00 UTC", "2026-10-25T00:59:59", "2026-10-25T01:00:00"},
      {"Sun 01:00-03:00 UTC", "2026-10-25T03:00:00", "2026-11-01T01:00:00"},
      // Before 1970, and over the end of a year.
      {"Thu 00:00-01:00 UTC", "1970-01-01T00:30:00", ""},
      {"Wed 23:00-24:00 UTC", "1969-12-31T23:30:00", ""},
      {"Thu 23:00-01:00 UTC", "2027-01-01T01:00:00", "2027-01-07T23:00:00"},
      {"Thu 23:00-01:00 UTC,Fri 00:00-02:00 UTC", "2027-01-01T01:30:00", ""},
      {"Sat,Sun 02:00-06:00 UTC, Wed 12:00-13:00 UTC", "2026-03-01T06:00:00",
       "2026-03-04T12:00:00"},
      {"", "2026-03-01T06:00:00", ""},
  };
  for (const Case& row : kCases) {
    SCOPED_TRACE(absl::StrCat(row.windows, " at ", row.now));
    auto windows = ParseMaintenanceWindows(row.windows);
    ASSERT_TRUE(windows.ok()) << windows.status();
    const absl::Time now = At(row.now);
    EXPECT_EQ(NextOpening(*windows, now), std::string(row.opens).empty() ? now : At(row.opens));
    EXPECT_EQ(*ParseMaintenanceWindows(ToString(*windows)), *windows);  // reads back
  }
}

TEST(MaintenanceWindowTest, WhatIsNoneIsRefusedWithHowToWriteIt) {
  for (const char* bad :
       {"Sat 02:00-06:00", "Sat 02:00-06:00 CET", "Sat 2:00-6:00 UTC", "Sat UTC", "UTC",
        "Sam 02:00-06:00 UTC", "sat 02:00-06:00 UTC", "Sat,,Sun 02:00-06:00 UTC",
        "Sat- 02:00-06:00 UTC", "02:00-02:00 UTC", "24:00-01:00 UTC", "02:00-24:30 UTC",
        "02:60-03:00 UTC", "02:00 UTC", "-1:00-02:00 UTC", "Sat Sun 02:00-06:00 UTC"}) {
    auto parsed = MaintenanceWindow::Parse(bad);
    ASSERT_FALSE(parsed.ok()) << bad << " is " << parsed->ToString();
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("write it as")) << bad;
  }
  EXPECT_FALSE(ParseMaintenanceWindows("Sat 02:00-06:00 UTC,Sun 02:00-06:00").ok());
}

constexpr absl::Duration kDay = absl::Hours(24);

// A root that lives 1000 days from TestNow(), and what is below it.
class TimerTest : public ::testing::Test {
 protected:
  static trust::Authority SelfSigned() {
    static const TestCa& root = *new TestCa(
        MakeRoot(CaSpec{.not_before = TestNow(), .not_after = TestNow() + 1000 * kDay}));
    return {trust::AuthorityId::Of(root.certificate), root.certificate, {}, root.certificate};
  }
  static trust::Authority Intermediate(absl::Duration begins, absl::Duration life) {
    static const TestCa& root = *new TestCa(
        MakeRoot(CaSpec{.not_before = TestNow(), .not_after = TestNow() + 1000 * kDay}));
    const TestCa made = MakeIntermediate(
        root, CaSpec{.not_before = TestNow() + begins, .not_after = TestNow() + begins + life});
    return {trust::AuthorityId::Of(made.certificate),
            made.certificate,
            {made.certificate},
            root.certificate};
  }
  static TimerDecision Decide(const TimerPolicy& policy, const TimerFacts& facts,
                              absl::Duration after) {
    return DecideTimer(policy, facts, TestNow() + after);
  }
};

TEST_F(TimerTest, ARootIsDueAtItsPartOfItsLifeToTheSecond) {
  const TimerPolicy policy{.root_at = 0.66};
  const TimerFacts facts{.issuer = SelfSigned()};
  struct Case {
    absl::Duration after;
    Action action;
  };
  for (const auto& [after, action] :
       {Case{-kDay, Action::kNone}, Case{kDay, Action::kNone},
        Case{660 * kDay - absl::Seconds(1), Action::kNone}, Case{660 * kDay, Action::kBegin},
        Case{999 * kDay, Action::kBegin}, Case{1001 * kDay, Action::kBegin}}) {
    const TimerDecision decision = Decide(policy, facts, after);
    EXPECT_EQ(decision.action, action) << after << ": " << decision.why;
    EXPECT_EQ(decision.target, TimerTarget::kRoot);
    EXPECT_EQ(decision.due, TestNow() + 660 * kDay);
    EXPECT_EQ(decision.at, std::max(TestNow() + after, TestNow() + 660 * kDay));
    EXPECT_EQ(decision.command, "capstan rotate start --generate");
  }
  // A clock that steps back takes back what it said; nothing is remembered.
  EXPECT_EQ(Decide(policy, facts, 700 * kDay).action, Action::kBegin);
  EXPECT_EQ(Decide(policy, facts, 100 * kDay).action, Action::kNone);
}

TEST_F(TimerTest, NothingIsOnATimerUnlessItIsSaid) {
  const TimerFacts facts{.issuer = SelfSigned(), .root_key = true};
  for (const TimerPolicy& policy :
       {TimerPolicy{}, TimerPolicy{.mode = TimerMode::kOff, .root_at = 0.1, .intermediate_at = 0.1},
        TimerPolicy{.mode = TimerMode::kAnnounce}}) {
    EXPECT_FALSE(policy.on());
    const TimerDecision decision = Decide(policy, facts, 2000 * kDay);
    EXPECT_EQ(decision.action, Action::kNone);
    EXPECT_EQ(decision.due, absl::InfiniteFuture());
  }
}

TEST_F(TimerTest, AnIntermediateIsDueByItsOwnLife) {
  const TimerPolicy policy{.intermediate_at = 0.5, .intermediate_ttl = 90 * kDay};
  TimerFacts facts{.issuer = Intermediate(10 * kDay, 90 * kDay), .root_key = true};
  EXPECT_EQ(Decide(policy, facts, 55 * kDay - absl::Seconds(1)).action, Action::kNone);
  EXPECT_EQ(Decide(policy, facts, 55 * kDay).action, Action::kBegin);
  EXPECT_EQ(Decide(policy, facts, 55 * kDay).command,
            "capstan rotate start --generate --intermediate");
  // Without the root's key nobody can sign another one here.
  facts.root_key = false;
  const TimerDecision decision = Decide(policy, facts, 55 * kDay);
  EXPECT_EQ(decision.action, Action::kAnnounce);
  EXPECT_THAT(decision.why, HasSubstr("key of the root is not here"));
  EXPECT_EQ(decision.command, "capstan rotate start --to NEW_CA");
}

TEST_F(TimerTest, AnIntermediateThatEndsWithItsRootIsNeverDue) {
  const TimerPolicy policy{.intermediate_at = 0.5, .intermediate_ttl = 90 * kDay};
  const TimerFacts facts{.issuer = Intermediate(950 * kDay, 50 * kDay), .root_key = true};
  EXPECT_EQ(Decide(policy, facts, 999 * kDay).action, Action::kNone);
  EXPECT_EQ(Decide(policy, facts, 999 * kDay).due, absl::InfiniteFuture());
}

TEST_F(TimerTest, ARootThatSignsItselfIsFollowedByAnIntermediate) {
  const TimerFacts facts{.issuer = SelfSigned(), .root_key = true};
  TimerPolicy policy{.intermediate_at = 0.5, .intermediate_ttl = 90 * kDay};
  EXPECT_EQ(Decide(policy, facts, 44 * kDay).action, Action::kNone);
  const TimerDecision decision = Decide(policy, facts, 45 * kDay);
  EXPECT_EQ(decision.action, Action::kBegin);
  EXPECT_EQ(decision.target, TimerTarget::kIntermediate);
  policy.intermediate_ttl = absl::InfiniteDuration();
  EXPECT_EQ(Decide(policy, facts, 999 * kDay).action, Action::kNone);
}

TEST_F(TimerTest, OfTwoThatAreDueTheRootComesFirst) {
  const TimerPolicy policy{.root_at = 0.66, .intermediate_at = 0.5, .intermediate_ttl = 90 * kDay};
  const TimerFacts facts{.issuer = Intermediate(600 * kDay, 90 * kDay), .root_key = true};
  EXPECT_EQ(Decide(policy, facts, 600 * kDay).target, TimerTarget::kIntermediate);
  EXPECT_EQ(Decide(policy, facts, 650 * kDay).target, TimerTarget::kIntermediate);
  EXPECT_EQ(Decide(policy, facts, 660 * kDay).target, TimerTarget::kRoot);
}

TEST_F(TimerTest, WhatIsDueWaitsForAWindowAndForWhatIsInTheWay) {
  // TestNow() is Monday 2025-05-12, 16:48:20.
  const TimerPolicy policy{.root_at = 0.5,
                           .windows = *ParseMaintenanceWindows("Sat 22:00-02:00 UTC")};
  TimerFacts facts{.issuer = SelfSigned()};
  const absl::Time due = TestNow() + 500 * kDay;  // a Thursday
  const absl::Time opens = At("2026-09-26T22:00:00");
  TimerDecision decision = DecideTimer(policy, facts, TestNow());
  EXPECT_EQ(decision.action, Action::kNone);
  EXPECT_EQ(decision.due, due);
  EXPECT_EQ(decision.at, opens);
  decision = DecideTimer(policy, facts, opens - absl::Seconds(1));
  EXPECT_EQ(decision.action, Action::kWait);
  EXPECT_THAT(decision.why, HasSubstr("opens at 2026-09-26T22:00:00"));
  EXPECT_EQ(DecideTimer(policy, facts, opens).action, Action::kBegin);
  EXPECT_EQ(DecideTimer(policy, facts, At("2026-09-27T01:59:59")).action, Action::kBegin);
  decision = DecideTimer(policy, facts, At("2026-09-27T02:00:00"));
  EXPECT_EQ(decision.action, Action::kWait);
  EXPECT_EQ(decision.at, At("2026-10-03T22:00:00"));
  facts.not_now = "rotation 3 is running";
  decision = DecideTimer(policy, facts, opens);
  EXPECT_EQ(decision.action, Action::kWait);
  EXPECT_THAT(decision.why, HasSubstr("rotation 3 is running"));
}

TEST_F(TimerTest, WhatItMayNotBeginIsAnnouncedWithTheCommand) {
  struct Case {
    TimerMode mode;
    TimerFacts facts;
    const char* why;
    const char* command;
  };
  const trust::Authority issuer = SelfSigned();
  const Case kCases[] = {
      {TimerMode::kAnnounce, {.issuer = issuer}, "rotation-timer is announce", "--generate"},
      {TimerMode::kRotate,
       {.issuer = issuer, .source = "/etc/cacerts"},
       "/etc/cacerts is followed and cannot be written",
       "put its files into /etc/cacerts"},
      {TimerMode::kRotate,
       {.issuer = issuer, .turned_back = "rotation 3 was rolled back"},
       "rotation 3 was rolled back",
       "--generate"},
      // Announced, also while something is in the way.
      {TimerMode::kAnnounce,
       {.issuer = issuer, .not_now = "rotation 3 is running"},
       "rotation-timer is announce",
       "--generate"},
  };
  for (const Case& row : kCases) {
    const TimerDecision decision =
        Decide({.mode = row.mode, .root_at = 0.5}, row.facts, 600 * kDay);
    EXPECT_EQ(decision.action, Action::kAnnounce);
    EXPECT_THAT(decision.why, HasSubstr(row.why));
    EXPECT_THAT(decision.command, HasSubstr(row.command));
  }
}

TEST_F(TimerTest, WhatItSaysStaysTheSameUntilSomethingElseIsTheCase) {
  const TimerPolicy policy{.root_at = 0.5,
                           .windows = *ParseMaintenanceWindows("Sat 22:00-02:00 UTC")};
  const TimerFacts facts{.issuer = SelfSigned()};
  EXPECT_EQ(Decide(policy, facts, kDay).why, Decide(policy, facts, 2 * kDay).why);
  EXPECT_EQ(Decide(policy, facts, 500 * kDay).why, Decide(policy, facts, 501 * kDay).why);
  EXPECT_NE(Decide(policy, facts, 500 * kDay).why, Decide(policy, facts, 508 * kDay).why);
}

TEST_F(TimerTest, FailuresAreRetriedLaterAndLater) {
  EXPECT_EQ(TimerRetryDelay(1), absl::Minutes(1));
  EXPECT_EQ(TimerRetryDelay(2), absl::Minutes(2));
  EXPECT_EQ(TimerRetryDelay(5), absl::Minutes(16));
  EXPECT_EQ(TimerRetryDelay(10), absl::Hours(6));
  EXPECT_EQ(TimerRetryDelay(1'000'000), absl::Hours(6));
}

TEST(TimerModeTest, ReadsBack) {
  for (const char* name : {"off", "announce", "rotate"}) {
    EXPECT_EQ(TimerModeName(*ParseTimerMode(name)), name);
  }
  EXPECT_FALSE(ParseTimerMode("on").ok());
}

}  // namespace
}  // namespace capstan::rotation
