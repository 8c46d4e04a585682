// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "x509/certificate.h"

namespace capstan::trust {

// An authority's name: the lower-case hex of its signing certificate's subject key id.
class AuthorityId {
 public:
  static absl::StatusOr<AuthorityId> Parse(std::string_view hex);
  // The SKI extension, or the key id computed from the key where the extension is absent.
  static AuthorityId Of(const x509::Certificate& signing_certificate);
  const std::string& hex() const { return hex_; }
  friend auto operator<=>(const AuthorityId&, const AuthorityId&) = default;

 private:
  explicit AuthorityId(std::string hex) : hex_(std::move(hex)) {}
  std::string hex_;
};

// prepared → active → retiring → retired, or revoked; a rollback goes active → prepared and
// retiring → active.
enum class AuthorityState { kPrepared, kActive, kRetiring, kRetired, kRevoked };
std::string_view AuthorityStateName(AuthorityState state);
absl::StatusOr<AuthorityState> ParseAuthorityState(std::string_view name);

// A signing certificate with its chain to one root. The key lives elsewhere (keystore/).
struct Authority {
  AuthorityId id;
  x509::Certificate certificate;  // signs leaves; the root itself for a self-signed CA
  std::vector<x509::Certificate> intermediates;  // what goes between the leaf and the root in a TLS
                                                 // chain: `certificate` first unless it is the root
  x509::Certificate root;
  friend bool operator==(const Authority&, const Authority&) = default;
};

}  // namespace capstan::trust
