// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/random.h"
#include "spiffe/spiffe_id.h"
#include "trust/authority.h"
#include "x509/certificate.h"
#include "x509/key.h"
#include "x509/sign.h"

namespace capstan::server {

// What the control plane's own certificate says besides its SPIFFE ID.
struct ServingNames {
  spiffe::SpiffeId id;
  std::vector<std::string> dns;
  std::vector<std::string> ips;
};

// The names of a control plane that listens on `listen` and is advertised as `advertise` (both
// "HOST:PORT"): Istio's own, localhost, and the hosts of the two.
ServingNames NamesFor(const spiffe::TrustDomain& trust_domain, const std::string& listen,
                      const std::string& advertise, const std::vector<std::string>& more);

// The control plane's own certificate with its key.
struct Serving {
  x509::Certificate leaf;
  x509::PrivateKey key;
  trust::Authority authority;
  absl::Time renew_at;  // between half and three quarters of its life, a function of its serial
};

// Makes a key and has `authority` sign for it; checked as a client would before it is returned.
absl::StatusOr<Serving> MakeServing(const ServingNames& names, const trust::Authority& authority,
                                    x509::Signer& signer, absl::Duration ttl, Random& random,
                                    absl::Time now);

}  // namespace capstan::server
