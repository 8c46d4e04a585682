// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "authn/node_pods.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/mutex.h"
#include "kube/client.h"
#include "kube/watch.h"

namespace capstan::authn {

// Follows the pods of one cluster and answers about them: drives NodePods. Nobody who asks waits in
// a call. Thread-safe.
class NodePodWatch {
 public:
  struct Options {
    // For how long an event that has not arrived yet is waited for, before anybody is refused.
    absl::Duration patience = absl::Seconds(1);
    // For how long what was told is good while the pods cannot be followed. A watch that works
    // again may be silent for a minute before it shows.
    absl::Duration stale = absl::Minutes(2);
    size_t most_waiting = 1'000;
  };
  // Called once: within Ask(), or later from a thread of the watch's.
  using Done = std::function<void(const absl::Status&)>;

  // `cluster` is for messages; `clock` outlives it.
  NodePodWatch(std::string cluster, kube::Access access, Clock& clock)
      : NodePodWatch(std::move(cluster), std::move(access), clock, Options()) {}
  NodePodWatch(std::string cluster, kube::Access access, Clock& clock, Options options);
  // Stops.
  ~NodePodWatch();
  NodePodWatch(const NodePodWatch&) = delete;
  NodePodWatch& operator=(const NodePodWatch&) = delete;

  // Unauthenticated: no, and why. Unavailable: nobody knows now, and why.
  void Ask(const NodePods::Question& question, const Done& done);
  // Everybody who waits, and who asks from here on, is told Unavailable.
  void Stop();

 private:
  struct Waiting {
    NodePods::Question question;
    Done done;
  };
  kube::Watch::Handler Handler();
  absl::Status Judge(const NodePods::Question& question) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RecheckSoon() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Recheck();
  void GiveUp(uint64_t id);
  void Synced();
  void Trouble(const absl::Status& why);

  const std::string cluster_;
  Clock& clock_;
  const Options options_;
  kube::Client client_;
  Mutex mutex_;
  NodePods pods_ ABSL_GUARDED_BY(mutex_);
  bool known_ ABSL_GUARDED_BY(mutex_) = false;  // all that there is was told once
  std::optional<absl::Duration> troubled_since_ ABSL_GUARDED_BY(mutex_);
  std::string trouble_ ABSL_GUARDED_BY(mutex_) = "they are being listed";
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool rechecking_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t last_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
  EventLoop loop_;
  kube::Watch watch_;  // last: it tells
};

}  // namespace capstan::authn
