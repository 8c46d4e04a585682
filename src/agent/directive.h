// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "capstan/fleet/v1/fleet.pb.h"
#include "lifecycle/machine.h"

namespace capstan::agent {

// What an update says of the leaves to replace; nullopt: none. Whatever comes is a window: the
// machine bounds what it waits for by its own leaf. InvalidArgument: it names no authority.
absl::StatusOr<std::optional<lifecycle::Directive>> DirectiveOf(
    const fleet::v1::TrustUpdate& update);

}  // namespace capstan::agent
