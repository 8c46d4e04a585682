// SPDX-License-Identifier: Apache-2.0
#include "rotation/step.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "trust/ca_crl.h"

namespace capstan::rotation {
namespace {

using trust::AuthorityState;

bool SameDer(const x509::Crl& a, const x509::Crl& b) {
  return a.der() == b.der();
}

std::vector<x509::Crl> Canonical(std::vector<x509::Crl> crls) {
  std::sort(crls.begin(), crls.end(),
            [](const x509::Crl& a, const x509::Crl& b) { return a.der() < b.der(); });
  crls.erase(std::unique(crls.begin(), crls.end(), SameDer), crls.end());
  return crls;
}

bool SameCrls(const std::vector<x509::Crl>& a, const std::vector<x509::Crl>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), SameDer);
}

// Has signed leaves that a verifier may still meet.
bool MayHaveLeaves(const Standing& standing, const trust::Bundle& bundle, absl::Time now) {
  if (standing.state != AuthorityState::kActive && standing.state != AuthorityState::kRetiring)
    return false;
  return bundle.Contains(standing.authority.root) && standing.reserved_until > now;
}

// The wanted CRLs, and those of the present ones that leaves in use still need: with CRLs at all, a
// verifier wants one of every CA of a chain.
std::vector<x509::Crl> NeededCrls(const Situation& now_is, const Wish& wish, absl::Time now) {
  if (wish.crls.empty()) return {};
  std::vector<x509::Crl> needed = wish.crls;
  for (const auto& [id, standing] : now_is.authorities) {
    if (!MayHaveLeaves(standing, now_is.trust.bundle, now)) continue;
    for (const x509::Certificate& ca : trust::CasOf(standing.authority)) {
      if (trust::CrlOf(ca, wish.crls) != nullptr) continue;
      if (const x509::Crl* kept = trust::CrlOf(ca, now_is.trust.crls)) needed.push_back(*kept);
    }
  }
  return Canonical(std::move(needed));
}

std::string Subjects(const trust::Bundle& roots) {
  return absl::StrJoin(roots.roots(), "; ", [](std::string* out, const x509::Certificate& root) {
    absl::StrAppend(out, "\"", root.Subject(), "\" ", root.FingerprintHex().substr(0, 16));
  });
}

Step WithBundle(StepKind kind, const Situation& now_is, trust::Bundle bundle, std::string why) {
  Step step{kind, std::move(why), now_is};
  step.after.trust.bundle = std::move(bundle);
  ++step.after.trust.version.sequence;
  return step;
}

Step WithCrls(StepKind kind, const Situation& now_is, std::vector<x509::Crl> crls,
              std::string why) {
  Step step{kind, std::move(why), now_is};
  step.after.trust.crls = std::move(crls);
  ++step.after.trust.crl_number;
  return step;
}

Step SwitchIssuer(const Situation& now_is, const Wish& wish) {
  const trust::AuthorityId before = now_is.trust.issuer;
  Step step{StepKind::kSwitchIssuer, "", now_is};
  auto previous = step.after.authorities.find(before);
  if (previous != step.after.authorities.end() &&
      previous->second.state == AuthorityState::kActive) {
    previous->second.state = AuthorityState::kRetiring;
    step.why =
        absl::StrCat("authority ", wish.issuer.hex(), " is the wanted issuer; ", before.hex(),
                     " retires and its leaves stay valid while its root is trusted");
  } else {
    step.why = absl::StrCat("authority ", wish.issuer.hex(), " is the wanted issuer");
  }
  step.after.authorities.at(wish.issuer).state = AuthorityState::kActive;
  step.after.trust.issuer = wish.issuer;
  ++step.after.trust.issuer_epoch;
  return step;
}

// An authority that signs for a canary which is not wished any more: at the latest the step after
// it was given up.
std::optional<Step> EndCanary(const Situation& now_is, const Wish& wish) {
  if (now_is.trust.issuer_epoch == 0) return std::nullopt;
  for (const auto& [id, standing] : now_is.authorities) {
    if (standing.state != AuthorityState::kActive || id == now_is.trust.issuer) continue;
    if (id == wish.issuer && wish.canary.has_value()) continue;
    Step step{StepKind::kEndCanary,
              absl::StrCat("authority ", id.hex(), " signs for the canary no more, ",
                           now_is.trust.issuer.hex(), " for everybody again"),
              now_is};
    step.after.authorities.at(id).state = AuthorityState::kRetiring;
    return step;
  }
  return std::nullopt;
}

bool CanaryMustStart(const Situation& now_is, const Wish& wish) {
  return wish.canary.has_value() && now_is.trust.issuer_epoch > 0 &&
         now_is.trust.issuer != wish.issuer &&
         now_is.authorities.at(wish.issuer).state != AuthorityState::kActive;
}

Step StartCanary(const Situation& now_is, const Wish& wish) {
  Step step{StepKind::kStartCanary,
            absl::StrCat("authority ", wish.issuer.hex(), " signs for ", wish.canary->ToString(),
                         " first; ", now_is.trust.issuer.hex(), " for everybody else"),
            now_is};
  step.after.authorities.at(wish.issuer).state = AuthorityState::kActive;
  return step;
}

bool IssuerIsActive(const Situation& now_is, const Wish& wish) {
  return now_is.trust.issuer == wish.issuer && now_is.trust.issuer_epoch > 0 &&
         now_is.authorities.at(wish.issuer).state == AuthorityState::kActive;
}

bool ServingMustMove(const Situation& now_is, const Wish& wish) {
  if (!now_is.serving.has_value()) return true;
  auto standing = now_is.authorities.find(*now_is.serving);
  return standing == now_is.authorities.end() ||
         !wish.bundle.Contains(standing->second.authority.root);
}

Step DropRoots(const Situation& now_is, const Wish& wish) {
  trust::Bundle leaving = Difference(now_is.trust.bundle, wish.bundle);
  Step step = WithBundle(StepKind::kDropRoots, now_is, wish.bundle,
                         absl::StrCat("no longer wanted: ", Subjects(leaving)));
  for (auto& [id, standing] : step.after.authorities) {
    if (standing.state == AuthorityState::kRetiring && leaving.Contains(standing.authority.root)) {
      standing.state = AuthorityState::kRetired;
    }
  }
  return step;
}

std::optional<Step> Retire(const Situation& now_is, const Wish& wish) {
  Step step{StepKind::kRetire, "", now_is};
  std::vector<std::string> names;
  for (auto& [id, standing] : step.after.authorities) {
    if (standing.state != AuthorityState::kRetiring || id == wish.issuer) continue;
    standing.state = AuthorityState::kRetired;
    names.push_back(id.hex());
  }
  if (names.empty()) return std::nullopt;
  step.why = absl::StrCat("nobody shows a leaf of ", absl::StrJoin(names, ", "), " any more");
  return step;
}

}  // namespace

std::string_view StepName(StepKind kind) {
  switch (kind) {
    case StepKind::kAddRoots:
      return "add-roots";
    case StepKind::kAddCrls:
      return "add-crls";
    case StepKind::kDropCrls:
      return "drop-crls";
    case StepKind::kStartCanary:
      return "start-canary";
    case StepKind::kEndCanary:
      return "end-canary";
    case StepKind::kSwitchIssuer:
      return "switch-issuer";
    case StepKind::kMoveServing:
      return "move-serving";
    case StepKind::kDropRoots:
      return "drop-roots";
    case StepKind::kSetCrls:
      return "set-crls";
    case StepKind::kRetire:
      return "retire";
  }
  return "unknown";
}

absl::Status CheckWish(const Situation& now_is, const Wish& wish, absl::Time now) {
  auto issuer = now_is.authorities.find(wish.issuer);
  if (issuer == now_is.authorities.end()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the authority ", wish.issuer.hex(), " is not known"));
  }
  const Standing& wanted = issuer->second;
  if (!wanted.has_key) {
    return absl::FailedPreconditionError(
        absl::StrCat("the key of authority ", wish.issuer.hex(), " is not here"));
  }
  if (wanted.state == AuthorityState::kRevoked) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the authority ", wish.issuer.hex(), " is revoked and cannot sign again; make a new one"));
  }
  if (!wish.bundle.Contains(wanted.authority.root)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the wanted bundle does not hold the root of authority ", wish.issuer.hex()));
  }
  if (wish.crls.empty()) return absl::OkStatus();
  std::vector<x509::Crl> crls = NeededCrls(now_is, wish, now);
  CAPSTAN_RETURN_IF_ERROR(trust::CheckCovered(wanted.authority, crls, now));
  for (const auto& [id, standing] : now_is.authorities) {
    if (!MayHaveLeaves(standing, now_is.trust.bundle, now)) continue;
    if (absl::Status covered = trust::CheckCovered(standing.authority, crls, now); !covered.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat("leaves of authority ", id.hex(), " are in use until ",
                       absl::FormatTime(standing.reserved_until, absl::UTCTimeZone()),
                       " and these CRLs would make verifiers refuse them: ", covered.message()));
    }
  }
  return absl::OkStatus();
}

std::optional<Step> NextStep(const Situation& now_is, const Wish& wish, absl::Time now) {
  const trust::TrustState& trust = now_is.trust;
  if (std::optional<Step> end = EndCanary(now_is, wish)) return end;
  if (!trust.bundle.Includes(wish.bundle)) {
    return WithBundle(
        StepKind::kAddRoots, now_is, Union(trust.bundle, wish.bundle),
        absl::StrCat("newly wanted: ", Subjects(Difference(wish.bundle, trust.bundle))));
  }
  if (!IssuerIsActive(now_is, wish)) {
    if (wish.crls.empty() && !trust.crls.empty()) {
      return WithCrls(
          StepKind::kDropCrls, now_is, {},
          "no CRL is wanted, and leaves of the new issuer would need one beside the others");
    }
    std::vector<x509::Crl> crls = trust.crls;
    std::vector<x509::Crl> needed = NeededCrls(now_is, wish, now);
    crls.insert(crls.end(), needed.begin(), needed.end());
    crls = Canonical(std::move(crls));
    if (!SameCrls(crls, trust.crls)) {
      return WithCrls(StepKind::kAddCrls, now_is, std::move(crls),
                      "the CRLs of the new issuer's CAs come before its first leaf");
    }
    if (CanaryMustStart(now_is, wish)) return StartCanary(now_is, wish);
    return SwitchIssuer(now_is, wish);
  }
  if (ServingMustMove(now_is, wish)) {
    Step step{
        StepKind::kMoveServing,
        absl::StrCat("the control plane's own certificate moves to authority ", wish.issuer.hex(),
                     now_is.serving.has_value() ? ": the root it chains to is about to leave" : ""),
        now_is};
    step.after.serving = wish.issuer;
    return step;
  }
  if (!wish.bundle.Includes(trust.bundle)) return DropRoots(now_is, wish);
  if (std::vector<x509::Crl> needed = NeededCrls(now_is, wish, now);
      !SameCrls(needed, trust.crls)) {
    return WithCrls(StepKind::kSetCrls, now_is, std::move(needed),
                    "the wanted CRLs, and those still needed");
  }
  return Retire(now_is, wish);
}

}  // namespace capstan::rotation
