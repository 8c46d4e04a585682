// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace capstan::x509 {

// The name constraints of a CA (RFC 5280 section 4.2.1.10), as far as they say something about the
// URI of a workload.
struct NameConstraints {
  std::vector<std::string> permitted_uri_hosts;  // ".example.org": every host below it
  std::vector<std::string> excluded_uri_hosts;
  bool constrains_ips = false;  // BoringSSL refuses every certificate with an IP address then

  // Whether a URI of this host may appear below the CA, by the rules that OpenSSL and BoringSSL
  // share: a base with a leading dot is a suffix, any other is the whole host.
  bool AdmitsUriHost(std::string_view host) const;
};

// `der` is what the extension holds. InvalidArgument: malformed, or with a minimum or a maximum,
// which no verifier takes.
absl::StatusOr<NameConstraints> ParseNameConstraints(std::string_view der);

}  // namespace capstan::x509
