// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/executor.h"
#include "store/store.h"

namespace capstan::server {

// Writes the population behind: records wait a moment and go to the store in groups, the latest of
// each workload only, so that the queue is bounded by the population. A group that the store
// refuses is tried again. From any thread but for what it does by itself, which runs on `executor`,
// which stops before this object dies.
//
// A crash loses what waits. So that nobody relies on a record that may be missing, the store holds
// a mark for every authority with leaves whose records are not all there (store::UnwrittenRecord):
// Promise() sets it before the leaf is signed, and it goes when what was promised is written; where
// many leaves are given out, when they become few. Whoever finds it at the next start knows how
// long to wait.
class PopulationWriter {
 public:
  // Of a leaf that is about to be given out: holds the mark until its record was Put().
  class Promised {
   public:
    Promised() = default;
    Promised(Promised&& other) noexcept { *this = std::move(other); }
    Promised& operator=(Promised&& other) noexcept {
      std::swap(writer_, other.writer_);
      std::swap(authority_, other.authority_);
      return *this;
    }
    Promised(const Promised&) = delete;
    Promised& operator=(const Promised&) = delete;
    ~Promised() {
      if (writer_ != nullptr) writer_->Release(authority_);
    }

   private:
    friend class PopulationWriter;
    Promised(PopulationWriter* writer, std::string authority)
        : writer_(writer), authority_(std::move(authority)) {}
    PopulationWriter* writer_ = nullptr;
    std::string authority_;
  };

  PopulationWriter(store::Store& store, Executor& executor) : store_(store), executor_(executor) {}

  // Before a leaf of `authority` that ends at `not_after` is signed. Writes only where no mark is
  // there that covers it. A store that refuses the mark is told of in the log and does not keep
  // certificates from being renewed: what is missing then is the knowledge of a crash that comes
  // before it takes the record.
  Promised Promise(const std::string& authority, absl::Time not_after);
  void Put(store::PopulationRecord record);
  // Writes all that waits, now, and takes the marks away that are of no use then. The store's
  // error: it still waits.
  absl::Status Flush();
  size_t waiting() const;

 private:
  using Key = std::tuple<std::string, std::string, std::string, std::string>;
  // An authority with a mark in the store, or one that is being set.
  struct Mark {
    absl::Time until = absl::InfinitePast();  // as the store has it
    int promised = 0;                         // not released yet
    int uses = 0;                             // since the last write
  };
  static Key KeyOf(const store::PopulationRecord& record);
  void Release(const std::string& authority);
  void Schedule(absl::Duration delay);
  void FlushLater();
  bool Covered(const std::string& authority, absl::Time not_after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Write() ABSL_EXCLUSIVE_LOCKS_REQUIRED(writing_);
  absl::Status ClearMarks(int most_uses) ABSL_EXCLUSIVE_LOCKS_REQUIRED(writing_);

  store::Store& store_;
  Executor& executor_;
  absl::Mutex writing_;  // one write at a time, in order; before mutex_
  mutable absl::Mutex mutex_;
  std::map<Key, store::PopulationRecord> waiting_ ABSL_GUARDED_BY(mutex_);
  // By authority. While there are some, a write is scheduled.
  std::map<std::string, Mark> marks_ ABSL_GUARDED_BY(mutex_);
  bool refused_ ABSL_GUARDED_BY(mutex_) = false;  // a mark, since the last try to write
  bool scheduled_ ABSL_GUARDED_BY(mutex_) = false;
  std::string last_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace capstan::server
