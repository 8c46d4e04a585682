// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace capstan::server {

// Who wants to hear of changes. A callback only schedules; it neither subscribes nor drops its
// handle.
class Subscribers {
 public:
  // Once the handle is gone the callback is not running and is not called any more. Handles may
  // outlive this object.
  std::shared_ptr<void> Add(std::function<void()> changed) {
    const int64_t id = list_->Add(std::move(changed));
    return std::shared_ptr<void>(nullptr, [list = list_, id](void*) { list->Remove(id); });
  }
  void Notify() { list_->Notify(); }

 private:
  class List {
   public:
    int64_t Add(std::function<void()> changed) {
      absl::MutexLock lock(&mutex_);
      callbacks_[++last_id_] = std::move(changed);
      return last_id_;
    }
    void Remove(int64_t id) {
      absl::MutexLock lock(&mutex_);
      callbacks_.erase(id);
    }
    void Notify() {
      absl::MutexLock lock(&mutex_);
      for (const auto& [id, changed] : callbacks_) changed();
    }

   private:
    absl::Mutex mutex_;
    std::map<int64_t, std::function<void()>> callbacks_ ABSL_GUARDED_BY(mutex_);
    int64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  };
  std::shared_ptr<List> list_ = std::make_shared<List>();
};

}  // namespace capstan::server
