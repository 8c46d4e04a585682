// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <set>
#include <string>

#include "absl/time/time.h"
#include "fleet/workload.h"
#include "trust/bundle.h"
#include "trust/canary.h"

namespace capstan::fleet {

// What every workload is measured against.
struct Target {
  trust::BundleVersion bundle;        // to be acknowledged
  std::set<std::string> authorities;  // AuthorityIds in hex: leaves of these have moved
  // What handshakes with workloads that have probe targets must have shown; "": nothing.
  std::string accepted;         // a client under this authority is accepted
  std::string refused;          // one under this authority is not
  bool proof_required = false;  // also of those that cannot be probed
  // Nothing that authorities other than `authorities` signed outlives this.
  absl::Time others_expire = absl::InfinitePast();
  // Only those that it selects have to move, and harm is looked for.
  std::optional<trust::Canary> canary = std::nullopt;
  friend bool operator==(const Target&, const Target&) = default;
};

// How far one workload is, each condition with what is missing; "" where nothing is.
struct Standing {
  bool counted = false;  // connected, or holds an unexpired leaf: one of the population
  bool connected = false;
  std::string agent;     // its agent verified and holds the bundle, or was told it with its leaf
  std::string trusts;    // …and each consumer acknowledged it
  bool by_word = false;  // …as far as a stock agent says, or was told: nobody saw its Envoy
  std::string moved;     // its leaf and its agent's are of the authorities, the leaf acknowledged
  bool probed = false;   // it has probe targets that a control handshake does not rule out
  std::string proven;    // …and handshakes showed what Target asks for
  // Of whom nothing is heard at this moment, its agent connecting anew: what was told last had all
  // of `trusts`, or of `moved`, and the proof.
  bool trusted_last = false;
  bool moved_last = false;
  bool canary = false;  // selected
  std::string harm;     // what speaks against the canary here
  bool untold = false;  // connected, not selected, and its agent tells no failed handshakes
  int64_t failed = 0;   // what it tells of them, where it is not selected
  absl::Time until = absl::InfinitePast();  // its last unexpired leaf's end
  friend bool operator==(const Standing&, const Standing&) = default;
};

// `selected`: by the target's canary.
Standing StandingOf(const Workload& workload, const Target& target, absl::Time now,
                    bool selected = false);
// Nothing that Target asks of it is missing.
bool Complete(const Standing& standing, const Target& target);

}  // namespace capstan::fleet
