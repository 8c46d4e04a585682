// SPDX-License-Identifier: Apache-2.0
// The signatures and keys of JSON Web Tokens (RFC 7515, 7517, 7518).
#pragma once

#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "x509/key.h"

namespace capstan::x509 {

// Algorithms of public keys only: "none" and secrets that verifier and signer share are no choice.
enum class JwsAlgorithm { kRs256, kRs384, kRs512, kPs256, kPs384, kPs512, kEs256, kEs384 };
// By its name in a token's header ("RS256"); nullopt: not one of these.
std::optional<JwsAlgorithm> ParseJwsAlgorithm(std::string_view name);

// Whether `key` made `signature` over `message`; never for a key of another kind or curve than the
// algorithm's. An ECDSA signature is r and s, each as long as the curve's field.
bool VerifyJws(JwsAlgorithm algorithm, std::string_view message, std::string_view signature,
               const PublicKey& key);

// A key from its raw parts, big-endian. InvalidArgument where PublicKey::CheckAcceptable() refuses
// it.
absl::StatusOr<PublicKey> RsaKeyOf(std::string_view modulus, std::string_view exponent);
// On "P-256" or "P-384".
absl::StatusOr<PublicKey> EcKeyOf(std::string_view curve, std::string_view x, std::string_view y);

}  // namespace capstan::x509
