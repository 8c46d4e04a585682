// SPDX-License-Identifier: Apache-2.0
#include "server/rotation_record.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "x509/crl.h"

namespace capstan::server {

rotation::Rotation RotationOf(const store::RotationRecord& record,
                              const std::map<std::string, store::ExemptionRecord>& exempt,
                              const rotation::Policy& configured) {
  rotation::Rotation rotation;
  rotation.policy = configured;
  rotation.policy.soak = record.soak;
  rotation.policy.absent_deadline = record.absent_deadline;
  rotation.policy.require_proven = record.require_proven;
  rotation.policy.issue_per_second = record.issue_per_second;
  rotation.paused = record.paused;
  rotation.emergency = record.emergency;
  rotation.phase_since = record.phase_since;
  for (const auto& [name, exemption] : exempt) {
    rotation.exempt[name] = {exemption.name, exemption.why, exemption.at};
  }
  return rotation;
}

store::RotationRecord NewRotation(int64_t number, const rotation::Situation& from,
                                  const rotation::Wish& wish, const rotation::Policy& policy,
                                  absl::Time now) {
  store::RotationRecord record;
  record.number = number;
  record.from_roots_pem = from.trust.bundle.ToPem();
  record.from_crls_pem = x509::ToPem(from.trust.crls);
  record.from_issuer = from.trust.issuer.hex();
  record.started_at = now;
  record.soak = policy.soak;
  record.absent_deadline = policy.absent_deadline;
  record.require_proven = policy.require_proven;
  record.issue_per_second = policy.issue_per_second;
  if (wish.canary.has_value()) record.canary = wish.canary->ToString();
  Reaim(from, wish, now, record);
  return record;
}

void Reaim(const rotation::Situation& now_is, const rotation::Wish& wish, absl::Time now,
           store::RotationRecord& record) {
  record.to_roots_pem = wish.bundle.ToPem();
  record.to_issuer = wish.issuer.hex();
  record.outcome = "done";
  record.turned_why.clear();
  record.phase.clear();
  NotePhase(now_is, wish, now, record);
}

void NotePhase(const rotation::Situation& now_is, const rotation::Wish& wish, absl::Time now,
               store::RotationRecord& record) {
  std::string phase(rotation::PhaseName(rotation::PhaseOf(now_is, wish)));
  if (phase == record.phase) return;
  record.phase = std::move(phase);
  record.phase_since = now;
}

absl::StatusOr<std::optional<trust::Canary>> CanaryOf(
    const std::optional<store::RotationRecord>& record) {
  const bool onwards = record.has_value() && !record->finished() && record->outcome == "done";
  if (!onwards || record->canary.empty()) return std::nullopt;
  absl::StatusOr<trust::Canary> canary = trust::Canary::Parse(record->canary);
  if (!canary.ok()) {
    return absl::DataLossError(absl::StrCat("the state's rotation ", record->number,
                                            " does not read back (", canary.status().message(),
                                            "); put the state database back from a backup"));
  }
  return *std::move(canary);
}

}  // namespace capstan::server
