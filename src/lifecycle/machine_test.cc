// SPDX-License-Identifier: Apache-2.0
#include "lifecycle/machine.h"

#include <gtest/gtest.h>
// After GoogleTest, which it needs but does not include.
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

namespace capstan::lifecycle {
namespace {

using ::testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1'750'000'000);

trust::AuthorityId Authority(char digit) {
  return *trust::AuthorityId::Parse(std::string(40, digit));
}

constexpr char kIdentity[] = "spiffe://td/ns/a/sa/b|i";

// Feeds a machine by hand and looks at what it wants.
class World {
 public:
  explicit World(Policy policy = {}, const std::string& identity = kIdentity)
      : policy_(policy), machine_(identity, policy) {}

  const Decision& On(const Event& event) {
    last_ = machine_.On(event, now_);
    for (const Action& action : last_.actions) {
      if (const auto* request = std::get_if<Request>(&action)) {
        requests_.push_back(now_.monotonic);
        last_request_ = *request;
      }
      if (std::holds_alternative<Serve>(action)) ++served_;
      if (const auto* wake = std::get_if<WakeAfter>(&action))
        wake_at_ = now_.monotonic + wake->delay;
    }
    return last_;
  }
  // Lets time pass, waking the machine whenever it asked for it, until it requests or `d` is over.
  bool RunUntilRequest(absl::Duration d) {
    const size_t before = requests_.size();
    const absl::Duration end = now_.monotonic + d;
    while (requests_.size() == before && wake_at_ <= end) {
      Pass(wake_at_ - now_.monotonic);
      On(Woke{});
    }
    if (requests_.size() > before) return true;
    Pass(end - now_.monotonic);
    return false;
  }
  void Pass(absl::Duration d) {
    now_.monotonic += d;
    now_.wall += d;
  }
  void Step(absl::Duration d) { now_.wall += d; }

  Leaf LeafOf(char authority, absl::Duration life) {
    return {absl::StrCat("s", ++serial_), Authority(authority), now_.wall - absl::Minutes(2),
            now_.wall + life};
  }
  void Fail(Failed::Kind kind = Failed::Kind::kTransient) { On(Failed{kind, "why not"}); }

  Machine& machine() { return machine_; }
  Instant now() const { return now_; }
  size_t requests() const { return requests_.size(); }
  const Request& request() const { return last_request_; }
  const std::vector<absl::Duration>& request_times() const { return requests_; }
  int served() const { return served_; }
  const std::string& why() const { return last_.why; }
  const Policy& policy() const { return policy_; }

 private:
  const Policy policy_;
  Machine machine_;
  Instant now_{kStart, absl::Seconds(1000)};
  Decision last_;
  Request last_request_;
  std::vector<absl::Duration> requests_;
  absl::Duration wake_at_;
  int served_ = 0;
  int serial_ = 0;
};

TEST(MachineTest, AsksAtOnceWhenItHoldsNothing) {
  World w;
  w.On(Started{});
  EXPECT_EQ(w.requests(), 1u);
  EXPECT_EQ(w.request().timeout, absl::Seconds(10));
  EXPECT_THAT(w.why(), HasSubstr("no certificate yet"));
}

TEST(MachineTest, RenewsBetweenHalfAndTwoThirdsOfLife) {
  for (const absl::Duration life : {absl::Seconds(10), absl::Hours(24), absl::Hours(24 * 90)}) {
    World w;
    w.On(Started{});
    w.On(Issued{w.LeafOf('a', life)});
    EXPECT_EQ(w.served(), 1);
    const absl::Duration issued = w.now().monotonic;
    ASSERT_TRUE(w.RunUntilRequest(life));
    const double part = absl::FDivDuration(w.now().monotonic - issued, life);
    EXPECT_GE(part, 0.5) << life;
    EXPECT_LE(part, 2.0 / 3 + 1e-9) << life;
    EXPECT_THAT(w.request().reason, HasSubstr("renewal is due"));
  }
}

TEST(MachineTest, TheMomentOfRenewalIsAFunctionOfIdentityAndSerial) {
  const auto renewal = [](const std::string& identity, const std::string& serial) {
    Machine machine(identity, {});
    const Instant now{kStart, absl::ZeroDuration()};
    machine.On(Started{}, now);
    machine.On(Issued{{serial, Authority('a'), kStart, kStart + absl::Hours(24)}}, now);
    return *machine.renew_at();
  };
  EXPECT_EQ(renewal("x", "1"), renewal("x", "1"));
  EXPECT_NE(renewal("x", "1"), renewal("y", "1"));
  EXPECT_NE(renewal("x", "1"), renewal("x", "2"));
}

TEST(MachineTest, ABatchOfTheSameSecondIsRenewedAllOverTheInterval) {
  // Between 12 h and 16 h of a day: 240 minutes, 10,000 leaves, 42 each.
  std::map<int64_t, int> minutes;
  for (int i = 0; i < 10'000; ++i) {
    Machine machine(absl::StrCat("spiffe://td/ns/a/sa/w", i, "|i|workload"), {});
    const Instant now{kStart, absl::ZeroDuration()};
    machine.On(Started{}, now);
    machine.On(Issued{{absl::StrCat("s", i), Authority('a'), kStart, kStart + absl::Hours(24)}},
               now);
    ++minutes[absl::ToInt64Minutes(*machine.renew_at() - kStart)];
  }
  EXPECT_GE(minutes.begin()->first, 12 * 60);
  EXPECT_LT(minutes.rbegin()->first, 16 * 60);
  ASSERT_EQ(minutes.size(), 240u);
  for (const auto& [minute, count] : minutes) {
    EXPECT_GT(count, 10) << minute;
    EXPECT_LT(count, 85) << minute;
  }
}

TEST(MachineTest, ACertificateFromBeforeIsKeptAndRenewedInItsTime) {
  World w;
  const Leaf leaf{"old", Authority('a'), kStart - absl::Hours(1), kStart + absl::Hours(23)};
  w.On(Started{leaf});
  EXPECT_EQ(w.requests(), 0u);
  EXPECT_EQ(w.machine().held(), leaf);
  EXPECT_FALSE(w.RunUntilRequest(absl::Hours(10)));
  EXPECT_TRUE(w.RunUntilRequest(absl::Hours(6)));
}

TEST(MachineTest, AnExpiredCertificateFromBeforeIsReplacedAtOnceAndKeptMeanwhile) {
  World w;
  const Leaf leaf{"old", Authority('a'), kStart - absl::Hours(25), kStart - absl::Hours(1)};
  w.On(Started{leaf});
  EXPECT_EQ(w.requests(), 1u);
  EXPECT_THAT(w.why(), HasSubstr("expired at"));
  w.Fail();
  EXPECT_EQ(w.machine().held(), leaf);
  EXPECT_THAT(w.why(), HasSubstr("EXPIRED"));
}

TEST(MachineTest, TransientFailuresBackOffUpToTheLongestRetry) {
  World w;
  w.On(Started{});
  std::vector<absl::Duration> gaps;
  for (int i = 0; i < 12; ++i) {
    w.Fail();
    const absl::Duration failed = w.now().monotonic;
    ASSERT_TRUE(w.RunUntilRequest(absl::Minutes(2)));
    gaps.push_back(w.now().monotonic - failed);
  }
  EXPECT_LE(gaps.front(), absl::Seconds(1));
  EXPECT_GE(gaps.back(), absl::Seconds(20));
  EXPECT_LE(*std::max_element(gaps.begin(), gaps.end()), absl::Seconds(30) * 1.25);
  EXPECT_EQ(w.machine().failures(), 12);
}

TEST(MachineTest, RefusalsBackOffSlowerAndAreReported) {
  World w;
  w.On(Started{});
  w.Fail(Failed::Kind::kRefused);
  EXPECT_EQ(w.machine().last_failure(), "why not");
  EXPECT_FALSE(w.RunUntilRequest(absl::Seconds(3)));
  EXPECT_TRUE(w.RunUntilRequest(absl::Seconds(5)));
  w.On(Issued{w.LeafOf('a', absl::Hours(1))});
  EXPECT_EQ(w.machine().last_failure(), "");
}

TEST(MachineTest, AttemptsGetDenserTowardsExpiryAndNeverStop) {
  for (const auto kind : {Failed::Kind::kTransient, Failed::Kind::kRefused}) {
    World w;
    w.On(Started{});
    const Leaf leaf = w.LeafOf('a', absl::Hours(1));
    w.On(Issued{leaf});
    ASSERT_TRUE(w.RunUntilRequest(absl::Hours(1)));
    while (w.now().wall < leaf.not_after) {
      w.Fail(kind);
      ASSERT_TRUE(w.RunUntilRequest(absl::Minutes(10)));
    }
    const auto& times = w.request_times();
    const absl::Duration expiry = w.now().monotonic - (w.now().wall - leaf.not_after);
    const auto in_last = std::count_if(times.begin(), times.end(), [&](absl::Duration t) {
      return t > expiry - absl::Seconds(10) && t <= expiry;
    });
    EXPECT_GE(in_last, 5);
    EXPECT_EQ(w.machine().held(), leaf);
  }
}

TEST(MachineTest, TenSecondLeavesLeaveTimeForSeveralAttempts) {
  World w;
  w.On(Started{});
  const Leaf leaf = w.LeafOf('a', absl::Seconds(10));
  w.On(Issued{leaf});
  int attempts = 0;
  while (w.RunUntilRequest(leaf.not_after - w.now().wall)) {
    ++attempts;
    EXPECT_LE(w.request().timeout, absl::Seconds(2));
    w.Fail();
  }
  EXPECT_GE(attempts, 4);
}

TEST(MachineTest, ADirectiveReissuesAtOnce) {
  World w;
  w.On(Started{});
  w.On(Issued{w.LeafOf('a', absl::Hours(24))});
  w.Pass(absl::Seconds(10));
  w.On(Directed{Directive{Authority('b'), {kStart}}});
  EXPECT_EQ(w.requests(), 2u);
  EXPECT_THAT(w.request().reason, HasSubstr("directed to authority bbb"));
  w.On(Issued{w.LeafOf('b', absl::Hours(24))});
  EXPECT_FALSE(w.RunUntilRequest(absl::Hours(11)));
}

TEST(MachineTest, ADirectiveWaitsForItsStart) {
  World w;
  w.On(Started{});
  w.On(Issued{w.LeafOf('a', absl::Hours(24))});
  w.On(Directed{Directive{Authority('b'), {w.now().wall + absl::Hours(1)}}});
  EXPECT_FALSE(w.RunUntilRequest(absl::Minutes(59)));
  EXPECT_TRUE(w.RunUntilRequest(absl::Minutes(2)));
}

TEST(MachineTest, ADirectiveIsFollowedInItsSlot) {
  World w;
  w.On(Started{});
  const Leaf leaf = w.LeafOf('a', absl::Hours(24));
  w.On(Issued{leaf});
  w.Pass(absl::Seconds(1));
  const Window window{w.now().wall, absl::Minutes(30), {leaf.not_after + absl::Hours(1)}};
  const absl::Time slot = SlotOf(window, leaf.not_after, kIdentity, leaf.serial);
  w.On(Directed{Directive{Authority('b'), window}});
  EXPECT_THAT(w.why(),
              HasSubstr(absl::StrCat("slot ", absl::FormatTime(slot, absl::UTCTimeZone()))));
  EXPECT_THAT(w.why(), HasSubstr("into a window of 30m"));
  ASSERT_TRUE(w.RunUntilRequest(absl::Minutes(30)));
  EXPECT_LT(absl::AbsDuration(w.now().wall - slot), absl::Milliseconds(1));
  EXPECT_THAT(w.request().reason, HasSubstr("slot "));
}

TEST(MachineTest, ItsOwnRenewalComesBeforeItsSlot) {
  World w;
  w.On(Started{});
  w.On(Issued{w.LeafOf('a', absl::Hours(1))});
  w.Pass(absl::Seconds(1));
  // Of all leaves it expires last: its slot is at the end, days from now.
  w.On(Directed{Directive{Authority('b'),
                          {w.now().wall, absl::Hours(100), {kStart, kStart + absl::Minutes(1)}}}});
  const absl::Time renewal = *w.machine().renew_at();
  ASSERT_TRUE(w.RunUntilRequest(absl::Hours(1)));
  EXPECT_LT(absl::AbsDuration(w.now().wall - renewal), absl::Milliseconds(1));
  EXPECT_THAT(w.request().reason, HasSubstr("renewal is due"));
}

TEST(MachineTest, ASlotThatWasOverWhenItsDirectiveCameIsNotTakenByAllAtOnce) {
  // The directive reaches a fleet that was away for the whole window.
  std::map<int64_t, int> tenths;
  const Window window{kStart - absl::Hours(1), absl::Seconds(160), {}};
  for (int i = 0; i < 1000; ++i) {
    World w(Policy(), absl::StrCat("w", i));
    w.On(Started{});
    w.On(Issued{w.LeafOf('a', absl::Hours(24))});
    w.Pass(absl::Seconds(1));
    const absl::Duration came = w.now().monotonic;
    w.On(Directed{Directive{Authority('b'), window}});
    const bool asks = w.requests() == 2 || w.RunUntilRequest(absl::Seconds(10));
    EXPECT_TRUE(asks);
    ++tenths[absl::ToInt64Seconds(w.now().monotonic - came)];
  }
  EXPECT_EQ(tenths.size(), 10u);
  for (const auto& [tenth, count] : tenths) EXPECT_LT(count, 150) << tenth;
}

TEST(MachineTest, ANewDirectiveEndsBackOffAtItsSlot) {
  World w;
  w.On(Started{});
  const Leaf leaf = w.LeafOf('a', absl::Hours(24));
  w.On(Issued{leaf});
  ASSERT_TRUE(w.RunUntilRequest(absl::Hours(24)));
  for (int i = 0; i < 8; ++i) {
    w.Fail(Failed::Kind::kRefused);
    ASSERT_TRUE(w.RunUntilRequest(absl::Minutes(10)));
  }
  w.Fail(Failed::Kind::kRefused);
  w.Pass(absl::Seconds(1));
  const Window window{w.now().wall, absl::Seconds(20), {}};
  w.On(Directed{Directive{Authority('b'), window}});
  ASSERT_TRUE(w.RunUntilRequest(absl::Seconds(20)));
  EXPECT_LT(
      absl::AbsDuration(w.now().wall - SlotOf(window, leaf.not_after, kIdentity, leaf.serial)),
      absl::Milliseconds(1));
}

TEST(MachineTest, WhoIsPutOffComesBackWhenItWasTold) {
  World w;
  w.On(Started{});
  const Leaf leaf = w.LeafOf('a', absl::Hours(24));
  w.On(Issued{leaf});
  ASSERT_TRUE(w.RunUntilRequest(absl::Hours(24)));
  for (int i = 0; i < 20; ++i) {
    w.On(Failed{Failed::Kind::kPutOff, "come back", absl::Seconds(8)});
    EXPECT_THAT(w.why(), HasSubstr("put off by the control plane (come back)"));
    EXPECT_EQ(w.machine().failures(), 1) << "back-off does not grow";
    const absl::Duration told = w.now().monotonic;
    ASSERT_TRUE(w.RunUntilRequest(absl::Seconds(11)));
    EXPECT_GE(w.now().monotonic - told, absl::Seconds(8));
    EXPECT_LE(w.now().monotonic - told, absl::Seconds(10));
  }
  EXPECT_EQ(w.machine().last_failure(), "come back");
  EXPECT_EQ(w.machine().held(), leaf);
}

TEST(MachineTest, NobodyIsPutOffBeyondAQuarterOfItsLife) {
  World w;
  w.On(Started{});
  w.On(Issued{w.LeafOf('a', absl::Minutes(10))});
  ASSERT_TRUE(w.RunUntilRequest(absl::Minutes(10)));
  while (true) {
    const absl::Duration left = w.machine().held()->not_after - w.now().wall;
    if (left <= absl::Seconds(2)) break;
    w.On(Failed{Failed::Kind::kPutOff, "come back", absl::Hours(1)});
    const absl::Duration told = w.now().monotonic;
    ASSERT_TRUE(w.RunUntilRequest(left));
    EXPECT_LE(w.now().monotonic - told, left / 4 + absl::Nanoseconds(1));
  }
  EXPECT_GT(w.requests(), 15u);
}

TEST(MachineTest, ASatisfiedDirectiveDoesNothing) {
  World w;
  w.On(Started{});
  w.On(Issued{w.LeafOf('b', absl::Hours(24))});
  w.Pass(absl::Hours(1));
  w.On(Directed{Directive{Authority('b'), {kStart}}});
  w.On(Directed{Directive{Authority('b'), {kStart}}});
  w.On(Directed{std::nullopt});
  EXPECT_EQ(w.requests(), 1u);
}

TEST(MachineTest, ADirectiveDuringARequestIsFollowedAfterIt) {
  World w;
  w.On(Started{});
  w.On(Directed{Directive{Authority('b'), {kStart}}});
  w.Pass(absl::Seconds(2));
  w.On(Issued{w.LeafOf('a', absl::Hours(24))});
  EXPECT_EQ(w.served(), 1);
  EXPECT_EQ(w.requests(), 2u);
}

TEST(MachineTest, AControlPlaneThatDirectsToWhatItDoesNotSignIsAskedSlowly) {
  World w;
  w.On(Started{});
  w.On(Issued{w.LeafOf('a', absl::Hours(24))});
  w.Pass(absl::Seconds(1));
  w.On(Directed{Directive{Authority('b'), {kStart}}});
  for (int i = 0; i < 20; ++i) {
    w.On(Issued{w.LeafOf('a', absl::Hours(24))});
    if (!w.RunUntilRequest(absl::Hours(1))) break;
  }
  EXPECT_EQ(w.served(), 21);
  // 5 s, 10 s, … up to 5 min each, not twice a second.
  EXPECT_GT(w.now().monotonic - absl::Seconds(1000), absl::Minutes(30));
}

TEST(MachineTest, ABundleChangeAloneRequestsNothing) {
  World w;
  w.On(Started{});
  w.On(Issued{w.LeafOf('a', absl::Hours(24))});
  w.Pass(absl::Minutes(1));
  for (int i = 0; i < 10; ++i) w.On(BundleChanged{});
  EXPECT_EQ(w.requests(), 1u);
  EXPECT_THAT(w.why(), HasSubstr("needs no new certificate"));
}

TEST(MachineTest, AnAnswerUnderAnUnknownRootIsRetriedWhenTrustArrives) {
  World w;
  w.On(Started{});
  for (int i = 0; i < 8; ++i) {
    w.Fail(Failed::Kind::kUntrusted);
    w.RunUntilRequest(absl::Minutes(2));
  }
  w.Fail(Failed::Kind::kUntrusted);
  w.Pass(absl::Seconds(1));
  const size_t before = w.requests();
  w.On(BundleChanged{});
  EXPECT_EQ(w.requests(), before + 1);
}

TEST(MachineTest, WhatFailedForAnotherReasonDoesNotHurryAtABundleChange) {
  World w;
  w.On(Started{});
  w.Fail(Failed::Kind::kRefused);
  w.Pass(absl::Seconds(1));
  w.On(BundleChanged{});
  EXPECT_EQ(w.requests(), 1u);
}

// Fails until `left` is left of a leaf, then sees the control plane again. When it asks, from then.
absl::Duration AsksAfterReturn(const std::string& identity, absl::Duration left) {
  World w(Policy(), identity);
  w.On(Started{});
  const Leaf leaf = w.LeafOf('a', absl::Hours(24));
  w.On(Issued{leaf});
  EXPECT_TRUE(w.RunUntilRequest(absl::Hours(24)));
  w.Fail();
  while (leaf.not_after - w.now().wall > left) {
    if (w.RunUntilRequest(leaf.not_after - w.now().wall - left)) w.Fail();
  }
  const absl::Duration back = w.now().monotonic;
  const size_t before = w.requests();
  w.On(Reachable{});
  const bool asks = w.requests() > before || w.RunUntilRequest(absl::Minutes(10));
  EXPECT_TRUE(asks);
  return w.now().monotonic - back;
}

TEST(MachineTest, AControlPlaneThatIsBackIsAskedOnlyIfSomethingIsDue) {
  World w;
  w.On(Started{});
  w.On(Issued{w.LeafOf('a', absl::Hours(24))});
  w.Pass(absl::Seconds(5));
  w.On(Reachable{});
  EXPECT_EQ(w.requests(), 1u);
  EXPECT_FALSE(w.RunUntilRequest(absl::Hours(11)));
}

TEST(MachineTest, WhoHoldsNothingAsksAtOnceWhenTheControlPlaneIsBack) {
  World w;
  w.On(Started{});
  for (int i = 0; i < 10; ++i) {
    w.Fail();
    ASSERT_TRUE(w.RunUntilRequest(absl::Minutes(2)));
  }
  w.Fail();
  w.Pass(absl::Seconds(1));
  w.On(Reachable{});
  EXPECT_EQ(w.requests(), 12u);
}

TEST(MachineTest, AfterAnOutageTheFleetComesBackSpreadAndTheNearestToItsEndFirst) {
  std::map<int64_t, int> slices;
  for (int i = 0; i < 100; ++i) {
    const std::string identity = absl::StrCat("w", i);
    const absl::Duration plenty = AsksAfterReturn(identity, absl::Hours(7));
    EXPECT_LE(plenty, absl::Minutes(5));
    ++slices[absl::ToInt64Seconds(plenty) / 30];
    if (i >= 20) continue;
    const absl::Duration little = AsksAfterReturn(identity, absl::Minutes(8));
    EXPECT_LE(little, absl::Seconds(30));
    EXPECT_LE(little, plenty);
    EXPECT_LE(AsksAfterReturn(identity, absl::Seconds(10)), absl::Seconds(1));
  }
  EXPECT_GE(slices.size(), 10u);
  for (const auto& [slice, count] : slices) EXPECT_LT(count, 30) << slice;
}

TEST(MachineTest, ADirectiveThatFailedDoesNotWaitLongerForTheControlPlaneThatIsBack) {
  World w;
  w.On(Started{});
  w.On(Issued{w.LeafOf('a', absl::Hours(24))});
  w.Pass(absl::Seconds(1));
  w.On(Directed{Directive{Authority('b'), {kStart}}});
  w.Fail();
  w.Pass(absl::Milliseconds(100));
  w.On(Reachable{});
  EXPECT_TRUE(w.RunUntilRequest(absl::Seconds(1)));
}

TEST(MachineTest, AClockThatStepsForwardIsNoticedWithinTheLongestSleep) {
  World w;
  w.On(Started{});
  w.On(Issued{w.LeafOf('a', absl::Hours(24))});
  w.Step(absl::Hours(20));
  EXPECT_TRUE(w.RunUntilRequest(w.policy().longest_sleep));
}

TEST(MachineTest, AClockThatStepsBackDoesNotMakeALeafOutliveItsRenewal) {
  World w;
  w.On(Started{});
  w.On(Issued{w.LeafOf('a', absl::Hours(24))});
  w.Step(-absl::Hours(24 * 365));
  EXPECT_FALSE(w.RunUntilRequest(absl::Hours(12) - absl::Minutes(2)));
  EXPECT_TRUE(w.RunUntilRequest(absl::Hours(5)));
}

TEST(MachineTest, ALeafWhoseRootLeftIsReplacedAtOnceAndThenWithBackOff) {
  World w;
  w.On(Started{});
  w.On(Issued{w.LeafOf('a', absl::Hours(24))});
  w.Pass(absl::Seconds(5));
  w.On(Disowned{});
  EXPECT_EQ(w.requests(), 2u);
  EXPECT_THAT(w.why(), HasSubstr("vouches for"));
  w.Fail(Failed::Kind::kRefused);
  w.On(Disowned{});  // which is known
  EXPECT_EQ(w.requests(), 2u);
  ASSERT_TRUE(w.RunUntilRequest(absl::Seconds(10)));
  w.On(Issued{w.LeafOf('b', absl::Hours(24))});
  EXPECT_FALSE(w.RunUntilRequest(absl::Hours(11)));
}

TEST(MachineTest, ARequestUnderWayIsNotDoubled) {
  World w;
  w.On(Started{});
  w.Pass(absl::Minutes(5));
  w.On(Woke{});
  w.On(Directed{Directive{Authority('b'), {kStart}}});
  w.On(BundleChanged{});
  w.On(Reachable{});
  w.On(Disowned{});
  EXPECT_EQ(w.requests(), 1u);
}

// Events in any order, clocks that jump, answers of any kind.
RC_GTEST_PROP(MachineProperty, KeepsItsGuarantees, ()) {
  World w;
  w.On(Started{});
  std::optional<Leaf> held;
  const int steps = *rc::gen::inRange(1, 200);
  for (int i = 0; i < steps; ++i) {
    const size_t requests = w.requests();
    const bool was_requesting = w.machine().requesting();
    const int what = *rc::gen::inRange(0, 11);
    if (what <= 2) {
      w.Pass(absl::Milliseconds(*rc::gen::inRange(0, 200'000)));
      w.On(Woke{});
    } else if (what == 3) {
      w.Step(absl::Seconds(*rc::gen::inRange(-1'000'000, 1'000'000)));
      w.On(Woke{});
    } else if (what <= 5 && was_requesting) {
      const Leaf leaf =
          w.LeafOf(*rc::gen::element('a', 'b', 'c'), absl::Seconds(*rc::gen::inRange(1, 100'000)));
      const int served = w.served();
      w.On(Issued{leaf});
      RC_ASSERT(w.served() == served + 1);
      held = leaf;
    } else if (what == 6 && was_requesting) {
      w.On(Failed{*rc::gen::element(Failed::Kind::kTransient, Failed::Kind::kRefused,
                                    Failed::Kind::kUntrusted, Failed::Kind::kPutOff),
                  "why not", absl::Seconds(*rc::gen::inRange(0, 100'000))});
    } else if (what == 7) {
      w.On(Directed{Directive{Authority(*rc::gen::element('a', 'b', 'c')),
                              {w.now().wall + absl::Seconds(*rc::gen::inRange(-100, 100)),
                               absl::Seconds(*rc::gen::inRange(-10, 1000))}}});
    } else if (what == 8) {
      w.On(BundleChanged{});
    } else if (what == 9) {
      w.On(Reachable{});
    } else if (what == 10) {
      w.On(Disowned{});
    }
    // Never dropped, only replaced by what was issued.
    RC_ASSERT(w.machine().held() == held);
    // Never two at once.
    if (was_requesting && w.requests() > requests) RC_ASSERT(what >= 4 && what <= 6);
    // Always awake again in time.
    RC_ASSERT(!w.machine().requesting() || w.request().timeout <= w.policy().longest_call);
  }
  const auto& times = w.request_times();
  for (size_t i = 1; i < times.size(); ++i) {
    RC_ASSERT(times[i] - times[i - 1] >= w.policy().min_interval);
  }
}

// Whatever window it is directed to: by its own renewal at the latest it asks.
RC_GTEST_PROP(MachineProperty, NoLeafWaitsForItsSlotBeyondItsRenewal, ()) {
  World w;
  w.On(Started{});
  w.On(Issued{w.LeafOf('a', absl::Seconds(*rc::gen::inRange(10, 100'000)))});
  w.Pass(absl::Seconds(1));
  const absl::Time renewal = *w.machine().renew_at();
  std::vector<absl::Time> bounds;
  const int parts = *rc::gen::inRange(0, 17);
  for (int i = 0; i < parts; ++i) {
    bounds.push_back(kStart + absl::Seconds(*rc::gen::inRange(-1000, 100'000)));
  }
  w.On(Directed{Directive{Authority('b'),
                          {w.now().wall + absl::Seconds(*rc::gen::inRange(-100'000, 100'000)),
                           absl::Seconds(*rc::gen::inRange(-10, 200'000)), bounds}}});
  const bool asks = w.requests() == 2 || w.RunUntilRequest(absl::Hours(48));
  RC_ASSERT(asks);
  RC_ASSERT(w.now().wall <= std::max(renewal, kStart + absl::Seconds(1)) + absl::Milliseconds(1));
}

// With a steady clock and a control plane that answers one attempt out of a few, no leaf expires.
RC_GTEST_PROP(MachineProperty, NoLeafExpiresWhileTheControlPlaneAnswersInTime, ()) {
  World w;
  const absl::Duration life = absl::Seconds(*rc::gen::inRange(8, 3600));
  w.On(Started{});
  w.On(Issued{w.LeafOf('a', life)});
  for (int i = 0; i < 50; ++i) {
    const absl::Time expiry = w.machine().held()->not_after;
    RC_ASSERT(w.RunUntilRequest(life));
    const int failures = *rc::gen::inRange(0, 4);
    for (int f = 0; f < failures; ++f) {
      w.Pass(absl::Milliseconds(*rc::gen::inRange(0, 100)));
      w.Fail(*rc::gen::element(Failed::Kind::kTransient, Failed::Kind::kRefused));
      RC_ASSERT(w.RunUntilRequest(life));
    }
    w.Pass(absl::Milliseconds(*rc::gen::inRange(0, 100)));
    RC_ASSERT(w.now().wall < expiry);
    w.On(Issued{w.LeafOf('a', life)});
  }
}

}  // namespace
}  // namespace capstan::lifecycle
