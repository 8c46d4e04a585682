// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rotation/gate.h"
#include "rotation/step.h"

namespace capstan::rotation {

// A step to come, for people: nothing is decided by it.
struct PlannedStep {
  std::string name;  // StepName, or "end" for the last
  std::string why;
  Gate gate;  // before it
  // What is waited for, in words; "" where nothing is. That the agents confirm the clock, which
  // every gate asks for, is left out.
  std::string gate_says;
  Phase phase = Phase::kRootA;  // in which the waiting happens
  friend bool operator==(const PlannedStep&, const PlannedStep&) = default;
};

// What the machine would do from `now_is`, each step after the last, if every gate opened; the end
// is the last element. Whether the key of the wanted authority is here does not matter.
// FailedPrecondition: the wanted authority is not known. Internal: the steps do not end.
absl::StatusOr<std::vector<PlannedStep>> PlanSteps(const Situation& now_is, const Wish& wish,
                                                   absl::Time now);

// How fast things can go.
struct Pace {
  int64_t population = 0;
  int64_t leaves = 0;                  // that the wanted authority has to replace
  double certificates_per_second = 0;  // the budget of signing anew; 0: no limit
  absl::Duration soak = absl::Seconds(30);
};

struct Estimate {
  int64_t reissued = 0;  // leaves
  absl::Duration reissue_takes = absl::ZeroDuration();
  absl::Duration takes = absl::ZeroDuration();  // at least, with everybody there
  friend bool operator==(const Estimate&, const Estimate&) = default;
};
Estimate EstimateOf(const std::vector<PlannedStep>& steps, const Pace& pace);

}  // namespace capstan::rotation
