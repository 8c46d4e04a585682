// SPDX-License-Identifier: Apache-2.0
#include "server/observe.h"

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
    case GateKind::kTrust:
    case GateKind::kDone:
      return standing.trusts;
  }
  return nothing;
}

std::optional<Holder> HolderOf(const fleet::Key& key, const fleet::Standing& standing,
                               const rotation::Gate& gate) {
  Holder holder{Holder::Kind::kLaggard, HolderName(key), Missing(standing, gate.kind)};
  if (!holder.why.empty()) {
    if (!standing.connected) {
      holder.kind = Holder::Kind::kAbsent;
      holder.until = standing.until;
    }
    return holder;
  }
  if (gate.kind == GateKind::kNone || gate.kind == GateKind::kAgents) return std::nullopt;
  holder.kind = Holder::Kind::kUnproven;
  holder.why = standing.proven;
  if (holder.why.empty() && gate.proof_required && !standing.probed) {
    holder.why = "no handshake can reach it, and proof is required (--require proven)";
  }
  if (holder.why.empty()) return std::nullopt;
  return holder;
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
  return target;
}

rotation::Observation ObservationOf(const fleet::Tally& tally, const rotation::Gate& gate) {
  rotation::Observation seen;
  seen.population = tally.population;
  seen.connected = tally.connected;
  seen.acknowledged = tally.trusting;
  seen.proven = tally.proven;
  seen.moved = tally.moved;
  if (gate.unused) return seen;
  for (const auto& [key, standing] : tally.lacking) {
    if (std::optional<Holder> holder = HolderOf(key, standing, gate)) {
      seen.holders.push_back(*std::move(holder));
    }
  }
  return seen;
}

std::vector<Holder> JoinFileHolders(const std::vector<store::TokenRecord>& open,
                                    const rotation::Gate& gate) {
  std::vector<Holder> holders;
  if (gate.kind != GateKind::kTrust && gate.kind != GateKind::kAgents) return holders;
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
