// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "x509/certificate.h"

namespace capstan::cli {

// Where a certificate stands among those it came with.
enum class Role { kLeaf, kIntermediate, kRoot };
std::string_view Name(Role role);  // "leaf", "intermediate", "root"

struct Place {
  Role role = Role::kLeaf;
  // The first other certificate of the input that signed this one; none for a root.
  std::optional<size_t> signer;
};

// One for each certificate.
std::vector<Place> Places(const std::vector<x509::Certificate>& certificates);

// Something that will or may hurt, for people and scripts.
struct Finding {
  size_t certificate = 0;  // index
  std::string code;        // stable: "expired", "duplicate", …
  std::string text;        // one sentence; certificates are counted from 1
};

// Codes: duplicate, wrong-order, same-subject, issuer-mismatch, expired, expiring, not-yet-valid,
// outlives-issuer, weak-key, weak-signature, no-key-cert-sign, not-a-ca, no-ski, no-aki.
//
// "expiring" means within `expiring_within`; without it, within the last fifth of the certificate's
// life but at most 30 days, so that neither a leaf of a day nor a root of ten years cries wolf.
std::vector<Finding> Findings(const std::vector<x509::Certificate>& certificates, absl::Time now,
                              std::optional<absl::Duration> expiring_within = std::nullopt);

// "364d 23h", "23h 59m", "12m 5s", "1s": the two largest units.
std::string HumanDuration(absl::Duration duration);

}  // namespace capstan::cli
