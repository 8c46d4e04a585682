// SPDX-License-Identifier: Apache-2.0
#include "server/observe.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace capstan::server {
namespace {

using rotation::GateKind;
using rotation::Holder;

// Everybody still trusts the new issuer, and who is to have a leaf of it has one.
const std::string& MissingOfCanary(const fleet::Standing& standing) {
  return standing.trusts.empty() && standing.canary ? standing.moved : standing.trusts;
}

// What of the standing this gate asks for.
const std::string& Missing(const fleet::Standing& standing, GateKind gate) {
  static const auto& nothing = *new std::string();
  switch (gate) {
    case GateKind::kNone:
      return nothing;
    case GateKind::kAgents:
      return standing.agent;
    case GateKind::kMove:
      return standing.moved;
    case GateKind::kCanary:
      return MissingOfCanary(standing);
    case GateKind::kTrust:
    case GateKind::kDone:
      return standing.trusts;
  }
  return nothing;
}

// The same, as it was told last.
bool LackedNothing(const fleet::Standing& standing, GateKind gate) {
  if (gate == GateKind::kMove) return standing.moved_last;
  const bool moved = gate != GateKind::kCanary || !standing.canary || standing.moved_last;
  return standing.trusted_last && moved;
}

std::optional<Holder> HolderOf(const fleet::Key& key, const fleet::Standing& standing,
                               const rotation::Gate& gate) {
  const std::string& missing = Missing(standing, gate.kind);
  if (!missing.empty()) {
    Holder holder{Holder::Kind::kLaggard, HolderName(key), missing};
    holder.returning = LackedNothing(standing, gate.kind);
    if (!standing.connected) {
      holder.kind = Holder::Kind::kAbsent;
      holder.until = standing.until;
    }
    return holder;
  }
  if (gate.kind == GateKind::kNone || gate.kind == GateKind::kAgents) return std::nullopt;
  if (!standing.proven.empty()) {
    return Holder{Holder::Kind::kUnproven, HolderName(key), standing.proven};
  }
  if (!gate.proof_required || standing.probed) return std::nullopt;
  return Holder{Holder::Kind::kUnproven, HolderName(key),
                "no handshake can reach it, and proof is required (--require proven)"};
}

rotation::CanarySeen CanaryOf(const fleet::Tally& tally) {
  rotation::CanarySeen seen{
      .population = tally.canary, .moved = tally.canary_moved, .untold = tally.untold};
  for (const auto& [key, failed] : tally.failed) seen.failed[HolderName(key)] = {failed, failed};
  return seen;
}

}  // namespace

std::string HolderName(const fleet::Key& key) {
  return absl::StrCat(key.spiffe_id, "#",
                      key.instance.empty() ? absl::StrCat("serial:", key.serial) : key.instance);
}

fleet::Target TargetOf(const rotation::Gate& gate) {
  fleet::Target target;
  target.bundle = gate.bundle;
  for (const trust::AuthorityId& id : gate.stays) target.authorities.insert(id.hex());
  if (gate.accepted.has_value()) target.accepted = gate.accepted->hex();
  if (gate.refused.has_value()) target.refused = gate.refused->hex();
  target.proof_required = gate.proof_required;
  target.others_expire = gate.leaving_until;
  target.canary = gate.canary;
  return target;
}

void TellFirst(const fleet::Fleet& fleet, const fleet::Tally& tally, rotation::Observation& seen) {
  if (!seen.canary.has_value()) return;
  for (const auto& [key, failed] : tally.failed) {
    const fleet::Workload* workload = fleet.Find(key);
    if (workload == nullptr || !workload->first_failed.has_value()) continue;
    seen.canary->failed[HolderName(key)].first = workload->first_failed->failed;
  }
}

std::map<std::string, rotation::Baseline> BaselinesOf(const fleet::Fleet& fleet, absl::Time now) {
  // Over less than this, a handful of failures is no rate.
  constexpr absl::Duration kLeastTold = absl::Minutes(1);
  std::map<std::string, rotation::Baseline> baselines;
  for (const auto& [key, workload] : fleet.workloads()) {
    if (!workload.report.has_value() || !workload.first_failed.has_value()) continue;
    if (!workload.report->failed_verifications.has_value()) continue;
    const int64_t failed = *workload.report->failed_verifications;
    const absl::Duration told = std::max(now - workload.first_failed->at, kLeastTold);
    baselines[HolderName(key)] = {
        failed,
        static_cast<double>(failed - workload.first_failed->failed) / absl::ToDoubleHours(told)};
  }
  return baselines;
}

rotation::Observation ObservationOf(const fleet::Tally& tally, const rotation::Gate& gate) {
  rotation::Observation seen;
  seen.population = tally.population;
  seen.connected = tally.connected;
  seen.acknowledged = tally.trusting;
  seen.by_word = tally.by_word;
  seen.proven = tally.proven;
  seen.moved = tally.moved;
  if (gate.canary.has_value()) seen.canary = CanaryOf(tally);
  if (gate.unused) return seen;
  for (const auto& [key, standing] : tally.lacking) {
    if (gate.kind == GateKind::kCanary && !standing.harm.empty()) {
      seen.alarms.push_back({HolderName(key), standing.harm});
    }
    if (std::optional<Holder> holder = HolderOf(key, standing, gate)) {
      seen.holders.push_back(*std::move(holder));
    }
  }
  if (gate.kind == GateKind::kCanary && tally.canary == 0) {
    seen.holders.push_back({Holder::Kind::kCanary, "canary",
                            absl::StrCat("nobody of ", gate.canary->ToString(),
                                         " holds an unexpired leaf: it shows nothing")});
  }
  return seen;
}

std::vector<Holder> JoinFileHolders(const std::vector<store::TokenRecord>& open,
                                    const rotation::Gate& gate) {
  std::vector<Holder> holders;
  for (const store::TokenRecord& token : open) {
    if (token.sequence >= gate.bundle.sequence) continue;
    holders.push_back(
        {Holder::Kind::kJoinFile,
         absl::StrCat("join-file:", absl::BytesToHexString(token.hash).substr(0, 16)),
         absl::StrCat("an unused join file for ", token.spiffe_id, " holds the bundle of sequence ",
                      token.sequence, ", without the new root"),
         token.expires_at});
  }
  return holders;
}

}  // namespace capstan::server
