// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "trust/authority.h"
#include "trust/bundle.h"
#include "trust/canary.h"
#include "trust/state.h"
#include "x509/crl.h"

namespace capstan::rotation {

struct Standing {
  trust::Authority authority;
  trust::AuthorityState state = trust::AuthorityState::kPrepared;
  bool has_key = false;
  absl::Time reserved_until = absl::InfinitePast();  // nothing that it signed outlives this
};

// What is: the whole input of a decision besides the wish.
struct Situation {
  trust::TrustState trust;
  std::map<trust::AuthorityId, Standing> authorities;
  // Who signs the control plane's own certificate; nullopt before the first authority.
  std::optional<trust::AuthorityId> serving;
};

// What is wanted: a bundle, the CRLs that go with it, and who signs.
struct Wish {
  trust::Bundle bundle;
  std::vector<x509::Crl> crls;
  trust::AuthorityId issuer;
  std::optional<trust::Canary> canary = std::nullopt;  // for whom it signs first
};

enum class StepKind {
  kAddRoots,      // the bundle grows to what is there and what is wanted
  kAddCrls,       // CRLs are there for whoever signs before and after
  kDropCrls,      // no CRL at all: before a new issuer that has none
  kStartCanary,   // the wanted authority signs for the canary, the issuer for everybody else
  kEndCanary,     // an authority that signed for a canary alone does not any more
  kSwitchIssuer,  // the wanted authority signs; the one before is retiring
  kMoveServing,   // the control plane's own certificate leaves a root that is to go
  kDropRoots,     // the bundle shrinks to what is wanted; authorities without a root are retired
  kSetCrls,       // exactly the wanted CRLs, and those that leaves in use still need
  kRetire,        // authorities that signed before, and whose root stays, sign never again
};
std::string_view StepName(StepKind kind);  // "add-roots", …

struct Step {
  StepKind kind;
  std::string why;
  Situation after;  // versions grown as the step demands
};

// Whether the way from `now_is` to `wish` exists. FailedPrecondition says what stands against it:
// the authority's key is not there, it is revoked, or the CRLs would make verifiers refuse leaves
// that are in use.
absl::Status CheckWish(const Situation& now_is, const Wish& wish, absl::Time now);

// The next step of the safe order, nullopt when the wish is fulfilled: additions to trust before
// the canary, that before the issuer, the issuer before removals, the control plane's own
// certificate off a root before that leaves. A function of what is: after a crash the same steps
// follow.
std::optional<Step> NextStep(const Situation& now_is, const Wish& wish, absl::Time now);

}  // namespace capstan::rotation
