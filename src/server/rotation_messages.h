// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/statusor.h"
#include "capstan/control/v1/control.pb.h"
#include "rotation/machine.h"
#include "rotation/plan.h"
#include "rotation/preflight.h"
#include "server/canary_view.h"
#include "server/trust_keeper.h"
#include "store/store.h"

namespace capstan::server {

// A rotation as `capstan rotate status` shows it, `now` by the control plane's clock. The record
// alone, as of a rotation that ended before this process began.
control::v1::Rotation RotationMessage(const store::RotationRecord& record,
                                      const std::vector<store::ExemptionRecord>& exempt,
                                      absl::Time now);
// The same, with what it waits for.
control::v1::Rotation RotationMessage(const RotationView& view, absl::Time now);

control::v1::ListRotationsResponse RotationsMessage(const store::Store::RotationHistory& history,
                                                    const std::vector<store::JournalEntry>& journal,
                                                    absl::Time now);

control::v1::RotationPlan PlanMessage(const std::vector<rotation::Finding>& findings,
                                      const std::vector<rotation::PlannedStep>& steps,
                                      const std::vector<rotation::Holder>& away,
                                      const rotation::Pace& pace);

control::v1::Canary CanaryMessage(const CanaryView& view);

// `configured`, but for what the message says. InvalidArgument: a negative time, or a budget that
// is none.
absl::StatusOr<rotation::Policy> PolicyOf(const control::v1::RotationPolicy& message,
                                          const rotation::Policy& configured);

}  // namespace capstan::server
