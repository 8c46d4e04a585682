// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "envoy/config_dump.h"

namespace capstan::cli {

// A row for every certificate of every secret, in columns NAME, TYPE, STATUS, VALID, SERIAL, NOT
// AFTER, NOT BEFORE, and TRUST DOMAIN where a secret has it. A secret without certificates has one
// row that says why. Without secrets: "No active or warming secrets found." as istioctl.
std::string SecretTable(const std::vector<envoy::HeldSecret>& secrets, absl::Time now);

}  // namespace capstan::cli
