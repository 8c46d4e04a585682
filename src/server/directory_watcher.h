// SPDX-License-Identifier: Apache-2.0
#pragma once

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
#include "server/ca_directory.h"
#include "server/ca_source.h"
#include "server/settler.h"
#include "trust/ca_set.h"

namespace capstan::server {

// Follows a CA directory on a thread of its own: inotify where it tells something, a regular look
// where it does not. `offer` is called on that thread.
class DirectoryWatcher final : public CaFollower {
 public:
  DirectoryWatcher(const std::string& path, Settler::Options options, Clock& clock, Offer offer);
  ~DirectoryWatcher() override;
  DirectoryWatcher(const DirectoryWatcher&) = delete;
  DirectoryWatcher& operator=(const DirectoryWatcher&) = delete;

  absl::StatusOr<Outcome> ReloadNow() override;

 private:
  void Run();
  void Look();
  void WaitForEvents(absl::Duration timeout);
  void Rewatch();
  bool ReadEvents();
  void Wake();
  void Answer(const absl::StatusOr<Outcome>& outcome);

  CaDirectory directory_;
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
