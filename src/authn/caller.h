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
  std::string cluster;                        // of "clusterid"; "": it names none, or several
  std::string peer;                           // address, for logs
};

// Who calls, proven.
struct Caller {
  // kLapsedCertificate: one that is good for asking for its successor, and nothing else.
  // kServiceAccount: a service account's token, which its API server or its issuer's keys accepted.
  // kSigningRequest: a CertificateSigningRequest that somebody approved who may.
  enum class Proof {
    kCertificate,
    kJoinToken,
    kLapsedCertificate,
    kServiceAccount,
    kSigningRequest
  };
  spiffe::SpiffeId id;
  Proof proof = Proof::kCertificate;
  std::optional<x509::Certificate> certificate;  // unless there is a token
  std::string root_fingerprint;                  // with a certificate: the root it chains to, raw
  std::string token_hash;                        // with a token: its SHA-256, raw
  std::string pod_name = {};  // with kServiceAccount: the pod that the token is bound to; "": none
  std::string pod_uid = {};
  std::string cluster = {};     // with kServiceAccount: whose API server knows that pod; "": none
  std::string node_proxy = {};  // its SPIFFE ID, where it asks in `id`'s name; "": `id` does itself
};

}  // namespace capstan::authn
