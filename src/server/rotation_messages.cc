// SPDX-License-Identifier: Apache-2.0
#include "server/rotation_messages.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "rpc/fields.h"
#include "server/messages.h"

namespace capstan::server {
namespace {

constexpr size_t kMostHolders = 100;
// An absent member means "as configured"; whoever wants to wait without an end says more than this.
constexpr absl::Duration kForEver = absl::Hours(24 * 36525);
// One certificate in a quarter of an hour: below it, a re-issue is none.
constexpr double kLeastBudget = 0.001;

absl::Duration DurationOf(const google::protobuf::Duration& message) {
  return absl::Seconds(message.seconds()) + absl::Nanoseconds(message.nanos());
}

std::string StateOf(const store::RotationRecord& record) {
  if (record.finished()) return record.outcome;
  return record.paused ? "paused" : "running";
}

absl::Status CheckBudget(double per_second) {
  if (per_second == 0 || (std::isfinite(per_second) && per_second >= kLeastBudget)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("a rotation's budget is a number of certificates a second, ", kLeastBudget,
                   " or more (0: capstand's own), not ", per_second));
}

// Roots of one bundle that another one lacks.
void AddMissing(const std::string& from_pem, const std::string& to_pem,
                google::protobuf::RepeatedPtrField<control::v1::Root>* roots) {
  const absl::StatusOr<trust::Bundle> from = trust::Bundle::ParsePem(from_pem);
  const absl::StatusOr<trust::Bundle> to = trust::Bundle::ParsePem(to_pem);
  if (!from.ok() || !to.ok()) return;
  const trust::Bundle missing = Difference(*from, *to);
  for (const x509::Certificate& root : missing.roots()) *roots->Add() = RootMessage(root);
}

void CountHolder(rotation::Holder::Kind kind, control::v1::Gate* gate) {
  switch (kind) {
    case rotation::Holder::Kind::kLaggard:
      return gate->set_laggards(gate->laggards() + 1);
    case rotation::Holder::Kind::kAbsent:
      return gate->set_absent(gate->absent() + 1);
    case rotation::Holder::Kind::kUnproven:
      return gate->set_unproven(gate->unproven() + 1);
    default:
      return gate->set_others(gate->others() + 1);
  }
}

control::v1::Holder HolderMessage(const rotation::Holder& holder) {
  control::v1::Holder message;
  message.set_kind(std::string(rotation::HolderKindName(holder.kind)));
  message.set_name(holder.name);
  message.set_why(holder.why);
  if (holder.until != absl::InfiniteFuture()) rpc::SetTime(holder.until, message.mutable_until());
  return message;
}

control::v1::Gate GateMessage(const rotation::GateReport& report) {
  control::v1::Gate message;
  message.set_name(std::string(rotation::GateName(report.gate.kind)));
  message.set_open(report.open);
  message.set_summary(report.summary);
  SetDuration(report.soak_left, message.mutable_soak_left());
  for (const rotation::Holder& holder : report.holders) {
    CountHolder(holder.kind, &message);
    if (static_cast<size_t>(message.holders_size()) == kMostHolders) continue;
    *message.add_holders() = HolderMessage(holder);
  }
  return message;
}

control::v1::Progress ProgressMessage(const rotation::Observation& seen) {
  control::v1::Progress message;
  message.set_population(seen.population);
  message.set_connected(seen.connected);
  message.set_acknowledged(seen.acknowledged);
  message.set_by_word(seen.by_word);
  message.set_proven(seen.proven);
  message.set_moved(seen.moved);
  if (seen.clock_offset.has_value()) {
    SetDuration(*seen.clock_offset, message.mutable_clock_offset());
  }
  return message;
}

void Fill(const rotation::CanarySeen& seen, int64_t everybody, control::v1::Canary& message) {
  message.set_population(seen.population);
  message.set_moved(seen.moved);
  message.set_untold(seen.untold);
  message.set_others(everybody - seen.population);
}

}  // namespace

control::v1::Rotation RotationMessage(const store::RotationRecord& record,
                                      const std::vector<store::ExemptionRecord>& exempt,
                                      absl::Time now) {
  control::v1::Rotation message;
  message.set_number(record.number);
  message.set_state(StateOf(record));
  message.set_phase(record.phase);
  rpc::SetTime(record.started_at, message.mutable_started());
  rpc::SetTime(record.phase_since, message.mutable_phase_since());
  if (record.finished()) rpc::SetTime(record.finished_at, message.mutable_finished());
  message.set_source(record.source);
  message.set_from_issuer(record.from_issuer);
  message.set_to_issuer(record.to_issuer);
  AddMissing(record.to_roots_pem, record.from_roots_pem, message.mutable_added_roots());
  AddMissing(record.from_roots_pem, record.to_roots_pem, message.mutable_leaving_roots());
  message.set_emergency(record.emergency);
  control::v1::RotationPolicy& policy = *message.mutable_policy();
  SetDuration(record.soak, policy.mutable_soak());
  if (record.absent_deadline != absl::InfiniteDuration()) {
    SetDuration(record.absent_deadline, policy.mutable_absent_deadline());
  }
  policy.set_require_proven(record.require_proven);
  policy.set_issue_per_second(record.issue_per_second);
  if (!record.canary.empty()) message.mutable_canary()->set_selector(record.canary);
  message.set_turned_why(record.turned_why);
  for (const store::ExemptionRecord& exemption : exempt) {
    control::v1::Exemption& out = *message.add_exempt();
    out.set_name(exemption.name);
    out.set_why(exemption.why);
    rpc::SetTime(exemption.at, out.mutable_at());
  }
  rpc::SetTime(now, message.mutable_time());
  return message;
}

control::v1::Rotation RotationMessage(const RotationView& view, absl::Time now) {
  control::v1::Rotation message = RotationMessage(view.record, view.exempt, now);
  if (view.record.finished()) return message;
  message.set_next_step(view.decision.next);
  *message.mutable_gate() = GateMessage(view.decision.gate);
  *message.mutable_progress() = ProgressMessage(view.seen);
  if (view.seen.canary.has_value()) {
    Fill(*view.seen.canary, view.seen.population, *message.mutable_canary());
    message.mutable_canary()->set_signing(view.decision.gate.gate.kind ==
                                          rotation::GateKind::kCanary);
  }
  return message;
}

control::v1::ListRotationsResponse RotationsMessage(const store::Store::RotationHistory& history,
                                                    const std::vector<store::JournalEntry>& journal,
                                                    absl::Time now) {
  control::v1::ListRotationsResponse message;
  for (const store::RotationRecord& record : history.rotations) {
    std::vector<store::ExemptionRecord> exempt;
    for (const store::ExemptionRecord& exemption : history.exemptions) {
      if (exemption.rotation == record.number) exempt.push_back(exemption);
    }
    *message.add_rotations() = RotationMessage(record, exempt, now);
  }
  for (const store::JournalEntry& entry : journal) {
    control::v1::ListRotationsResponse::Entry& out = *message.add_journal();
    rpc::SetTime(entry.at, out.mutable_at());
    out.set_kind(entry.kind);
    out.set_why(entry.why);
    out.set_rotation(entry.rotation);
    out.set_sequence(entry.sequence);
    out.set_issuer_epoch(entry.issuer_epoch);
  }
  return message;
}

control::v1::RotationPlan PlanMessage(const std::vector<rotation::Finding>& findings,
                                      const std::vector<rotation::PlannedStep>& steps,
                                      const std::vector<rotation::Holder>& away,
                                      const rotation::Pace& pace) {
  control::v1::RotationPlan message;
  for (const rotation::Finding& finding : findings) {
    control::v1::RotationPlan::Finding& out = *message.add_findings();
    out.set_severity(std::string(rotation::SeverityName(finding.severity)));
    out.set_code(finding.code);
    out.set_what(finding.what);
    out.set_where(finding.where);
    out.set_remedy(finding.remedy);
  }
  for (const rotation::PlannedStep& step : steps) {
    control::v1::RotationPlan::Step& out = *message.add_steps();
    out.set_name(step.name);
    out.set_gate(step.gate_says);
  }
  for (const rotation::Holder& holder : away) {
    if (static_cast<size_t>(message.waited_for_size()) == kMostHolders) break;
    *message.add_waited_for() = HolderMessage(holder);
  }
  const rotation::Estimate estimate = rotation::EstimateOf(steps, pace);
  message.set_population(pace.population);
  message.set_certificates_per_second(pace.certificates_per_second);
  message.set_reissued_certificates(estimate.reissued);
  SetDuration(estimate.reissue_takes, message.mutable_reissue_takes());
  SetDuration(estimate.takes, message.mutable_takes());
  return message;
}

control::v1::Canary CanaryMessage(const CanaryView& view) {
  control::v1::Canary message;
  message.set_selector(view.canary);
  message.set_population(view.selected);
  message.set_others(view.population - view.selected);
  message.set_untold(view.untold);
  return message;
}

absl::StatusOr<rotation::Policy> PolicyOf(const control::v1::RotationPolicy& message,
                                          const rotation::Policy& configured) {
  CAPSTAN_RETURN_IF_ERROR(CheckBudget(message.issue_per_second()));
  rotation::Policy policy = configured;
  if (message.has_soak()) policy.soak = DurationOf(message.soak());
  if (message.has_absent_deadline()) {
    policy.absent_deadline = DurationOf(message.absent_deadline());
    if (policy.absent_deadline > kForEver) policy.absent_deadline = absl::InfiniteDuration();
  }
  if (policy.soak < absl::ZeroDuration() || policy.absent_deadline < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("a rotation's soak and deadline cannot be negative");
  }
  policy.require_proven = policy.require_proven || message.require_proven();
  if (message.issue_per_second() > 0) policy.issue_per_second = message.issue_per_second();
  return policy;
}

}  // namespace capstan::server
