// SPDX-License-Identifier: Apache-2.0
#include "x509/assemble.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/der.h"

namespace capstan::x509 {
namespace {

constexpr size_t kMaxSerialOctets = 20;  // RFC 5280 section 4.1.2.2, the DER sign octet included

// [0] { INTEGER 2 }: version 3.
constexpr std::string_view kVersion3{"\xa0\x03\x02\x01\x02", 5};

}  // namespace

absl::StatusOr<std::string> EncodeSerial(const SerialNumber& serial) {
  const std::string& octets = serial.bytes();
  const bool sign_octet = !octets.empty() && (static_cast<uint8_t>(octets.front()) & 0x80) != 0;
  if (serial.negative() || octets.empty() ||
      octets.size() + (sign_octet ? 1 : 0) > kMaxSerialOctets) {
    return absl::InvalidArgumentError(absl::StrCat("the serial number ", serial.ToHex(),
                                                   " is not positive or longer than 20 octets"));
  }
  return der::UnsignedInteger(octets);
}

absl::StatusOr<std::string> EncodeValidity(absl::Time not_before, absl::Time not_after) {
  if (not_after < not_before) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the validity ends (", absl::FormatTime(not_after, absl::UTCTimeZone()),
        ") before it begins (", absl::FormatTime(not_before, absl::UTCTimeZone()), ")"));
  }
  CAPSTAN_ASSIGN_OR_RETURN(std::string from, der::Time(not_before));
  CAPSTAN_ASSIGN_OR_RETURN(std::string to, der::Time(not_after));
  return der::Sequence(from, to);
}

std::string AuthorityKeyIdOf(const Certificate& issuer) {
  std::string ski = issuer.subject_key_id();
  return ski.empty() ? issuer.public_key().KeyId() : ski;
}

absl::Status CheckSignerIs(const Signer& signer, std::string_view spki_der) {
  if (signer.public_key().spki_der() == spki_der) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      "the signing key is not the key of the issuer's certificate: what it signs would not verify");
}

absl::StatusOr<std::string> SignAndWrap(std::string_view to_be_signed, Signer& signer) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string signature, signer.Sign(to_be_signed));
  return der::Sequence(to_be_signed, signer.algorithm_der(), der::BitString(signature));
}

absl::StatusOr<std::string> SignBody(const Body& body, Signer& signer) {
  const std::string extensions =
      body.extensions_der.empty()
          ? ""
          : der::Element(der::Constructed(3), der::Element(der::kSequence, body.extensions_der));
  return SignAndWrap(
      der::Sequence(kVersion3, body.serial_der, signer.algorithm_der(), body.issuer_der,
                    body.validity_der, body.subject_der, body.spki_der, extensions),
      signer);
}

}  // namespace capstan::x509
