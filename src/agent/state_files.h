// SPDX-License-Identifier: Apache-2.0
// What the files of an agent's state directory say, as values. Pure: text in, values out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lifecycle/accept_trust.h"
#include "spiffe/spiffe_id.h"
#include "x509/certificate.h"
#include "x509/key.h"

namespace capstan::agent {

// Which mesh this agent is a member of, and as whom.
struct Membership {
  std::string address;  // of the control plane, "host:port"
  spiffe::SpiffeId server_id;
  spiffe::SpiffeId spiffe_id;
  friend bool operator==(const Membership&, const Membership&) = default;
};

// The agent's own certificate and key, as they were stored; a matching pair.
struct Credential {
  x509::PrivateKey key;
  std::vector<x509::Certificate> chain;  // leaf first, without the root
};

std::string ToJson(const Membership& membership);
std::string ToJson(const lifecycle::Trust& trust);

// InvalidArgument names the key that is missing or malformed. What parses is valid: an address,
// SPIFFE IDs, a version, at least one root, CRLs that parse.
absl::StatusOr<Membership> ParseMembership(std::string_view json);
absl::StatusOr<lifecycle::Trust> ParseTrust(std::string_view json);

// InvalidArgument: one of them does not parse, or the key is not the leaf's.
absl::StatusOr<Credential> ParseCredential(std::string_view chain_pem, std::string_view key_pem);

// A UUID and nothing else but a last newline.
absl::StatusOr<std::string> ParseInstance(std::string_view text);

}  // namespace capstan::agent
