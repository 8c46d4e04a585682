// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "absl/time/time.h"
#include "base/clock.h"

namespace capstan {

// Runs tasks one after another, so that what only its tasks touch needs no lock. A poster bounds
// its own backlog (one outstanding task per call, stream or signal); the executor does not drop.
class Executor {
 public:
  using Task = std::function<void()>;
  using TimerId = uint64_t;  // never 0, never used twice

  virtual ~Executor() = default;
  // Any thread. In the order of posting; never runs inside Post().
  virtual void Post(Task task) = 0;
  // Any thread. Once, no earlier than `delay` of monotonic time from now (at once where it is <=
  // 0).
  virtual TimerId After(absl::Duration delay, Task task) = 0;
  // From a task of this executor: the timer does not run any more. Unknown ids are ignored.
  virtual void Cancel(TimerId id) = 0;
};

// One timer that its owner sets and sets again; gone with the owner. Used from the executor's
// tasks.
class Timer {
 public:
  explicit Timer(Executor& executor) : executor_(executor) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { Cancel(); }

  // Replaces what was set.
  void Set(absl::Duration delay, Executor::Task task);
  void Cancel();
  bool pending() const { return id_ != 0; }

 private:
  Executor& executor_;
  Executor::TimerId id_ = 0;
};

// Tasks in the order of their time: the bookkeeping of every executor. Not thread-safe.
class TimerQueue {
 public:
  // `due` is monotonic time. Tasks of the same time run in the order of adding.
  Executor::TimerId Add(absl::Duration due, Executor::Task task);
  void Cancel(Executor::TimerId id);
  // When the earliest is due; InfiniteDuration() without one.
  absl::Duration next() const;
  // Takes the earliest one that is due at `now`; an empty task where none is.
  Executor::Task TakeDue(absl::Duration now);
  void Clear();

 private:
  std::map<std::pair<absl::Duration, Executor::TimerId>, Executor::Task> tasks_;
  std::map<Executor::TimerId, absl::Duration> due_;
  Executor::TimerId last_id_ = 0;
};

// An executor that a test moves by hand, with the clock it shares. Single-threaded.
class ManualExecutor final : public Executor {
 public:
  explicit ManualExecutor(FakeClock& clock) : clock_(clock) {}
  void Post(Task task) override { After(absl::ZeroDuration(), std::move(task)); }
  TimerId After(absl::Duration delay, Task task) override;
  void Cancel(TimerId id) override { queue_.Cancel(id); }

  // Runs what is due now, including what that posts.
  void RunDue();
  // Moves the clock on by `d`, stopping at every timer on the way.
  void Advance(absl::Duration d);
  // Drops what waits, unrun, as EventLoop::Stop(): before what the tasks point to dies.
  void DropAll() { queue_.Clear(); }
  bool idle() const { return queue_.next() == absl::InfiniteDuration(); }

 private:
  FakeClock& clock_;
  TimerQueue queue_;
};

}  // namespace capstan
