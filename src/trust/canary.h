// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "trust/authority.h"

namespace capstan::trust {

// Which workloads a new authority signs for first: those of a namespace, or a share of all
// identities. A function of the identity alone, so that who was selected stays so.
class Canary {
 public:
  // "namespace=NAME" or "percent=N", N from 1 to 100. InvalidArgument says what is wrong with it.
  static absl::StatusOr<Canary> Parse(std::string_view text);

  // A larger percentage selects everybody that a smaller one does.
  bool Selects(std::string_view spiffe_id) const;
  std::string ToString() const;  // as parsed
  friend bool operator==(const Canary&, const Canary&) = default;

 private:
  std::string namespace_;  // "": by percent
  int percent_ = 0;
};

// The namespace of spiffe://<td>/ns/<ns>/sa/<sa>; "" where the identity has none.
std::string_view NamespaceOf(std::string_view spiffe_id);

// An authority that signs for a canary, beside the default issuer.
struct CanaryIssuer {
  AuthorityId authority;
  Canary canary;
  friend bool operator==(const CanaryIssuer&, const CanaryIssuer&) = default;
};

}  // namespace capstan::trust
