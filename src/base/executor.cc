// SPDX-License-Identifier: Apache-2.0
#include "base/executor.h"

#include <algorithm>

namespace capstan {

void Timer::Set(absl::Duration delay, Executor::Task task) {
  Cancel();
  id_ = executor_.After(delay, [this, task = std::move(task)] {
    id_ = 0;
    task();
  });
}

void Timer::Cancel() {
  if (id_ != 0) executor_.Cancel(id_);
  id_ = 0;
}

Executor::TimerId TimerQueue::Add(absl::Duration due, Executor::Task task) {
  const Executor::TimerId id = ++last_id_;
  tasks_.emplace(std::make_pair(due, id), std::move(task));
  due_.emplace(id, due);
  return id;
}

void TimerQueue::Cancel(Executor::TimerId id) {
  const auto found = due_.find(id);
  if (found == due_.end()) return;
  tasks_.erase({found->second, id});
  due_.erase(found);
}

absl::Duration TimerQueue::next() const {
  return tasks_.empty() ? absl::InfiniteDuration() : tasks_.begin()->first.first;
}

Executor::Task TimerQueue::TakeDue(absl::Duration now) {
  if (next() > now) return nullptr;
  auto first = tasks_.extract(tasks_.begin());
  due_.erase(first.key().second);
  return std::move(first.mapped());
}

void TimerQueue::Clear() {
  tasks_.clear();
  due_.clear();
}

Executor::TimerId ManualExecutor::After(absl::Duration delay, Task task) {
  return queue_.Add(clock_.Monotonic() + std::max(delay, absl::ZeroDuration()), std::move(task));
}

void ManualExecutor::RunDue() {
  while (Task task = queue_.TakeDue(clock_.Monotonic())) task();
}

void ManualExecutor::Advance(absl::Duration d) {
  const absl::Duration end = clock_.Monotonic() + d;
  RunDue();
  while (queue_.next() <= end) {
    clock_.Advance(queue_.next() - clock_.Monotonic());
    RunDue();
  }
  clock_.Advance(end - clock_.Monotonic());
}

}  // namespace capstan
