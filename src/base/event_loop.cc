// SPDX-License-Identifier: Apache-2.0
#include "base/event_loop.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/synchronization/notification.h"

namespace capstan {
namespace {

// Longest single wait: keeps the arithmetic of the condition variable far from overflow.
constexpr absl::Duration kLongestWait = absl::Hours(1);

}  // namespace

EventLoop::EventLoop(Clock& clock) : clock_(clock), thread_([this] { Run(); }) {}

EventLoop::~EventLoop() {
  Stop();
}

void EventLoop::Post(Task task) {
  std::lock_guard lock(mutex_);
  if (stopping_) return;
  posted_.push_back(std::move(task));
  changed_.notify_one();
}

Executor::TimerId EventLoop::After(absl::Duration delay, Task task) {
  std::lock_guard lock(mutex_);
  const TimerId id =
      timers_.Add(clock_.Monotonic() + std::max(delay, absl::ZeroDuration()), std::move(task));
  changed_.notify_one();
  return id;
}

void EventLoop::Cancel(TimerId id) {
  std::lock_guard lock(mutex_);
  timers_.Cancel(id);
}

void EventLoop::Stop() {
  std::deque<Task> dropped;  // destroyed, like every task, without the lock
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(posted_);
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

bool EventLoop::RunAndWait(Task task) {
  // Notifies when the posted closure is destroyed, which happens to a dropped task too.
  struct Done {
    absl::Notification* notification;
    ~Done() { notification->Notify(); }
  };
  absl::Notification ended;
  const auto ran = std::make_shared<bool>(false);
  Post([task = std::move(task), ran, done = std::shared_ptr<Done>(new Done{&ended})] {
    task();
    *ran = true;
  });
  ended.WaitForNotification();
  return *ran;
}

void EventLoop::Run() {
  while (true) {
    // One of each kind a round: neither a busy poster nor a timer that sets itself again can hold
    // up the other kind.
    Task timed;
    Task posted;
    {
      std::unique_lock lock(mutex_);
      while (!stopping_ && posted_.empty() && timers_.next() > clock_.Monotonic()) {
        const absl::Duration wait = std::min(timers_.next() - clock_.Monotonic(), kLongestWait);
        changed_.wait_for(lock, absl::ToChronoNanoseconds(wait));
      }
      if (stopping_) return;
      timed = timers_.TakeDue(clock_.Monotonic());
      if (!posted_.empty()) {
        posted = std::move(posted_.front());
        posted_.pop_front();
      }
    }
    if (timed) timed();
    if (posted) posted();
  }
}

}  // namespace capstan
