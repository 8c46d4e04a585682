// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "fleet/fleet.h"
#include "rotation/canary.h"
#include "rotation/gate.h"
#include "rotation/observation.h"
#include "store/store.h"

namespace capstan::server {

// A workload as an operator names it: SPIFFE_ID#INSTANCE, or SPIFFE_ID#serial:SERIAL for a caller
// that names no instance.
std::string HolderName(const fleet::Key& key);

// What the fleet is measured by for this gate.
fleet::Target TargetOf(const rotation::Gate& gate);

// The tally of TargetOf(gate), as the gate sees it: nobody holds one that is `unused`.
rotation::Observation ObservationOf(const fleet::Tally& tally, const rotation::Gate& gate);

// Fills in what was told first of the failed handshakes that `seen` counts.
void TellFirst(const fleet::Fleet& fleet, const fleet::Tally& tally, rotation::Observation& seen);
// Of every workload whose agent tells failed handshakes.
std::map<std::string, rotation::Baseline> BaselinesOf(const fleet::Fleet& fleet, absl::Time now);

// Those of `open` that do not hold the bundle of a gate that asks for it.
std::vector<rotation::Holder> JoinFileHolders(const std::vector<store::TokenRecord>& open,
                                              const rotation::Gate& gate);

}  // namespace capstan::server
