// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "rpc/control_plane.h"

namespace capstan::rpc {

// FleetService.GetTrustHistory, for callers who are nobody: what it gives out is public, and it
// takes so many calls a second from all of them together. Thread-safe.
class HistoryMethod {
 public:
  HistoryMethod(ControlPlane& plane, Clock& clock) : plane_(plane), clock_(clock) {}

  // ResourceExhausted: too often, or too large a request; otherwise as ControlPlane::TrustHistory.
  absl::StatusOr<grpc::ByteBuffer> Serve(const grpc::ByteBuffer& request);

 private:
  bool Admit();

  // A fleet of 20,000 that wakes up at once is through within two minutes.
  static constexpr double kPerSecond = 200;
  static constexpr double kBurst = 400;

  ControlPlane& plane_;
  Clock& clock_;
  Mutex mutex_;
  double allowance_ ABSL_GUARDED_BY(mutex_) = kBurst;
  absl::Duration refilled_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();  // monotonic
};

}  // namespace capstan::rpc
