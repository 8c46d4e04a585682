// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/executor.h"

namespace capstan {

// An executor with a thread of its own.
class EventLoop final : public Executor {
 public:
  // `clock` is read for its monotonic time, which must be the machine's.
  explicit EventLoop(Clock& clock);
  // Stops.
  ~EventLoop() override;

  void Post(Task task) override;
  TimerId After(absl::Duration delay, Task task) override;
  void Cancel(TimerId id) override;

  // Ends after the task that runs now; what waits is dropped, unrun. Not from a task.
  void Stop();
  // Posts `task` and waits for its end. False: the loop stopped first. Not from a task.
  bool RunAndWait(Task task);

 private:
  void Run();

  Clock& clock_;
  // Not absl's: its timed waits follow the wall clock, and one step of it would delay every timer.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> posted_;  // this and the next two: under mutex_
  TimerQueue timers_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace capstan
