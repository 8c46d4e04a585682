// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <variant>

#include "absl/time/time.h"
#include "kube/signing_request.h"
#include "spiffe/spiffe_id.h"
#include "x509/csr.h"

namespace capstan::cluster {

// What an approved request is to become.
struct WantedLeaf {
  spiffe::SpiffeId id;
  x509::Csr csr;
  absl::Duration ttl;  // zero: the default
};

// Why it will never become one: for the condition Failed.
struct Refusal {
  std::string reason;
  std::string message;
};

// A request asks for one identity, spiffe://<trust domain>/ns/<namespace>/sa/<account>, and for
// nothing that a workload's leaf does not have. That it may have this identity is what its approver
// vouched for, whoever made it. A life that is longer than `max_ttl` is cut down to it, as
// Kubernetes lets a signer do.
std::variant<WantedLeaf, Refusal> JudgeSigningRequest(const kube::SigningRequest& request,
                                                      const spiffe::TrustDomain& trust_domain,
                                                      absl::Duration max_ttl);

}  // namespace capstan::cluster
