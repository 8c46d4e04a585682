// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "cluster/election.h"
#include "kube/client.h"

namespace capstan::cluster {

// Drives Election. Reads and writes block a loop of its own; the end of a leader that can do
// neither is seen by another.
class Leadership {
 public:
  // `lost` is called once, from a thread of this object's, when a leader is none any more. Begins
  // at once. `client` asks for less time than Options::deadline.
  Leadership(kube::Client& client, kube::ObjectName lease, Election::Options options, Clock& clock,
             Metrics& metrics, std::function<void(const std::string& why)> lost);
  // Gives the lease back where it has it, so that the next one need not wait.
  ~Leadership();
  Leadership(const Leadership&) = delete;
  Leadership& operator=(const Leadership&) = delete;

  // Whether a leader's deed may be done at this moment: cheap, from any thread. Unavailable: no.
  absl::Status Check() const;
  // Why it is no leader.
  std::string why() const;

 private:
  // The loop's.
  void Work();
  void Perform(const Election::Next& next);
  void Show();
  // The watchdog's.
  void Bark();

  kube::Client& client_;
  const kube::ObjectName name_;
  Clock& clock_;
  const std::function<void(const std::string&)> lost_;
  prometheus::Gauge& gauge_;
  mutable Mutex mutex_;
  Election machine_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int64_t> until_;  // nanoseconds of the monotonic clock
  std::atomic<bool> told_ = false;
  // The loop's.
  std::string said_;
  bool led_ = false;
  EventLoop watchdog_;
  EventLoop loop_;
};

}  // namespace capstan::cluster
