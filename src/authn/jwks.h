// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "authn/jwt.h"
#include "x509/jws.h"
#include "x509/key.h"

namespace capstan::authn {

// A key that an issuer signs its tokens with (RFC 7517).
struct Jwk {
  std::string id;                               // "": it has none
  std::optional<x509::JwsAlgorithm> algorithm;  // nullopt: any that fits the key
  x509::PublicKey key;
};

// The keys of a set that can be used here; those that cannot (other kinds, "use" other than "sig",
// weak ones) are passed over, as RFC 7517 section 5 wants. InvalidArgument: no set, or none of it
// can.
absl::StatusOr<std::vector<Jwk>> ParseJwks(const Json& document);

// Unauthenticated: none of `keys` made the token's signature, or it has an algorithm that is not
// taken. NotFound: the token names a key that is not among them.
absl::Status CheckSignature(const Jwt& jwt, const std::vector<Jwk>& keys);

}  // namespace capstan::authn
