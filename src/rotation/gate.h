// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "rotation/step.h"
#include "trust/authority.h"
#include "trust/bundle.h"
#include "trust/canary.h"

namespace capstan::rotation {

enum class GateKind {
  kNone,    // the step may be taken at once: it takes nothing away from anybody
  kTrust,   // before a new issuer: everybody acknowledged the bundle that holds its root
  kCanary,  // before the same with a canary: kTrust's, and its workloads moved without harm
  kAgents,  // before the control plane's own certificate moves: every agent holds that bundle
  kMove,    // before a root leaves or an authority retires: nobody shows a leaf that needs it
  kDone,    // before the end: everybody acknowledged the bundle that is left
};
std::string_view GateName(GateKind kind);  // "trust", …; "" for kNone
// Whether the conditions must have held for a while before the gate opens.
bool Soaks(GateKind kind);

// What must hold before a step. A function of what is and of the step: nothing of it is stored.
struct Gate {
  GateKind kind = GateKind::kNone;
  trust::BundleVersion bundle;           // of this moment; all but kMove: acknowledged
  std::set<trust::AuthorityId> stays;    // leaves of these have moved; others keep kMove shut
  std::set<trust::AuthorityId> leaving;  // kMove: leaves of these have not
  std::set<std::string> leaving_roots;   // kMove: fingerprints in hex; empty: only authorities go
  absl::Time leaving_until = absl::InfinitePast();  // nothing that the others signed outlives this
  // kMove: nothing was ever signed under the leaving roots. Nobody can show a leaf that needs them,
  // whatever it has accepted: also not who refused the very bundle that holds them.
  bool unused = false;
  // A client under this authority must be accepted, one under the other refused, where that can be
  // tried.
  std::optional<trust::AuthorityId> accepted;
  std::optional<trust::AuthorityId> refused;
  // Of kTrust before it and kCanary: for whom the new issuer signs first.
  std::optional<trust::Canary> canary = std::nullopt;
  bool proof_required = false;  // also of consumers that no handshake can reach
  // What a root's removal takes away no later step gives back.
  bool irreversible() const { return !leaving_roots.empty(); }
  // Whether what others take their first trust from, unused join files among it, has to hold the
  // bundle before it opens: a new root is relied upon behind it.
  bool AsksForFirstTrust() const;
  // Whether leaves of a signer, "root:FINGERPRINT" or "authority:ID", keep it shut.
  bool Concerns(std::string_view signer) const;
  friend bool operator==(const Gate&, const Gate&) = default;
};

// `step` is what comes next; nullopt: nothing does, and the rotation is about to end.
Gate GateBefore(const Situation& now_is, const Wish& wish, const std::optional<Step>& step);

// Where the rotation is, in the order of the four phases.
enum class Phase { kRootA, kBothTrusted, kNewIssuer, kRootB };
std::string_view PhaseName(Phase phase);  // "root-a", "both-trusted", "new-issuer", "root-b"
Phase PhaseOf(const Situation& now_is, const Wish& wish);

}  // namespace capstan::rotation
