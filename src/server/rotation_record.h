// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "rotation/machine.h"
#include "store/store.h"

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

}  // namespace capstan::server
