// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/metrics.h"
#include "capstan/control/v1/control.pb.h"
#include "rotation/machine.h"
#include "rotation/schedule.h"

namespace capstan::server {

// What rotation::DecideTimer said last, said on: in the log once, in metrics and in the status; and
// when to try again what failed. Thread-safe.
class RotationTimer {
 public:
  RotationTimer(rotation::TimerPolicy policy, Metrics& metrics);
  const rotation::TimerPolicy& policy() const { return policy_; }

  // Decides anew. kBegin: the caller begins it now and says how that went with Began() or Failed().
  rotation::TimerDecision Look(rotation::TimerFacts facts, rotation::Instant now);
  void Began(rotation::TimerTarget target);
  void Failed(const absl::Status& why, rotation::Instant now);

  control::v1::RotationTimer Message() const;

 private:
  void Say() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Show() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const rotation::TimerPolicy policy_;
  Metrics& metrics_;

  mutable absl::Mutex mutex_;
  GaugeSet due_ ABSL_GUARDED_BY(mutex_);
  GaugeSet announced_ ABSL_GUARDED_BY(mutex_);
  prometheus::Counter& failed_;
  rotation::TimerDecision decision_ ABSL_GUARDED_BY(mutex_);
  std::string said_ ABSL_GUARDED_BY(mutex_);
  int failures_ ABSL_GUARDED_BY(mutex_) = 0;                                // in a row
  absl::Duration retry_at_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();  // monotonic
  std::string last_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace capstan::server
