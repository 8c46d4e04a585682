// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/random.h"
#include "spiffe/spiffe_id.h"
#include "trust/ca_set.h"
#include "x509/key.h"
#include "x509/sign.h"

namespace capstan::server {

// A CA out of nothing, for a first start without one: a root that signs leaves itself, as istiod's
// self-signed CA does (O=<trust domain>), and besides may sign CRLs.
absl::StatusOr<trust::CaSet> MakeBuiltInCa(const spiffe::TrustDomain& trust_domain,
                                           x509::KeyType key_type, absl::Duration ttl,
                                           Random& random, absl::Time now);

// A new intermediate under `root`, whose signer is given, with a key of its own; it lives for `ttl`
// or to the root's end.
absl::StatusOr<trust::CaSet> MakeIntermediateCa(const x509::Certificate& root, x509::Signer& signer,
                                                const trust::Bundle& bundle,
                                                const std::vector<x509::Crl>& crls,
                                                x509::KeyType key_type, Random& random,
                                                absl::Time now,
                                                absl::Duration ttl = absl::InfiniteDuration());

}  // namespace capstan::server
