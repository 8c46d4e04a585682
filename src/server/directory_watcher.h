// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <future>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "server/settler.h"
#include "server/trust_keeper.h"
#include "trust/ca_set.h"

namespace capstan::server {

// Follows a CA directory on a thread of its own: inotify where it tells something, a regular look
// where it does not.
class DirectoryWatcher {
 public:
  // Takes settled content; called on the watcher's thread, one at a time. An error: offered again
  // later.
  using Offer = std::function<absl::StatusOr<Outcome>(const absl::StatusOr<trust::CaFiles>& files)>;

  DirectoryWatcher(std::string path, Settler::Options options, Clock& clock, Offer offer);
  // Stops.
  ~DirectoryWatcher();
  DirectoryWatcher(const DirectoryWatcher&) = delete;
  DirectoryWatcher& operator=(const DirectoryWatcher&) = delete;

  // Offers what is there as soon as it is settled, known or not, and waits for the outcome.
  // Unavailable: the files did not come to rest in time, or the watcher stops.
  absl::StatusOr<Outcome> ReloadNow();

 private:
  void Run();
  void Look();
  void WaitForEvents(absl::Duration timeout);
  void Rewatch();
  bool ReadEvents();
  void Wake();
  void Answer(const absl::StatusOr<Outcome>& outcome);

  const std::string path_;
  Clock& clock_;
  const Offer offer_;
  int inotify_ = -1;
  int wake_ = -1;
  std::map<int, std::set<std::string>> watches_;  // inotify's number → the names that matter
  Settler settler_;                               // the thread's

  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool forced_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::shared_ptr<std::promise<absl::StatusOr<Outcome>>>> waiting_
      ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace capstan::server
