// SPDX-License-Identifier: Apache-2.0
// What `capstan rotate plan`, `start`, `status` and `history` print, as functions of what capstand
// answered. Times are told relative to the control plane's own clock.
#pragma once

#include <string>

#include "capstan/control/v1/control.pb.h"

namespace capstan::cli {

// Some finding says that the rotation would break something.
bool HasErrors(const control::v1::RotationPlan& plan);
std::string PlanText(const control::v1::RotationPlan& plan);

// One screen.
std::string RotationText(const control::v1::Rotation& rotation);

// After `start`: the number, and how to go on. `socket_flag`: " --socket X" or "".
std::string StartedText(const control::v1::Rotation& rotation, const std::string& socket_flag);

// Before an emergency rotation: what it breaks.
std::string EmergencyText(const control::v1::RotationPlan& plan);

std::string HistoryText(const control::v1::ListRotationsResponse& history);
std::string JournalText(const control::v1::ListRotationsResponse& history);

// "soak 30s; absent workloads are waited for …; re-issue at most 5 a second". `per_second`: what a
// re-issue goes by as things are, which is less where capstand's own budget is; 0: not known.
std::string PolicyText(const control::v1::RotationPolicy& policy, double per_second);

// "12m4s": since its start, or what it took.
std::string TookText(const control::v1::Rotation& rotation);

// "12.5"
std::string RateText(double per_second);

}  // namespace capstan::cli
