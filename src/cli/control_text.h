// SPDX-License-Identifier: Apache-2.0
// What `capstan status`, `fleet list` and `reload` print, as functions of what capstand answered.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "capstan/control/v1/control.pb.h"

namespace capstan::cli {

// Times are told relative to the control plane's own clock, which the answer carries.
std::string StatusText(const control::v1::Status& status);

std::string FleetText(const control::v1::ListFleetResponse& fleet);

std::string ReloadText(const control::v1::ReloadResponse& reload);

// What the rotation timer says, in one line; "" where it is off.
std::string TimerText(const control::v1::RotationTimer& timer, absl::Time now);

// "in 23h59m", "2m ago"; two units at most.
std::string RelativeTo(absl::Time now, absl::Time then);

}  // namespace capstan::cli
