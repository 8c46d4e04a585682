// SPDX-License-Identifier: Apache-2.0
// Object identifiers, as the content octets of their DER. Not for other rooms.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace capstan::x509::oid {

// Extensions (RFC 5280 section 4.2).
inline constexpr std::string_view kSubjectKeyId = "\x55\x1d\x0e";
inline constexpr std::string_view kKeyUsage = "\x55\x1d\x0f";
inline constexpr std::string_view kSubjectAltName = "\x55\x1d\x11";
inline constexpr std::string_view kBasicConstraints = "\x55\x1d\x13";
inline constexpr std::string_view kCrlNumber = "\x55\x1d\x14";
inline constexpr std::string_view kNameConstraints = "\x55\x1d\x1e";
inline constexpr std::string_view kAuthorityKeyId = "\x55\x1d\x23";
inline constexpr std::string_view kExtendedKeyUsage = "\x55\x1d\x25";
inline constexpr std::string_view kExtensionRequest = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e";

// Keys.
inline constexpr std::string_view kRsa = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
inline constexpr std::string_view kEc = "\x2a\x86\x48\xce\x3d\x02\x01";
inline constexpr std::string_view kP256 = "\x2a\x86\x48\xce\x3d\x03\x01\x07";
inline constexpr std::string_view kP384{"\x2b\x81\x04\x00\x22", 5};

// From a dotted form, or one of OpenSSL's short or long names. InvalidArgument: neither.
absl::StatusOr<std::string> FromText(std::string_view text);
std::string ToDotted(std::string_view content);
// OpenSSL's short name ("CN", "serverAuth"), or the dotted form of what it does not know.
std::string ToShortName(std::string_view content);

}  // namespace capstan::x509::oid
