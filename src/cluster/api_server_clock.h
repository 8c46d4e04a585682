// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "kube/client.h"

namespace capstan::cluster {

// The API server's clock, asked now and then: a witness of ours where no agent tells its own, as
// stock agents do not. Thread-safe.
class ApiServerClock {
 public:
  // `client` and `clock` outlive it.
  ApiServerClock(kube::Client& client, Clock& clock);
  ~ApiServerClock();

  // How far it is ahead of ours now, to a second or so, also where ours has stepped since it was
  // asked; nullopt: it was not heard of lately.
  std::optional<absl::Duration> offset();

 private:
  void Ask();

  kube::Client& client_;
  Clock& clock_;
  absl::Mutex mutex_;
  std::optional<absl::Time> theirs_ ABSL_GUARDED_BY(mutex_);  // when it was heard
  absl::Duration heard_ ABSL_GUARDED_BY(mutex_);              // monotonic
  EventLoop loop_;
};

}  // namespace capstan::cluster
