// SPDX-License-Identifier: Apache-2.0
// Putting certificates and revocation lists together from encoded parts. Not for other rooms.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "x509/sign.h"

namespace capstan::x509 {

// A TBSCertificate (RFC 5280 section 4.1) of version 3, field by field in DER.
struct Body {
  std::string serial_der;
  std::string_view issuer_der;
  std::string validity_der;
  std::string_view subject_der;
  std::string_view spki_der;
  std::string_view extensions_der;  // Extension elements one after the other; may be empty
};

// InvalidArgument: not positive, or longer than 20 octets.
absl::StatusOr<std::string> EncodeSerial(const SerialNumber& serial);
// InvalidArgument: it ends before it begins.
absl::StatusOr<std::string> EncodeValidity(absl::Time not_before, absl::Time not_after);

// What follows "AKI" in what `issuer` signs: its SKI, or the id of its key.
std::string AuthorityKeyIdOf(const Certificate& issuer);

// InvalidArgument unless the signer has that key.
absl::Status CheckSignerIs(const Signer& signer, std::string_view spki_der);

// The signed certificate in DER.
absl::StatusOr<std::string> SignBody(const Body& body, Signer& signer);

// SEQUENCE { to_be_signed, algorithm, signature }.
absl::StatusOr<std::string> SignAndWrap(std::string_view to_be_signed, Signer& signer);

}  // namespace capstan::x509
