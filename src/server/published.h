// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace capstan::server {

// The latest immutable snapshot of something: one thread replaces it, any thread reads it. The lock
// is held for the copy of a pointer only.
template <typename T>
class Published {
 public:
  std::shared_ptr<const T> Get() const {
    absl::MutexLock lock(&mutex_);
    return value_;
  }
  void Set(std::shared_ptr<const T> value) {
    absl::MutexLock lock(&mutex_);
    value_.swap(value);  // the old one dies after the lock
  }

 private:
  mutable absl::Mutex mutex_;
  std::shared_ptr<const T> value_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace capstan::server
