// SPDX-License-Identifier: Apache-2.0
#include "x509/crl.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/assemble.h"
#include "x509/der.h"
#include "x509/extension_codec.h"
#include "x509/lazy.h"
#include "x509/oid.h"
#include "x509/openssl.h"
#include "x509/pem.h"
#include "x509/signature_algorithm.h"
#include "x509/signed.h"

namespace capstan::x509 {
namespace {

constexpr std::string_view kPemLabel = "X509 CRL";
constexpr size_t kMaxCrlBytes = 16 << 20;

// An entry's extensions (reason, invalidity date) do not matter here: its DER is all that is
// checked.
absl::StatusOr<SerialNumber> ReadEntry(der::Reader& list) {
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader entry, list.Enter(der::kSequence, "revoked certificate"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Item number, entry.Read(der::kInteger, "revoked serial number"));
  CAPSTAN_ASSIGN_OR_RETURN(std::string_view octets,
                           der::IntegerValue(entry, number, "revoked serial number"));
  CAPSTAN_RETURN_IF_ERROR(der::ReadTime(entry, "revocation date").status());
  if (!entry.empty()) {
    CAPSTAN_RETURN_IF_ERROR(entry.Enter(der::kSequence, "extensions of a revocation").status());
  }
  CAPSTAN_RETURN_IF_ERROR(entry.ExpectEnd("the revoked certificate"));
  return SerialNumber::FromDerInteger(octets);
}

bool IsTime(uint8_t tag) {
  return tag == der::kUtcTime || tag == der::kGeneralizedTime;
}

}  // namespace

struct Crl::Parsed {
  std::string der;
  Signed envelope;  // views into `der`
  std::string issuer_der;
  std::string issuer;
  absl::Time this_update;
  std::optional<absl::Time> next_update;
  std::vector<SerialNumber> revoked;
  ParsedExtensions extensions;

  Lazy<X509CrlPtr> decoded;

  absl::Status Read();

 private:
  absl::Status ReadOptionalFields(der::Reader& body);
};

absl::Status Crl::Parsed::Read() {
  CAPSTAN_ASSIGN_OR_RETURN(envelope, ReadSigned(der, "revocation list"));
  der::Reader body = der::Reader(der).Inside(envelope.body);
  if (body.NextTag() == der::kInteger) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Item version, body.Read(der::kInteger, "version"));
    if (version.content != "\x01") {
      return body.ErrorAt(version.full, "the version of a revocation list is 1 (unwritten) or 2");
    }
  }
  CAPSTAN_RETURN_IF_ERROR(ReadAlgorithmAgain(body, envelope, "revocation list"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Item name, body.Read(der::kSequence, "issuer"));
  const auto parsed_name = Name::FromDer(name.full);
  if (!parsed_name.ok()) {
    return body.ErrorAt(name.full, absl::StrCat("issuer is malformed (",
                                                parsed_name.status().message(), " of it)"));
  }
  issuer_der = std::string(name.full);
  issuer = ToRfc2253(*parsed_name);
  CAPSTAN_ASSIGN_OR_RETURN(this_update, der::ReadTime(body, "thisUpdate"));
  if (IsTime(body.NextTag())) {
    CAPSTAN_ASSIGN_OR_RETURN(next_update, der::ReadTime(body, "nextUpdate"));
  }
  return ReadOptionalFields(body);
}

absl::Status Crl::Parsed::ReadOptionalFields(der::Reader& body) {
  if (body.NextTag() == der::kSequence) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader list, body.Enter(der::kSequence, "revoked certificates"));
    while (!list.empty()) {
      CAPSTAN_ASSIGN_OR_RETURN(SerialNumber serial, ReadEntry(list));
      revoked.push_back(std::move(serial));
    }
  }
  if (!body.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader tagged, body.Enter(der::Constructed(0), "extensions"));
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader list, tagged.Enter(der::kSequence, "extensions"));
    CAPSTAN_RETURN_IF_ERROR(tagged.ExpectEnd("the extensions"));
    CAPSTAN_ASSIGN_OR_RETURN(extensions, ParseExtensions(list));
  }
  return body.ExpectEnd("the revocation list body");
}

absl::StatusOr<Crl> Crl::ParseDer(std::string_view der) {
  if (der.size() > kMaxCrlBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a revocation list of ", der.size(), " bytes: at most 16 MiB are read"));
  }
  auto parsed = std::make_shared<Parsed>();
  parsed->der = std::string(der);
  CAPSTAN_RETURN_IF_ERROR(parsed->Read());
  return Crl(std::move(parsed));
}

const std::string& Crl::der() const {
  return parsed_->der;
}
std::string Crl::ToPem() const {
  return ToPemBlock(kPemLabel, parsed_->der);
}
std::string Crl::Issuer() const {
  return parsed_->issuer;
}
const std::string& Crl::issuer_der() const {
  return parsed_->issuer_der;
}
std::string Crl::authority_key_id() const {
  return parsed_->extensions.authority_key_id;
}
absl::Time Crl::this_update() const {
  return parsed_->this_update;
}
std::optional<absl::Time> Crl::next_update() const {
  return parsed_->next_update;
}
std::vector<SerialNumber> Crl::revoked() const {
  return parsed_->revoked;
}

std::optional<std::string> Crl::number_hex() const {
  const auto& number = parsed_->extensions.crl_number;
  return number.has_value() ? std::optional(SerialNumber::FromDerInteger(*number).ToHex())
                            : std::nullopt;
}

bool Crl::IsSignedBy(const PublicKey& issuer) const {
  const auto plain = VerifySignature(parsed_->envelope, issuer);
  return plain.has_value() ? *plain : OpenSslVerifies<X509_CRL_verify>(get(), issuer.get());
}

X509_CRL* Crl::get() const {
  return parsed_->decoded.Get([this] { return Decode<X509CrlPtr, d2i_X509_CRL>(der()); }).get();
}

absl::StatusOr<std::vector<Crl>> ParsePemCrls(std::string_view pem) {
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<PemBlock> blocks, ScanPem(pem));
  std::vector<Crl> crls;
  int number = 0;
  for (const PemBlock& block : blocks) {
    if (block.label != kPemLabel || block.has_headers) {
      continue;
    }
    ++number;
    auto crl = block.decoded.ok() ? Crl::ParseDer(block.body.Reveal())
                                  : absl::StatusOr<Crl>(block.decoded);
    if (!crl.ok()) {
      return Annotate(crl.status(),
                      absl::StrCat("revocation list ", number, " (line ", block.line, ")"));
    }
    crls.push_back(*std::move(crl));
  }
  if (crls.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no X509 CRL block in ", pem.size(),
                                                   " bytes of text (", blocks.size(),
                                                   " PEM blocks of other kinds)"));
  }
  return crls;
}

std::string ToPem(const std::vector<Crl>& crls) {
  std::string text;
  for (const Crl& crl : crls) {
    text += crl.ToPem();
  }
  return text;
}

absl::StatusOr<Crl> SignCrl(const CrlTemplate& to_sign, const Certificate& issuer, Signer& signer) {
  CAPSTAN_RETURN_IF_ERROR(CheckSignerIs(signer, issuer.public_key().spki_der()));
  if (to_sign.next_update < to_sign.this_update) {
    return absl::InvalidArgumentError("the next update of a revocation list is before this one");
  }
  CAPSTAN_ASSIGN_OR_RETURN(std::string this_update, der::Time(to_sign.this_update));
  CAPSTAN_ASSIGN_OR_RETURN(std::string next_update, der::Time(to_sign.next_update));
  std::string entries;
  for (const CrlTemplate::Entry& entry : to_sign.revoked) {
    CAPSTAN_ASSIGN_OR_RETURN(std::string serial, EncodeSerial(entry.serial));
    CAPSTAN_ASSIGN_OR_RETURN(std::string revoked_at, der::Time(entry.revoked_at));
    entries += der::Sequence(serial, revoked_at);
  }
  const std::string extensions = absl::StrCat(
      EncodeAuthorityKeyId(AuthorityKeyIdOf(issuer)),
      EncodeExtension(oid::kCrlNumber, /*critical=*/false, der::UnsignedInteger(to_sign.number)));
  const std::string body = der::Sequence(
      der::UnsignedInteger(1), signer.algorithm_der(), issuer.subject_der(), this_update,
      next_update,
      entries.empty() ? "" : der::Element(der::kSequence, entries),  // never an empty list
      der::Element(der::Constructed(0), der::Element(der::kSequence, extensions)));
  CAPSTAN_ASSIGN_OR_RETURN(std::string der, SignAndWrap(body, signer));
  return Crl::ParseDer(der);
}

}  // namespace capstan::x509
