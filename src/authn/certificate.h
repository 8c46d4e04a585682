// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "authn/caller.h"
#include "spiffe/spiffe_id.h"
#include "trust/authority.h"
#include "trust/bundle.h"
#include "x509/certificate.h"
#include "x509/crl.h"

namespace capstan::authn {

// Who shows `chain` (leaf first, as of a TLS handshake) if it is an X509-SVID of `trust_domain`
// that chains to `bundle` at `now` and may be used by a client; with `crls`, if nothing of it is
// revoked. Unauthenticated otherwise, with a reason its owner can act on: expired at, an issuer
// nobody here knows (with its key id), another trust domain, no SPIFFE ID. The control plane's own
// identity is no caller.
absl::StatusOr<Caller> AuthenticateCertificate(const std::vector<x509::Certificate>& chain,
                                               const trust::Bundle& bundle,
                                               const spiffe::TrustDomain& trust_domain,
                                               absl::Time now,
                                               const std::vector<x509::Crl>& crls = {});

// What makes a certificate that AuthenticateCertificate refuses good enough to ask for its
// successor.
struct RejoinTerms {
  absl::Duration grace;                 // since its expiry; not positive: nothing is
  std::vector<trust::Authority> known;  // ours, also those whose root has left the bundle
  std::vector<trust::AuthorityId> revoked;
};

// Who shows `chain` if it expired no longer ago than `terms.grace`, or was signed by a known
// authority whose root has left the bundle, or both, and was an X509-SVID of `trust_domain` for
// clients while it was valid. Unauthenticated otherwise, with the reason; also where a certificate
// of the chain is on a CRL of its issuer, however old that is, or belongs to a revoked authority.
absl::StatusOr<Caller> AuthenticateLapsedCertificate(const std::vector<x509::Certificate>& chain,
                                                     const trust::Bundle& bundle,
                                                     const RejoinTerms& terms,
                                                     const spiffe::TrustDomain& trust_domain,
                                                     absl::Time now,
                                                     const std::vector<x509::Crl>& crls = {});

}  // namespace capstan::authn
