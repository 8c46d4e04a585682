// SPDX-License-Identifier: Apache-2.0
// Extensions between values and DER, for certificates and requests. Not for other rooms.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "x509/der.h"
#include "x509/extensions.h"

namespace capstan::x509 {

// One Extension (RFC 5280 section 4.1): `value` is the DER that its OCTET STRING holds.
std::string EncodeExtension(std::string_view oid, bool critical, std::string_view value);

// The single extensions that need no more than their values.
std::string EncodeKeyUsage(uint32_t bits, bool critical);
std::string EncodeBasicConstraints(const Extensions::BasicConstraints& constraints);
absl::StatusOr<std::string> EncodeExtendedKeyUsage(const std::vector<std::string>& purposes,
                                                   bool critical);
std::string EncodeAuthorityKeyId(std::string_view key_id);
// InvalidArgument: an IP that is none, a name with characters outside ASCII, no name at all.
absl::StatusOr<std::string> EncodeSubjectAltNames(const SubjectAltNames& sans, bool critical);

// All that `extensions` asks for, one after the other, in the order OpenSSL writes Istio's Makefile
// CAs. The key ids are used where asked for; an empty `authority_key_id` is left out (no issuer
// SKI).
absl::StatusOr<std::string> EncodeExtensions(const Extensions& extensions,
                                             std::string_view subject_key_id,
                                             std::string_view authority_key_id);

// What a list of extensions says; what Capstan does not know is left to OpenSSL.
struct ParsedExtensions {
  std::string subject_key_id;
  std::string authority_key_id;
  bool has_authority_key_id = false;  // also where it has no keyIdentifier
  std::optional<Extensions::BasicConstraints> basic_constraints;
  std::optional<Extensions::Usage> key_usage;
  std::vector<std::string> extended_key_usage;
  bool extended_key_usage_critical = false;
  SubjectAltNames sans;
  std::optional<std::string> crl_number;  // content of its INTEGER
  std::optional<std::string> name_constraints_der;
  std::vector<std::string> critical;  // the object identifiers of all critical ones, in order
};

// Reads the Extension elements of `list` to its end. InvalidArgument: not DER, one extension twice,
// or malformed content in one of those above.
absl::StatusOr<ParsedExtensions> ParseExtensions(der::Reader list);

}  // namespace capstan::x509
