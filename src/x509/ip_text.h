// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace capstan::x509 {

// The octets of an iPAddress name from its text: 4, or 16 for IPv6. An IPv4 address written as IPv6
// ("::ffff:10.0.0.1") is the IPv4 address, as Istio encodes it.
absl::StatusOr<std::string> IpFromText(std::string_view text);

// As Go prints it (RFC 5952, never with an IPv4 tail but for IPv4-mapped, which is plain IPv4).
// nullopt unless 4 or 16 octets.
std::optional<std::string> IpToText(std::string_view octets);

}  // namespace capstan::x509
