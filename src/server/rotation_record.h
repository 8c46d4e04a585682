// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "rotation/machine.h"
#include "store/store.h"
#include "trust/canary.h"

namespace capstan::server {

// Between what the store keeps of a rotation and what the machine decides on.
rotation::Rotation RotationOf(const store::RotationRecord& record,
                              const std::map<std::string, store::ExemptionRecord>& exempt,
                              const rotation::Policy& configured);

// A rotation that begins: from what is to `wish`.
store::RotationRecord NewRotation(int64_t number, const rotation::Situation& from,
                                  const rotation::Wish& wish, const rotation::Policy& policy,
                                  absl::Time now);
// The same rotation, aimed elsewhere: the way back stays where it began.
void Reaim(const rotation::Situation& now_is, const rotation::Wish& wish, absl::Time now,
           store::RotationRecord& record);
// Notes the phase that `now_is` is in, if it is another one.
void NotePhase(const rotation::Situation& now_is, const rotation::Wish& wish, absl::Time now,
               store::RotationRecord& record);

// For whom the wanted authority of a rotation signs first; nullopt: for nobody, or none runs, or it
// is on its way back. DataLoss: the record is damaged.
absl::StatusOr<std::optional<trust::Canary>> CanaryOf(
    const std::optional<store::RotationRecord>& record);

}  // namespace capstan::server
