// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <set>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace capstan::sim {

// Reproducible draws. Each use has a stream of its own, so that one more draw here changes none
// there. Integers only, so that every build draws the same.
class Rng {
 public:
  Rng(uint64_t seed, std::string_view purpose, uint64_t index = 0);
  uint64_t Next();
  uint64_t Below(uint64_t n);  // [0, n), n > 0
  bool Chance(int64_t parts, int64_t of = 1'000'000);
  absl::Duration Between(absl::Duration least, absl::Duration most);  // by the millisecond
  // A wait whose mean is `mean`.
  absl::Duration Around(absl::Duration mean) { return Between(absl::ZeroDuration(), 2 * mean); }

 private:
  uint64_t state_;
};

// The one thread of a simulated world: events in the order of their time, and of their making where
// that is the same.
class World {
 public:
  using Task = std::function<void()>;
  using EventId = uint64_t;  // never 0

  absl::Duration now() const { return now_; }
  EventId At(absl::Duration when, Task task);
  EventId After(absl::Duration delay, Task task) { return At(now_ + delay, std::move(task)); }
  // Of an event that has not run yet.
  void Cancel(EventId id) { cancelled_.insert(id); }
  // Up to and including `end`, or until Stop().
  void RunUntil(absl::Duration end);
  void Stop() { stopped_ = true; }
  bool stopped() const { return stopped_; }
  int64_t events() const { return events_; }

  // What happened becomes part of the run's fingerprint: two runs are the same when it is.
  void Note(std::string_view what, int64_t who = 0, int64_t value = 0);
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  struct Event {
    absl::Duration when;
    EventId id;
    Task task;
  };
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      return a.when != b.when ? a.when > b.when : a.id > b.id;
    }
  };
  std::priority_queue<Event, std::vector<Event>, Later> queue_;
  std::set<EventId> cancelled_;
  absl::Duration now_ = absl::ZeroDuration();
  EventId last_id_ = 0;
  int64_t events_ = 0;
  uint64_t fingerprint_ = 0xcbf29ce484222325;
  bool stopped_ = false;
};

}  // namespace capstan::sim
