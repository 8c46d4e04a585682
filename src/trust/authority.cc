// SPDX-License-Identifier: Apache-2.0
#include "trust/authority.h"

#include <array>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace capstan::trust {
namespace {

// RFC 5280 does not bound a key identifier; no tool makes one longer than a SHA-512.
constexpr size_t kMaxHexDigits = 128;

constexpr std::array<std::pair<AuthorityState, std::string_view>, 5> kStates = {{
    {AuthorityState::kPrepared, "prepared"},
    {AuthorityState::kActive, "active"},
    {AuthorityState::kRetiring, "retiring"},
    {AuthorityState::kRetired, "retired"},
    {AuthorityState::kRevoked, "revoked"},
}};

}  // namespace

absl::StatusOr<AuthorityId> AuthorityId::Parse(std::string_view hex) {
  if (hex.empty() || hex.size() % 2 != 0 || hex.size() > kMaxHexDigits ||
      hex.find_first_not_of("0123456789abcdef") != std::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", absl::CHexEscape(hex.substr(0, kMaxHexDigits)),
                     "\" is not an authority: the lower-case hex digits of a subject key id are"));
  }
  return AuthorityId(std::string(hex));
}

AuthorityId AuthorityId::Of(const x509::Certificate& signing_certificate) {
  std::string id = signing_certificate.subject_key_id();
  if (id.empty()) id = signing_certificate.public_key().KeyId();
  return AuthorityId(absl::BytesToHexString(id));
}

std::string_view AuthorityStateName(AuthorityState state) {
  for (const auto& [value, name] : kStates) {
    if (value == state) return name;
  }
  return "unknown";
}

absl::StatusOr<AuthorityState> ParseAuthorityState(std::string_view name) {
  for (const auto& [value, known] : kStates) {
    if (known == name) return value;
  }
  return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is not a state of an authority"));
}

}  // namespace capstan::trust
