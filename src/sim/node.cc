// SPDX-License-Identifier: Apache-2.0
#include "sim/node.h"

#include <algorithm>

namespace capstan::sim {

Executor::TimerId NodeExecutor::After(absl::Duration delay, Task task) {
  const TimerId id = ++last_id_;
  waiting_[id] = world_.After(std::max(clock_.Real(delay), absl::ZeroDuration()),
                              [this, id, task = std::move(task)] { Run(id, task); });
  return id;
}

void NodeExecutor::Run(TimerId id, const Task& task) {
  waiting_.erase(id);
  if (!asleep()) return task();
  if (overslept_.empty()) {
    world_.At(asleep_until_, [this, life = life_] {
      while (life == life_ && !overslept_.empty()) {
        Task next = std::move(overslept_.begin()->second);
        overslept_.erase(overslept_.begin());
        next();
      }
    });
  }
  overslept_[id] = task;
}

void NodeExecutor::Cancel(TimerId id) {
  overslept_.erase(id);
  const auto found = waiting_.find(id);
  if (found == waiting_.end()) return;
  world_.Cancel(found->second);
  waiting_.erase(found);
}

void NodeExecutor::Crash() {
  ++life_;
  for (const auto& [id, event] : waiting_) world_.Cancel(event);
  waiting_.clear();
  overslept_.clear();
  asleep_until_ = absl::ZeroDuration();
}

void NodeExecutor::SleepUntil(absl::Duration end) {
  asleep_until_ = std::max(asleep_until_, end);
}

}  // namespace capstan::sim
