// SPDX-License-Identifier: Apache-2.0
#include "rotation/probing.h"

#include "rotation/gate.h"

namespace capstan::rotation {
namespace {

using trust::AuthorityId;
using trust::AuthorityState;

bool SignedBefore(const Standing& standing) {
  return standing.state == AuthorityState::kRetiring || standing.state == AuthorityState::kRetired;
}

bool IsTrusted(const Situation& now_is, const Standing& standing) {
  return now_is.trust.bundle.Contains(standing.authority.root);
}

// Whether a probe certificate of it can be made, and consumers are meant to accept that.
bool CanBeTried(const Situation& now_is, const AuthorityId& id, absl::Time now) {
  auto known = now_is.authorities.find(id);
  if (known == now_is.authorities.end()) return false;
  const Standing& standing = known->second;
  const x509::Certificate& certificate = standing.authority.certificate;
  return standing.has_key && standing.state != AuthorityState::kRevoked &&
         certificate.not_before() <= now && now < certificate.not_after() &&
         IsTrusted(now_is, standing);
}

Probing InBothTrusted(const Situation& now_is, const Wish& wish, absl::Time now) {
  if (now_is.trust.issuer_epoch == 0) return {};  // nobody holds a leaf yet
  const AuthorityId& present = now_is.trust.issuer;
  if (!CanBeTried(now_is, present, now) || !CanBeTried(now_is, wish.issuer, now)) return {};
  return {.accepted = {present, wish.issuer}, .refused = {}};
}

Probing InNewIssuer(const Situation& now_is, const Wish& wish, absl::Time now) {
  if (!CanBeTried(now_is, wish.issuer, now)) return {};
  Probing probing{.accepted = {wish.issuer}, .refused = {}};
  for (const auto& [id, standing] : now_is.authorities) {
    if (id != wish.issuer && SignedBefore(standing) && CanBeTried(now_is, id, now)) {
      probing.accepted.push_back(id);
    }
  }
  return probing;
}

Probing InRootB(const Situation& now_is, absl::Time now) {
  if (!CanBeTried(now_is, now_is.trust.issuer, now)) return {};
  Probing probing{.accepted = {now_is.trust.issuer}, .refused = {}};
  for (const auto& [id, standing] : now_is.authorities) {
    if (standing.state == AuthorityState::kRetired && standing.has_key &&
        standing.reserved_until > now && !IsTrusted(now_is, standing)) {
      probing.refused.push_back(id);
    }
  }
  return probing.refused.empty() ? Probing{} : probing;
}

}  // namespace

Probing ProbingOf(const Situation& now_is, const Wish& wish, absl::Time now) {
  switch (PhaseOf(now_is, wish)) {
    case Phase::kRootA:
      return {};
    case Phase::kBothTrusted:
      return InBothTrusted(now_is, wish, now);
    case Phase::kNewIssuer:
      return InNewIssuer(now_is, wish, now);
    case Phase::kRootB:
      return InRootB(now_is, now);
  }
  return {};
}

}  // namespace capstan::rotation
