// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "fleet/fleet.h"
#include "rotation/preflight.h"
#include "trust/canary.h"

namespace capstan::server {

// Whom a canary selects of the population of one moment.
struct CanaryView {
  std::string canary;  // as text
  int64_t population = 0;
  int64_t selected = 0;
  int64_t untold = 0;                   // connected others whose agents tell no failed handshakes
  std::vector<std::string> namespaces;  // that there are, ordered
};
CanaryView LookAt(const trust::Canary& canary, const fleet::Fleet& fleet, absl::Time now);

// FailedPrecondition: it selects nobody, and what there is instead.
absl::Status CheckSelects(const CanaryView& view);
// For the plan: that it selects nobody, or everybody, or how many others would tell of harm.
std::vector<rotation::Finding> FindingsOf(const CanaryView& view);

}  // namespace capstan::server
