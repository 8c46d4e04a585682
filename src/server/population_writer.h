// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/executor.h"
#include "store/store.h"

namespace capstan::server {

// Writes the population behind: records wait a moment and go to the store in groups, the latest of
// each workload only, so that the queue is bounded by the population. What a crash loses is covered
// by the reserved expiries. A group that the store refuses is tried again. Put() from any thread;
// the rest runs on `executor`, which stops before this object dies.
class PopulationWriter {
 public:
  PopulationWriter(store::Store& store, Executor& executor) : store_(store), executor_(executor) {}

  void Put(store::PopulationRecord record);
  // Writes all that waits, now. The store's error: it still waits.
  absl::Status Flush();
  size_t waiting() const;

 private:
  using Key = std::tuple<std::string, std::string, std::string, std::string>;
  static Key KeyOf(const store::PopulationRecord& record);
  void Schedule(absl::Duration delay);
  void FlushLater();

  store::Store& store_;
  Executor& executor_;
  absl::Mutex flushing_;  // one group at a time, in order
  mutable absl::Mutex mutex_;
  std::map<Key, store::PopulationRecord> waiting_ ABSL_GUARDED_BY(mutex_);
  bool scheduled_ ABSL_GUARDED_BY(mutex_) = false;
  std::string last_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace capstan::server
