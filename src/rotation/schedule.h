// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rotation/maintenance_window.h"
#include "trust/authority.h"

namespace capstan::rotation {

enum class TimerMode {
  kOff,
  kAnnounce,  // says what is due and what to type
  kRotate,    // begins what is due
};
std::string_view TimerModeName(TimerMode mode);  // "off", "announce", "rotate"
absl::StatusOr<TimerMode> ParseTimerMode(std::string_view name);

// When CAs are replaced without anybody asking for it.
struct TimerPolicy {
  TimerMode mode = TimerMode::kRotate;
  // The part of its life after which each is due, above 0 and below 1; 0: never.
  double root_at = 0;
  double intermediate_at = 0;
  // A rotation begins inside one of them only (and goes on after it has closed); none: at any time.
  std::vector<MaintenanceWindow> windows;
  // How long an intermediate made here lives; InfiniteDuration(): as long as its root.
  absl::Duration intermediate_ttl = absl::InfiniteDuration();
  bool on() const { return mode != TimerMode::kOff && (root_at > 0 || intermediate_at > 0); }
};

enum class TimerTarget { kRoot, kIntermediate };
std::string_view TimerTargetName(TimerTarget target);  // "root", "intermediate"

// What the timer looks at.
struct TimerFacts {
  trust::Authority issuer;
  bool root_key = false;    // the key of the issuer's root is here, to sign an intermediate with
  std::string source;       // of a CA that is followed and cannot be written; "": none such
  std::string turned_back;  // why the last rotation keeps the next one from beginning by itself
  std::string not_now;      // why none can begin at this moment
};

struct TimerDecision {
  enum class Action {
    kNone,      // nothing is due
    kWait,      // due, and begun at `at` or when what `why` names is over
    kAnnounce,  // due, and somebody has to begin it: `command`
    kBegin,     // due, now
  };
  Action action = Action::kNone;
  TimerTarget target = TimerTarget::kRoot;  // what is due, or will be first
  absl::Time due = absl::InfiniteFuture();  // it passes its part of its life; InfiniteFuture: never
  absl::Time at = absl::InfiniteFuture();   // the first moment when it may begin
  std::string why;                          // changes only when something else is the case
  std::string command;                      // that begins it by hand
};
std::string_view TimerActionName(TimerDecision::Action action);  // "none", "wait", …

// A function of its arguments alone: nothing is remembered between two looks, so a clock that steps
// back takes back what was due, and a process that was just made decides the same.
//   root:          replaced when it is due; the new one signs leaves itself.
//   intermediate:  each between the leaf and the root. A root that signs leaves itself is followed
//                  by an intermediate when that part of intermediate_ttl is over. One that ends
//                  with its root is never due: another could not live longer.
TimerDecision DecideTimer(const TimerPolicy& policy, const TimerFacts& facts, absl::Time now);

// How long to wait after that many failures in a row (1, 2, …) before the next try.
absl::Duration TimerRetryDelay(int failures);

}  // namespace capstan::rotation
