// SPDX-License-Identifier: Apache-2.0
// The envelope of certificates, revocation lists (RFC 5280 sections 4.1 and 5.1) and requests (RFC
// 2986 section 4.2). Not for other rooms.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "x509/der.h"

namespace capstan::x509 {

// SEQUENCE { body, algorithm, signature }, as views into its DER.
struct Signed {
  der::Item body;  // the signature is over all of it, tag and length included
  std::string_view algorithm_der;
  std::string_view signature;
};

// Exactly one envelope and nothing after it. Errors call it `what` ("certificate").
absl::StatusOr<Signed> ReadSigned(std::string_view der, std::string_view what);

// Reads the copy of the algorithm that `body` holds. InvalidArgument where the two differ.
absl::Status ReadAlgorithmAgain(der::Reader& body, const Signed& envelope, std::string_view what);

}  // namespace capstan::x509
