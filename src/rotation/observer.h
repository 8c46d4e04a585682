// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/time/time.h"
#include "rotation/gate.h"
#include "rotation/observation.h"

namespace capstan::rotation {

// Where the walk learns what the world looks like: rotation's port. server/ implements it on the
// fleet, the simulator and tests with theirs.
class Observer {
 public:
  virtual ~Observer() = default;
  // Everybody who keeps `gate` shut at `now`, and the counts of this moment. Called for every gate
  // but kNone, and for kNone too where somebody wants to see the counts.
  virtual Observation Observe(const Gate& gate, absl::Time now) = 0;
};

}  // namespace capstan::rotation
