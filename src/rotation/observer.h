// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "absl/time/time.h"
#include "rotation/canary.h"
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
  // By name, of every workload whose agent tells failed handshakes: asked for when a canary begins.
  virtual std::map<std::string, Baseline> Baselines(absl::Time now) {
    static_cast<void>(now);
    return {};
  }
};

}  // namespace capstan::rotation
