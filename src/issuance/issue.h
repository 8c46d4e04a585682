// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/random.h"
#include "spiffe/spiffe_id.h"
#include "trust/authority.h"
#include "trust/bundle.h"
#include "x509/csr.h"
#include "x509/sign.h"

namespace capstan::issuance {

struct Policy {
  absl::Duration default_ttl = absl::Hours(24);
  absl::Duration max_ttl = absl::Hours(24 * 90);
  // NotBefore lies this far in the past, for clocks that are behind.
  absl::Duration backdate = absl::Minutes(2);
};

// What a leaf will be: decided before anything is signed.
struct Plan {
  spiffe::SpiffeId id;
  absl::Time not_before;
  absl::Time not_after;
  bool for_clients_only = false;  // no server can show it
};

// Whether anything it signs now would verify. FailedPrecondition: its certificate, one above it or
// the root has expired or is not yet valid.
absl::Status CheckCanSign(const trust::Authority& authority, absl::Time now);

// Istio's rules: `requested_ttl` <= 0 is the default (lowered to the issuer's remaining life), more
// than the maximum is InvalidArgument with istiod's text, and NotAfter is clamped to the end of the
// issuer's chain. FailedPrecondition: CheckCanSign's; nothing is signed then.
absl::StatusOr<Plan> PlanLeaf(const spiffe::SpiffeId& id, absl::Duration requested_ttl,
                              const Policy& policy, const trust::Authority& authority,
                              absl::Time now);

// How long a probe certificate is good for from the moment it is made.
inline constexpr absl::Duration kProbeLife = absl::Minutes(5);

// A probe certificate: the trust domain's probe identity, for clients only, for kProbeLife or to
// the end of the issuer's chain. FailedPrecondition as above.
absl::StatusOr<Plan> PlanProbe(const spiffe::TrustDomain& trust_domain, const Policy& policy,
                               const trust::Authority& authority, absl::Time now);

// A certificate that was signed and then checked.
struct Issued {
  x509::Certificate leaf;
  trust::AuthorityId authority;
};

// Signs leaves of one authority. Thread-safe.
class Issuer {
 public:
  static absl::StatusOr<std::unique_ptr<Issuer>> Create(trust::Authority authority,
                                                        std::shared_ptr<x509::Signer> signer);
  const trust::Authority& authority() const { return authority_; }

  // Signs what `plan` says for the CSR's key and checks the result (structure always; the signature
  // on the first of each authority, on a sample, and on those for clients only) before it is
  // returned. Internal: the check failed.
  absl::StatusOr<Issued> Sign(const Plan& plan, const x509::Csr& csr, Random& random);

 private:
  Issuer(trust::Authority authority, std::shared_ptr<x509::Signer> signer, x509::LeafTemplate leaf,
         x509::LeafTemplate client);
  trust::Authority authority_;
  std::shared_ptr<x509::Signer> signer_;
  x509::LeafTemplate leaf_;
  x509::LeafTemplate client_;  // of leaves for clients only
  std::atomic<uint64_t> signed_{0};
};

}  // namespace capstan::issuance
