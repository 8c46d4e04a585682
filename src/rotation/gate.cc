// SPDX-License-Identifier: Apache-2.0
#include "rotation/gate.h"

#include <algorithm>

#include "rotation/canary.h"
#include "rotation/observation.h"

namespace capstan::rotation {
namespace {

using trust::AuthorityState;

// Shut while somebody shows a leaf of an authority outside `stays`.
Gate MoveGate(const Situation& now_is, std::set<trust::AuthorityId> stays) {
  Gate gate{.kind = GateKind::kMove, .bundle = now_is.trust.version, .stays = std::move(stays)};
  for (const auto& [id, standing] : now_is.authorities) {
    if (gate.stays.contains(id)) continue;
    gate.leaving.insert(id);
    gate.leaving_until = std::max(gate.leaving_until, standing.reserved_until);
  }
  return gate;
}

Gate BeforeDroppingRoots(const Situation& now_is, const Wish& wish) {
  std::set<trust::AuthorityId> stays;
  for (const auto& [id, standing] : now_is.authorities) {
    if (wish.bundle.Contains(standing.authority.root)) stays.insert(id);
  }
  Gate gate = MoveGate(now_is, std::move(stays));
  const trust::Bundle leaving = Difference(now_is.trust.bundle, wish.bundle);
  for (const x509::Certificate& root : leaving.roots()) {
    gate.leaving_roots.insert(root.FingerprintHex());
  }
  gate.unused =
      std::none_of(now_is.authorities.begin(), now_is.authorities.end(), [&](const auto& entry) {
        const Standing& standing = entry.second;
        return leaving.Contains(standing.authority.root) &&
               (standing.reserved_until != absl::InfinitePast() ||
                standing.state != AuthorityState::kPrepared);
      });
  gate.accepted = wish.issuer;
  return gate;
}

Gate BeforeRetiring(const Situation& now_is, const Step& step) {
  std::set<trust::AuthorityId> stays;
  for (const auto& [id, standing] : step.after.authorities) {
    if (standing.state != AuthorityState::kRetired) stays.insert(id);
  }
  return MoveGate(now_is, std::move(stays));
}

// Of an authority whose root has left and that last signed leaves.
std::optional<trust::AuthorityId> LastRetired(const Situation& now_is) {
  std::optional<trust::AuthorityId> last;
  absl::Time until = absl::InfinitePast();
  for (const auto& [id, standing] : now_is.authorities) {
    if (standing.state != AuthorityState::kRetired || standing.reserved_until <= until) continue;
    if (now_is.trust.bundle.Contains(standing.authority.root)) continue;
    last = id;
    until = standing.reserved_until;
  }
  return last;
}

}  // namespace

std::string_view HolderKindName(Holder::Kind kind) {
  switch (kind) {
    case Holder::Kind::kLaggard:
      return "laggard";
    case Holder::Kind::kAbsent:
      return "absent";
    case Holder::Kind::kUnproven:
      return "unproven";
    case Holder::Kind::kJoinFile:
      return "join-file";
    case Holder::Kind::kForeign:
      return "foreign";
    case Holder::Kind::kUnrecorded:
      return "unrecorded";
    case Holder::Kind::kClock:
      return "clock";
    case Holder::Kind::kBootstrap:
      return "bootstrap";
    case Holder::Kind::kCanary:
      return "canary";
  }
  return "unknown";
}

std::string_view GateName(GateKind kind) {
  switch (kind) {
    case GateKind::kNone:
      return "";
    case GateKind::kTrust:
      return "trust";
    case GateKind::kCanary:
      return "canary";
    case GateKind::kAgents:
      return "agents";
    case GateKind::kMove:
      return "move";
    case GateKind::kDone:
      return "done";
  }
  return "unknown";
}

bool Soaks(GateKind kind) {
  return kind == GateKind::kTrust || kind == GateKind::kCanary || kind == GateKind::kMove;
}

std::string_view PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kRootA:
      return "root-a";
    case Phase::kBothTrusted:
      return "both-trusted";
    case Phase::kNewIssuer:
      return "new-issuer";
    case Phase::kRootB:
      return "root-b";
  }
  return "unknown";
}

bool Gate::AsksForFirstTrust() const {
  return kind == GateKind::kTrust || kind == GateKind::kCanary || kind == GateKind::kAgents;
}

bool Gate::Concerns(std::string_view signer) const {
  constexpr std::string_view kRoot = "root:";
  constexpr std::string_view kAuthority = "authority:";
  if (signer.starts_with(kRoot)) {
    return leaving_roots.contains(std::string(signer.substr(kRoot.size())));
  }
  return signer.starts_with(kAuthority) &&
         std::any_of(leaving.begin(), leaving.end(), [&](const trust::AuthorityId& id) {
           return id.hex() == signer.substr(kAuthority.size());
         });
}

Gate GateBefore(const Situation& now_is, const Wish& wish, const std::optional<Step>& step) {
  if (now_is.trust.issuer_epoch == 0) return {};  // nobody depends on anything yet
  Gate gate{.kind = GateKind::kDone, .bundle = now_is.trust.version, .stays = {wish.issuer}};
  if (!step.has_value()) {
    gate.refused = LastRetired(now_is);
    return gate;
  }
  switch (step->kind) {
    case StepKind::kStartCanary:
    case StepKind::kSwitchIssuer:
      gate.kind = CanaryOf(now_is, wish).has_value() ? GateKind::kCanary : GateKind::kTrust;
      gate.accepted = wish.issuer;
      if (now_is.trust.issuer != wish.issuer) gate.canary = wish.canary;
      return gate;
    case StepKind::kMoveServing:
      gate.kind = now_is.serving.has_value() ? GateKind::kAgents : GateKind::kNone;
      return gate;
    case StepKind::kDropRoots:
      return BeforeDroppingRoots(now_is, wish);
    case StepKind::kRetire:
      return BeforeRetiring(now_is, *step);
    case StepKind::kAddRoots:
    case StepKind::kEndCanary:  // the issuer is trusted by everybody all the while
    case StepKind::kAddCrls:
    case StepKind::kDropCrls:
    case StepKind::kSetCrls:
      return {};
  }
  return {};
}

Phase PhaseOf(const Situation& now_is, const Wish& wish) {
  const trust::TrustState& trust = now_is.trust;
  if (!trust.bundle.Includes(wish.bundle)) return Phase::kRootA;
  if (trust.issuer != wish.issuer || trust.issuer_epoch == 0) return Phase::kBothTrusted;
  const bool retiring = std::any_of(
      now_is.authorities.begin(), now_is.authorities.end(),
      [](const auto& entry) { return entry.second.state == AuthorityState::kRetiring; });
  return retiring || !wish.bundle.Includes(trust.bundle) ? Phase::kNewIssuer : Phase::kRootB;
}

}  // namespace capstan::rotation
