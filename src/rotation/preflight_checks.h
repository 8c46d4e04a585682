// SPDX-License-Identifier: Apache-2.0
// The groups of checks of preflight.h. Not for other rooms.
#pragma once

#include <string>
#include <vector>

#include "rotation/preflight.h"

namespace capstan::rotation::preflight {

// What the groups look at, worked out once.
struct Scope {
  const PreflightInput& input;
  absl::Time now;
  trust::Bundle old_bundle;
  trust::Bundle both;  // the largest bundle on the way
  trust::Bundle new_bundle;
  std::vector<trust::Authority> in_use;      // others than the candidate's, with leaves that live
  std::vector<x509::Certificate> candidate;  // the candidate's chain from the signing one to the
                                             // root, then the other roots that are new
  std::vector<x509::Certificate> all;        // every CA that anybody meets, each once

  const trust::Authority& wanted() const { return input.candidate.authority; }
  bool IsRoot(const x509::Certificate& ca) const;
  // `root "CN=Root CA,O=Istio" (SKI 1a2b3c4d5e6f7081, fingerprint 0011223344556677)`: names alone
  // tell nothing apart.
  std::string Named(const x509::Certificate& ca) const;
};
Scope ScopeOf(const PreflightInput& input, absl::Time now);

using Findings = std::vector<Finding>;
std::string UtcTime(absl::Time time);

// Each appends what it finds.
void CheckTheWay(const Scope& scope, Findings& findings);  // the wish and its CRLs
void CheckPairs(const Scope& scope, Findings& findings);   // who verifies whom, tried
void CheckKeys(const Scope& scope, Findings& findings);    // kinds and sizes
void CheckShape(const Scope& scope, Findings& findings);   // what peers refuse in a CA
void CheckNameConstraints(const Scope& scope, Findings& findings);
void CheckCollisions(const Scope& scope, Findings& findings);  // names and ids that mislead
void CheckValidity(const Scope& scope, Findings& findings);
void CheckSizes(const Scope& scope, Findings& findings);  // of bundle and chain
void CheckJoinFiles(const Scope& scope, Findings& findings);

}  // namespace capstan::rotation::preflight
