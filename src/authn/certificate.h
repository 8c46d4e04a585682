// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "authn/caller.h"
#include "spiffe/spiffe_id.h"
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

}  // namespace capstan::authn
