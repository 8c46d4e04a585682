// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <utility>

#include "base/clock.h"
#include "base/executor.h"
#include "sim/world.h"

namespace capstan::sim {

// When every world begins.
inline absl::Time Epoch() {
  return absl::FromUnixSeconds(1'747'068'500);
}  // 2025-05-12

// One machine's clocks: they run fast or slow, and the wall clock may be wrong besides.
class NodeClock final : public Clock {
 public:
  NodeClock(const World& world, int64_t drift_ppm) : world_(world), drift_ppm_(drift_ppm) {}
  absl::Time Now() override { return Epoch() + Monotonic() + wrong_; }
  absl::Duration Monotonic() override {
    return world_.now() + world_.now() / 1'000'000 * drift_ppm_;
  }
  void Step(absl::Duration by) { wrong_ += by; }
  // As by NTP: the wall clock tells the world's time.
  void Correct() { wrong_ = -(world_.now() / 1'000'000 * drift_ppm_); }
  // How long the world takes while this clock counts `d`.
  absl::Duration Real(absl::Duration d) const { return d - d / 1'000'000 * drift_ppm_; }

 private:
  const World& world_;
  const int64_t drift_ppm_;
  absl::Duration wrong_ = absl::ZeroDuration();
};

// The tasks of one machine. A crash forgets them; a machine that sleeps does them when it wakes.
class NodeExecutor final : public Executor {
 public:
  NodeExecutor(World& world, const NodeClock& clock) : world_(world), clock_(clock) {}
  void Post(Task task) override { After(absl::ZeroDuration(), std::move(task)); }
  TimerId After(absl::Duration delay, Task task) override;
  void Cancel(TimerId id) override;

  void Crash();
  void SleepUntil(absl::Duration end);
  bool asleep() const { return world_.now() < asleep_until_; }

 private:
  void Run(TimerId id, const Task& task);

  World& world_;
  const NodeClock& clock_;
  int64_t life_ = 0;
  absl::Duration asleep_until_ = absl::ZeroDuration();
  TimerId last_id_ = 0;
  std::map<TimerId, World::EventId> waiting_;
  std::map<TimerId, Task> overslept_;
};

}  // namespace capstan::sim
