// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/time/time.h"

namespace capstan {

// Where a driver reads time. Deciding functions never hold a Clock: they take `now`.
class Clock {
 public:
  virtual ~Clock() = default;
  // The wall clock: judges validity. It may step in either direction at any moment.
  virtual absl::Time Now() = 0;
  // Time since an arbitrary start, never going back: spaces retries and measures soak.
  virtual absl::Duration Monotonic() = 0;
};

// The machine's clocks. Never destroyed.
Clock& RealClock();

// A clock that a test moves by hand. The two times move together unless the wall clock is stepped.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(absl::Time now) : now_(now) {}
  absl::Time Now() override { return now_; }
  absl::Duration Monotonic() override { return monotonic_; }
  void Advance(absl::Duration d) {
    now_ += d;
    monotonic_ += d;
  }
  void StepWallClock(absl::Duration d) { now_ += d; }

 private:
  absl::Time now_;
  absl::Duration monotonic_ = absl::ZeroDuration();
};

}  // namespace capstan
