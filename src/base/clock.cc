// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <ctime>

namespace capstan {
namespace {

timespec Read(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return time;
}

class SystemClock final : public Clock {
 public:
  // Not absl::Now(): it counts cycles between two looks at the clock, and sees a step, or the end
  // of a machine's sleep, up to two seconds late.
  absl::Time Now() override { return absl::TimeFromTimespec(Read(CLOCK_REALTIME)); }
  absl::Duration Monotonic() override { return absl::DurationFromTimespec(Read(CLOCK_MONOTONIC)); }
};

}  // namespace

Clock& RealClock() {
  static SystemClock& clock = *new SystemClock;
  return clock;
}

}  // namespace capstan
