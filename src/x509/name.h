// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace capstan::x509 {

// A distinguished name as an ordered list of single-valued attributes: {{"O","Istio"},{"CN","Root
// CA"}}. Types are OpenSSL's short names (CN, O, OU, L, ST, C, …) or dotted OIDs; values UTF-8.
struct Name {
  std::vector<std::pair<std::string, std::string>> attributes;

  absl::StatusOr<std::string> ToDer()
      const;  // InvalidArgument: unknown type, C not of two letters …
  // Several attributes in one set are taken one by one; a value that is no text reads as '#' and
  // the hexadecimal of its DER. InvalidArgument: not a Name.
  static absl::StatusOr<Name> FromDer(std::string_view der);
  bool empty() const { return attributes.empty(); }
  friend bool operator==(const Name&, const Name&) = default;
};

// "CN=Root CA,O=Istio": RFC 2253 syntax and escaping, as istiod logs and Go's pkix.Name prints it.
// Its order is fixed, whatever the order of the attributes (SERIALNUMBER, CN, OU, O, POSTALCODE,
// STREET, L, ST, C, then all others as dotted OIDs): {O, CN, L} gives "CN=Intermediate
// CA,O=Istio,L=intermediateB". The same type twice is joined by '+'; of several CN or SERIALNUMBER
// the last counts.
std::string ToRfc2253(const Name& name);

}  // namespace capstan::x509
