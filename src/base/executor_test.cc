// SPDX-License-Identifier: Apache-2.0
#include "base/executor.h"

#include <atomic>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/event_loop.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace capstan {
namespace {

using ::testing::ElementsAre;

TEST(ManualExecutorTest, RunsInTheOrderOfTimeThenOfAdding) {
  FakeClock clock(absl::UnixEpoch());
  ManualExecutor executor(clock);
  std::vector<int> ran;
  executor.After(absl::Seconds(2), [&] { ran.push_back(3); });
  executor.After(absl::Seconds(1), [&] { ran.push_back(1); });
  executor.After(absl::Seconds(1), [&] { ran.push_back(2); });
  executor.Post([&] { ran.push_back(0); });
  EXPECT_TRUE(ran.empty());
  executor.Advance(absl::Seconds(1));
  EXPECT_THAT(ran, ElementsAre(0, 1, 2));
  executor.Advance(absl::Seconds(1));
  EXPECT_THAT(ran, ElementsAre(0, 1, 2, 3));
  EXPECT_TRUE(executor.idle());
}

TEST(ManualExecutorTest, TimersSeeTheTimeTheyWereSetFor) {
  FakeClock clock(absl::UnixEpoch());
  ManualExecutor executor(clock);
  std::vector<int64_t> seen;
  Timer timer(executor);
  std::function<void()> again = [&] {
    seen.push_back(absl::ToUnixSeconds(clock.Now()));
    timer.Set(absl::Seconds(10), again);
  };
  timer.Set(absl::Seconds(10), again);
  executor.Advance(absl::Seconds(35));
  EXPECT_THAT(seen, ElementsAre(10, 20, 30));
  EXPECT_EQ(absl::ToUnixSeconds(clock.Now()), 35);
}

TEST(ManualExecutorTest, ADestroyedOrReplacedTimerDoesNotRun) {
  FakeClock clock(absl::UnixEpoch());
  ManualExecutor executor(clock);
  int ran = 0;
  {
    Timer gone(executor);
    gone.Set(absl::Seconds(1), [&] { ran += 100; });
  }
  Timer timer(executor);
  timer.Set(absl::Seconds(1), [&] { ran += 10; });
  timer.Set(absl::Seconds(2), [&] { ran += 1; });
  executor.Advance(absl::Seconds(5));
  EXPECT_EQ(ran, 1);
  EXPECT_FALSE(timer.pending());
}

TEST(EventLoopTest, RunsPostedTasksInOrderOnOneThread) {
  EventLoop loop(RealClock());
  std::vector<int> ran;
  for (int i = 0; i < 100; ++i) loop.Post([&ran, i] { ran.push_back(i); });
  ASSERT_TRUE(loop.RunAndWait([] {}));
  ASSERT_EQ(ran.size(), 100u);
  EXPECT_TRUE(std::is_sorted(ran.begin(), ran.end()));
}

TEST(EventLoopTest, TimersRunAlthoughPostersAreBusy) {
  EventLoop loop(RealClock());
  absl::Notification timed;
  std::atomic<bool> stop = false;
  std::function<void()> busy = [&] {
    if (!stop) loop.Post(busy);
  };
  loop.Post(busy);
  loop.After(absl::Milliseconds(5), [&] { timed.Notify(); });
  EXPECT_TRUE(timed.WaitForNotificationWithTimeout(absl::Seconds(10)));
  stop = true;
  loop.Stop();  // before what its task uses is gone
}

TEST(EventLoopTest, ATaskThatIsDroppedEndsTheWaitForIt) {
  EventLoop loop(RealClock());
  loop.Stop();
  EXPECT_FALSE(loop.RunAndWait([] { FAIL() << "ran after Stop()"; }));
}

}  // namespace
}  // namespace capstan
