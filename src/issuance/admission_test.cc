// SPDX-License-Identifier: Apache-2.0
#include "issuance/admission.h"

#include <gtest/gtest.h>
// After GoogleTest, which it needs but does not include.
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <functional>
#include <queue>
#include <vector>

namespace capstan::issuance {
namespace {

constexpr absl::Duration kStart = absl::Seconds(1000);

TEST(AdmissionTest, ABurstThenTheBudget) {
  Admission admission(200, {});
  int admitted = 0;
  // Everybody at once: what the burst holds, less the reserve.
  while (admission.Ask(Urgency::kOrdinary, kStart) == absl::ZeroDuration()) ++admitted;
  EXPECT_NEAR(admitted, 200 * 0.25 * 0.75, 1);
  for (int i = 0; i < 10'000; ++i) {
    const absl::Duration now = kStart + absl::Milliseconds(i);
    if (admission.Ask(Urgency::kOrdinary, now) == absl::ZeroDuration()) ++admitted;
  }
  EXPECT_NEAR(admitted, 200 * 10 + 38, 5);
}

TEST(AdmissionTest, TheReserveIsForTheUrgent) {
  Admission admission(200, {});
  while (admission.Ask(Urgency::kOrdinary, kStart) == absl::ZeroDuration()) {
  }
  int urgent = 0;
  while (admission.Ask(Urgency::kUrgent, kStart) == absl::ZeroDuration()) ++urgent;
  EXPECT_GE(urgent, 12);
  // While they take all there is, the others get nothing.
  int ordinary = 0;
  urgent = 0;
  for (int i = 0; i < 10'000; ++i) {
    const absl::Duration now = kStart + absl::Milliseconds(i);
    if (admission.Ask(Urgency::kOrdinary, now) == absl::ZeroDuration()) ++ordinary;
    if (admission.Ask(Urgency::kUrgent, now) == absl::ZeroDuration()) ++urgent;
  }
  EXPECT_EQ(ordinary, 0);
  EXPECT_NEAR(urgent, 2000, 5);
}

TEST(AdmissionTest, EachOfThoseWhoWaitIsGivenATimeOfItsOwn) {
  Admission admission(100, {});
  while (admission.Ask(Urgency::kOrdinary, kStart) == absl::ZeroDuration()) {
  }
  absl::Duration before = admission.Ask(Urgency::kOrdinary, kStart);
  for (int i = 0; i < 1000; ++i) {
    const absl::Duration wait = admission.Ask(Urgency::kOrdinary, kStart);
    EXPECT_GE(wait, before);
    EXPECT_LE(wait - before, absl::Milliseconds(10) + absl::Nanoseconds(1));
    before = wait;
  }
  EXPECT_NEAR(absl::ToDoubleSeconds(before), 10, 0.1);
  // The queue moves on while nobody asks, and is never longer than the longest wait.
  EXPECT_EQ(admission.Ask(Urgency::kOrdinary, kStart + absl::Minutes(1)), absl::ZeroDuration());
  for (int i = 0; i < 100'000; ++i) before = admission.Ask(Urgency::kOrdinary, kStart);
  EXPECT_EQ(before, absl::Minutes(5));
}

TEST(AdmissionTest, TheImpatientDoNotMakeTheQueueLongForOthers) {
  Admission admission(100, {});
  // A minute of places, for somebody who asked again and again.
  for (int i = 0; i < 6000; ++i) admission.Ask(Urgency::kOrdinary, kStart);
  EXPECT_GT(admission.Ask(Urgency::kOrdinary, kStart), absl::Seconds(50));
  const absl::Duration later = kStart + absl::Seconds(1);
  while (admission.Ask(Urgency::kOrdinary, later) == absl::ZeroDuration()) {
  }
  EXPECT_LT(admission.Ask(Urgency::kOrdinary, later), absl::Seconds(1));
}

TEST(AdmissionTest, ABudgetBelowOneASecondStillSigns) {
  Admission admission(0.5, {});
  EXPECT_EQ(admission.Ask(Urgency::kOrdinary, kStart), absl::ZeroDuration());
  EXPECT_EQ(admission.Ask(Urgency::kOrdinary, kStart), absl::Seconds(2));
  EXPECT_EQ(admission.Ask(Urgency::kOrdinary, kStart + absl::Seconds(2)), absl::ZeroDuration());
}

TEST(AdmissionTest, ALowerBudgetMakesTheQueueLonger) {
  Admission admission(100, {});
  absl::Duration wait;
  for (int i = 0; i < 1000; ++i) wait = admission.Ask(Urgency::kOrdinary, kStart);
  admission.SetBudget(10, kStart);
  EXPECT_NEAR(absl::ToDoubleSeconds(admission.Ask(Urgency::kOrdinary, kStart)),
              absl::ToDoubleSeconds(wait) * 10, 1);
}

// A clock that does not move, moves little or jumps back: never more than the bound.
RC_GTEST_PROP(AdmissionProperty, NeverMoreThanTheBudgetAndItsBurst, ()) {
  const double budget = *rc::gen::inRange(1, 1000);
  const Admission::Options options;
  Admission admission(budget, options);
  absl::Duration now = kStart;
  std::vector<absl::Duration> admitted;
  const int steps = *rc::gen::inRange(1, 2000);
  for (int i = 0; i < steps; ++i) {
    if (i % 5 == 0) now += absl::Milliseconds(*rc::gen::inRange(-2, 20));
    const Urgency urgency = i % 3 == 0 ? Urgency::kUrgent : Urgency::kOrdinary;
    const absl::Duration wait = admission.Ask(urgency, now);
    RC_ASSERT(wait >= absl::ZeroDuration());
    RC_ASSERT(wait <= options.longest_wait);
    if (wait == absl::ZeroDuration()) admitted.push_back(std::max(now, kStart));
  }
  std::sort(admitted.begin(), admitted.end());
  const double burst = std::max(budget * absl::ToDoubleSeconds(options.burst), 2.0);
  for (size_t from = 0; from < admitted.size(); from += 7) {
    for (size_t to = from; to < admitted.size(); to += 11) {
      const double length = absl::ToDoubleSeconds(admitted[to] - admitted[from]);
      // A clock that went back two milliseconds made the span look shorter by as much.
      RC_ASSERT(static_cast<double>(to - from + 1) <= budget * (length + 0.004) + burst + 1);
    }
  }
}

// A signer with so many hands, each taking so long: what a request waits for grows with the queue.
class Signer {
 public:
  Signer(int hands, absl::Duration each) : each_(each) {
    for (int i = 0; i < hands; ++i) free_.push(absl::ZeroDuration());
  }
  absl::Duration Sign(absl::Duration now) {
    const absl::Duration begins = std::max(free_.top(), now);
    free_.pop();
    free_.push(begins + each_);
    return begins + each_ - now;
  }
  void set_each(absl::Duration each) { each_ = each; }

 private:
  absl::Duration each_;
  std::priority_queue<absl::Duration, std::vector<absl::Duration>, std::greater<>> free_;
};

// Drives `budget` for `seconds` with all the demand it takes; the last rates are averaged.
double Settle(AutoBudget& budget, Signer& signer, int seconds, absl::Duration& now) {
  double sum = 0;
  for (int second = 0; second < seconds; ++second) {
    const double rate = budget.per_second();
    const int count = static_cast<int>(rate);
    for (int i = 0; i < count; ++i) {
      now += absl::Seconds(1) / rate;
      budget.Signed(signer.Sign(now), true, now);
    }
    if (second >= seconds / 2) sum += budget.per_second();
  }
  return sum / (seconds - seconds / 2);
}

TEST(AutoBudgetTest, FindsWhatTheSignerStands) {
  absl::Duration now = kStart;
  AutoBudget budget({});
  Signer signer(2, absl::Milliseconds(1));  // 2000 a second
  const double settled = Settle(budget, signer, 400, now);
  EXPECT_GT(settled, 1200);
  EXPECT_LT(settled, 2300);
}

TEST(AutoBudgetTest, ComesDownToASlowSignerAndFollowsIt) {
  absl::Duration now = kStart;
  AutoBudget budget({});
  Signer signer(1, absl::Milliseconds(20));  // 50 a second, a token on a bus
  const double slow = Settle(budget, signer, 300, now);
  EXPECT_LT(slow, 80);
  EXPECT_GE(slow, 10);
  signer.set_each(absl::Milliseconds(2));
  EXPECT_GT(Settle(budget, signer, 300, now), 200);
}

TEST(AutoBudgetTest, NeverBeyondItsBounds) {
  absl::Duration now = kStart;
  AutoBudget fast({});
  for (int i = 0; i < 1'000'000; ++i) {
    now += absl::Microseconds(150);
    fast.Signed(absl::Microseconds(60), true, now);
    ASSERT_LE(fast.per_second(), 5000);
  }
  EXPECT_EQ(fast.per_second(), 5000);
  AutoBudget failing({});
  for (int i = 0; i < 100'000; ++i) {
    now += absl::Milliseconds(1);
    failing.Signed(absl::Microseconds(60), i % 10 != 0, now);
    ASSERT_GE(failing.per_second(), 10);
  }
  EXPECT_EQ(failing.per_second(), 10);
  EXPECT_GT(failing.failed(), 0);
}

TEST(AutoBudgetTest, ABudgetThatIsNotUsedUpDoesNotGrow) {
  absl::Duration now = kStart;
  AutoBudget budget({});
  for (int i = 0; i < 10'000; ++i) {
    now += absl::Milliseconds(20);
    EXPECT_EQ(budget.Signed(absl::Microseconds(60), true, now), AutoBudget::Move::kNone);
  }
  EXPECT_EQ(budget.per_second(), 500);
}

TEST(AutoBudgetTest, RareErrorsAndNoiseOfAMillisecondDoNotCount) {
  absl::Duration now = kStart;
  AutoBudget budget({});
  for (int i = 0; i < 20'000; ++i) {
    now += absl::Seconds(1) / budget.per_second();
    budget.Signed(absl::Microseconds(60 + (i * 7919) % 900), i % 100 != 0, now);
  }
  EXPECT_GT(budget.per_second(), 1000);
}

TEST(AutoBudgetTest, AnotherSignerIsJudgedByItself) {
  absl::Duration now = kStart;
  AutoBudget budget({});
  const auto second = [&](absl::Duration took) {
    AutoBudget::Move move = AutoBudget::Move::kNone;
    for (int i = 0; i < 660; ++i) {
      now += absl::Seconds(1) / 600;
      const AutoBudget::Move moved = budget.Signed(took, true, now);
      if (moved != AutoBudget::Move::kNone) move = moved;
    }
    return move;
  };
  EXPECT_EQ(second(absl::Microseconds(60)), AutoBudget::Move::kMore);
  second(absl::Microseconds(60));
  budget.NewSigner(now);
  EXPECT_EQ(budget.baseline(), absl::InfiniteDuration());
  second(absl::Milliseconds(5));  // an RSA key: slower, and no sign of trouble
  EXPECT_EQ(second(absl::Milliseconds(5)), AutoBudget::Move::kMore);
  second(absl::Milliseconds(30));
  EXPECT_EQ(second(absl::Milliseconds(30)), AutoBudget::Move::kLess);
}

}  // namespace
}  // namespace capstan::issuance
