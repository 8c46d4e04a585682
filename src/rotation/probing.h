// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "absl/time/time.h"
#include "rotation/step.h"
#include "trust/authority.h"

namespace capstan::rotation {

// Under which authorities agents shall try handshakes with their consumers, as clients.
struct Probing {
  // The first is the control: everybody trusts it, so a consumer that refuses it as well says
  // nothing about the others.
  std::vector<trust::AuthorityId> accepted;
  std::vector<trust::AuthorityId> refused;  // their roots have left
  bool empty() const { return accepted.empty(); }
  friend bool operator==(const Probing&, const Probing&) = default;
};

// What there is to try in this phase; empty where nothing is. Every authority of `accepted` can
// sign at `now`, and its root is in the bundle.
//   both-trusted: the present issuer and the wanted one.
//   new-issuer:   the wanted issuer, and those that signed before it.
//   root-b:       the issuer; refused are those that signed before it while leaves of theirs may
//                 still be about.
Probing ProbingOf(const Situation& now_is, const Wish& wish, absl::Time now);

}  // namespace capstan::rotation
