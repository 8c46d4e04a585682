// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <set>
#include <string_view>

#include "trust/canary.h"
#include "trust/state.h"

namespace capstan::server {

// What is published at one moment: trust, and who signs besides the default issuer, or did.
struct Issuers {
  trust::TrustState trust;
  std::optional<trust::CanaryIssuer> canary;
  std::set<trust::AuthorityId> retiring;  // their leaves may be about
  // Certificates a second, of the rotation that moves leaves now; 0: the control plane's own.
  double budget = 0;

  bool InCanary(std::string_view spiffe_id) const {
    return canary.has_value() && canary->canary.Selects(spiffe_id);
  }
  // Who is to sign for an identity.
  const trust::AuthorityId& For(std::string_view spiffe_id) const {
    return InCanary(spiffe_id) ? canary->authority : trust.issuer;
  }
};

}  // namespace capstan::server
