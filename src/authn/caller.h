// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/secret.h"
#include "spiffe/spiffe_id.h"
#include "x509/certificate.h"

namespace capstan::authn {

// What a caller showed, before anything is believed.
struct Credentials {
  std::vector<x509::Certificate> peer_chain;  // of the TLS handshake, leaf first; not verified
  bool peer_chain_malformed = false;          // something was shown that does not parse
  std::optional<Secret> bearer;               // of "authorization: Bearer …"
  std::string peer;                           // address, for logs
};

// Who calls, proven.
struct Caller {
  // kLapsedCertificate: one that is good for asking for its successor, and nothing else.
  enum class Proof { kCertificate, kJoinToken, kLapsedCertificate };
  spiffe::SpiffeId id;
  Proof proof = Proof::kCertificate;
  std::optional<x509::Certificate> certificate;  // unless kJoinToken
  std::string root_fingerprint;                  // unless kJoinToken: the root it chains to, raw
  std::string token_hash;                        // with kJoinToken: SHA-256 of the token, raw
};

}  // namespace capstan::authn
