// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "sim/options.h"

namespace capstan::sim {

// A mesh as its operator describes it, as YAML: how many workloads, how long their leaves live, how
// often what fails, and the policy to rotate by. The keys are those of FleetFileHelp().
// InvalidArgument: not YAML, an unknown key, or a value that is none, with its line.
absl::StatusOr<Options> ParseFleetFile(const std::string& text, uint64_t seed);

// Every key with its default, as a fleet file.
std::string FleetFileHelp();

}  // namespace capstan::sim
