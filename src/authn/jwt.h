// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/json.h"
#include "base/secret.h"
#include "kube/token_review.h"

namespace capstan::authn {

// Kubernetes' own tokens are 1 to 2 KiB.
inline constexpr size_t kMaxJwtBytes = 12 << 10;

// A JSON Web Token in its compact form (RFC 7519), read and not believed.
struct Jwt {
  std::string algorithm;
  std::string key_id;  // "": it names none
  std::string issuer;
  std::string subject;
  std::vector<std::string> audiences;
  std::optional<absl::Time> expires;
  std::optional<absl::Time> not_before;
  std::optional<absl::Time> issued_at;
  std::optional<kube::ServiceAccount> kubernetes;  // of the claim "kubernetes.io"
  std::string message;                             // what `signature` is of
  std::string signature;                           // raw
};

// InvalidArgument, with the part and the member: too long, not the canonical base64url, not JSON, a
// member twice, a claim of another type than RFC 7519 gives it, a header with "crit" (an extension
// that has to be understood).
absl::StatusOr<Jwt> ParseJwt(const Secret& token);

// Whether the claims hold at `now`: Unauthenticated, with the claim, unless the token is of
// `issuer`, has one of `audiences`, and is within its time, of which it has an end. Clocks may
// differ by `skew`.
absl::Status CheckClaims(const Jwt& jwt, std::string_view issuer,
                         const std::vector<std::string>& audiences, absl::Duration skew,
                         absl::Time now);

// Whose it says it is: its subject is "system:serviceaccount:NAMESPACE:NAME", and Kubernetes' own
// claim, where there is one, says the same. Unauthenticated otherwise.
absl::StatusOr<kube::ServiceAccount> AccountOf(const Jwt& jwt);

// Base64url without padding (RFC 7515 section 2); nullopt where it is not the one text of its
// bytes.
std::optional<std::string> DecodeBase64Url(std::string_view text);
// As ParseJson(), and no object has a member twice: readers differ on which of them they take.
absl::StatusOr<Json> ParseStrictJson(std::string_view text, std::string_view what);

}  // namespace capstan::authn
