// SPDX-License-Identifier: Apache-2.0
#include "x509/certificate.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/der.h"
#include "x509/extension_codec.h"
#include "x509/lazy.h"
#include "x509/name.h"
#include "x509/oid.h"
#include "x509/openssl.h"
#include "x509/pem.h"
#include "x509/seal.h"
#include "x509/signature_algorithm.h"
#include "x509/signed.h"

namespace capstan::x509 {
namespace {

constexpr std::string_view kPemLabel = "CERTIFICATE";
constexpr size_t kMaxCertificateBytes = 1 << 20;

std::string LastCommonName(std::string_view name_der) {
  const auto name = Name::FromDer(name_der);
  if (name.ok()) {
    for (auto it = name->attributes.rbegin(); it != name->attributes.rend(); ++it) {
      if (it->first == "CN") {
        return it->second;
      }
    }
  }
  return "";
}

std::string PrintName(std::string_view name_der) {
  const auto name = Name::FromDer(name_der);
  return name.ok() ? ToRfc2253(*name) : "";
}

// A Name in place: its DER, after a check of its structure.
absl::Status ReadName(der::Reader& reader, std::string_view what, std::string& der) {
  CAPSTAN_ASSIGN_OR_RETURN(der::Item item, reader.Read(der::kSequence, what));
  if (const auto name = Name::FromDer(item.full); !name.ok()) {
    return reader.ErrorAt(
        item.full, absl::StrCat(what, " is malformed (", name.status().message(), " of it)"));
  }
  der = std::string(item.full);
  return absl::OkStatus();
}

}  // namespace

struct Certificate::Parsed {
  std::string der;
  Signed envelope;  // views into `der`
  std::string fingerprint;
  int version = 1;
  std::optional<SerialNumber> serial;
  std::string issuer_der;
  std::string subject_der;
  absl::Time not_before;
  absl::Time not_after;
  std::optional<PublicKey> key;
  ParsedExtensions extensions;

  Lazy<bool> self_signed;
  // OpenSSL takes longer to decode a certificate than to sign one, and most are never verified
  // here.
  Lazy<X509Ptr> decoded;

  absl::Status Read();

 private:
  absl::Status ReadVersion(der::Reader& body);
  absl::Status ReadOptionalFields(der::Reader& body);
};

absl::Status Certificate::Parsed::ReadVersion(der::Reader& body) {
  if (body.NextTag() != der::Constructed(0)) {
    return absl::OkStatus();
  }
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader tagged, body.Enter(der::Constructed(0), "version"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Item item, tagged.Read(der::kInteger, "version"));
  CAPSTAN_RETURN_IF_ERROR(tagged.ExpectEnd("version"));
  // Version 1 is the default: it is written by some although DER leaves it out.
  if (item.content.size() != 1 || static_cast<uint8_t>(item.content[0]) > 2) {
    return tagged.ErrorAt(item.full, "version is not 1, 2 or 3");
  }
  version = item.content[0] + 1;
  return absl::OkStatus();
}

absl::Status Certificate::Parsed::Read() {
  CAPSTAN_ASSIGN_OR_RETURN(envelope, ReadSigned(der, "certificate"));
  der::Reader body = der::Reader(der).Inside(envelope.body);
  CAPSTAN_RETURN_IF_ERROR(ReadVersion(body));
  CAPSTAN_ASSIGN_OR_RETURN(der::Item number, body.Read(der::kInteger, "serial number"));
  CAPSTAN_ASSIGN_OR_RETURN(std::string_view octets,
                           der::IntegerValue(body, number, "serial number"));
  serial = SerialNumber::FromDerInteger(octets);
  CAPSTAN_RETURN_IF_ERROR(ReadAlgorithmAgain(body, envelope, "certificate"));
  CAPSTAN_RETURN_IF_ERROR(ReadName(body, "issuer", issuer_der));
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader validity, body.Enter(der::kSequence, "validity"));
  CAPSTAN_ASSIGN_OR_RETURN(not_before, der::ReadTime(validity, "notBefore"));
  CAPSTAN_ASSIGN_OR_RETURN(not_after, der::ReadTime(validity, "notAfter"));
  CAPSTAN_RETURN_IF_ERROR(validity.ExpectEnd("notAfter"));
  CAPSTAN_RETURN_IF_ERROR(ReadName(body, "subject", subject_der));
  CAPSTAN_ASSIGN_OR_RETURN(der::Item spki, body.Read(der::kSequence, "public key"));
  auto parsed_key = PublicKey::ParseSpki(spki.full);
  if (!parsed_key.ok()) {
    return body.ErrorAt(spki.full, absl::StrCat("the public key is malformed (",
                                                parsed_key.status().message(), " of it)"));
  }
  key = *std::move(parsed_key);
  return ReadOptionalFields(body);
}

absl::Status Certificate::Parsed::ReadOptionalFields(der::Reader& body) {
  for (const int unique_id : {1, 2}) {  // of issuer and subject: obsolete, nobody reads them
    if (body.NextTag() == der::Primitive(unique_id)) {
      CAPSTAN_RETURN_IF_ERROR(body.ReadAny("unique identifier").status());
    }
  }
  if (body.NextTag() == der::Constructed(3)) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Item item, body.Read(der::Constructed(3), "extensions"));
    if (version != 3) {
      return body.ErrorAt(
          item.full, absl::StrCat("a certificate of version ", version, " cannot have extensions"));
    }
    der::Reader tagged = body.Inside(item);
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader list, tagged.Enter(der::kSequence, "extensions"));
    CAPSTAN_RETURN_IF_ERROR(tagged.ExpectEnd("the extensions"));
    CAPSTAN_ASSIGN_OR_RETURN(extensions, ParseExtensions(list));
  }
  return body.ExpectEnd("the certificate body");
}

absl::StatusOr<Certificate> Certificate::ParseDer(std::string_view der) {
  if (der.size() > kMaxCertificateBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a certificate of ", der.size(), " bytes: at most 1 MiB is read"));
  }
  auto parsed = std::make_shared<Parsed>();
  parsed->der = std::string(der);
  CAPSTAN_RETURN_IF_ERROR(parsed->Read());
  parsed->fingerprint = Sha256(der);
  return Certificate(std::move(parsed));
}

const std::string& Certificate::der() const {
  return parsed_->der;
}
std::string Certificate::ToPem() const {
  return ToPemBlock(kPemLabel, parsed_->der);
}
const std::string& Certificate::fingerprint() const {
  return parsed_->fingerprint;
}
std::string Certificate::FingerprintHex() const {
  return absl::BytesToHexString(parsed_->fingerprint);
}

std::string Certificate::Subject() const {
  return PrintName(parsed_->subject_der);
}
std::string Certificate::Issuer() const {
  return PrintName(parsed_->issuer_der);
}
const std::string& Certificate::subject_der() const {
  return parsed_->subject_der;
}
const std::string& Certificate::issuer_der() const {
  return parsed_->issuer_der;
}
std::string Certificate::SubjectCommonName() const {
  return LastCommonName(parsed_->subject_der);
}
std::string Certificate::IssuerCommonName() const {
  return LastCommonName(parsed_->issuer_der);
}

int Certificate::version() const {
  return parsed_->version;
}
SerialNumber Certificate::serial() const {
  return *parsed_->serial;
}
absl::Time Certificate::not_before() const {
  return parsed_->not_before;
}
absl::Time Certificate::not_after() const {
  return parsed_->not_after;
}
const PublicKey& Certificate::public_key() const {
  return *parsed_->key;
}
std::string Certificate::SignatureAlgorithm() const {
  return SignatureAlgorithmName(parsed_->envelope.algorithm_der);
}

std::string Certificate::subject_key_id() const {
  return parsed_->extensions.subject_key_id;
}
std::string Certificate::authority_key_id() const {
  return parsed_->extensions.authority_key_id;
}
bool Certificate::is_ca() const {
  const auto& constraints = parsed_->extensions.basic_constraints;
  return constraints.has_value() && constraints->ca;
}
bool Certificate::has_basic_constraints() const {
  return parsed_->extensions.basic_constraints.has_value();
}
std::optional<int> Certificate::path_length() const {
  const auto& constraints = parsed_->extensions.basic_constraints;
  return constraints.has_value() ? constraints->path_length : std::nullopt;
}
std::optional<uint32_t> Certificate::key_usage() const {
  const auto& usage = parsed_->extensions.key_usage;
  return usage.has_value() ? std::optional(usage->bits) : std::nullopt;
}
std::vector<std::string> Certificate::extended_key_usage() const {
  return parsed_->extensions.extended_key_usage;
}
std::vector<std::string> Certificate::critical_extensions() const {
  std::vector<std::string> names;
  for (const std::string& oid : parsed_->extensions.critical) {
    names.push_back(oid::ToShortName(oid));
  }
  return names;
}
std::optional<std::string> Certificate::name_constraints_der() const {
  return parsed_->extensions.name_constraints_der;
}
const SubjectAltNames& Certificate::sans() const {
  return parsed_->extensions.sans;
}

absl::StatusOr<spiffe::SpiffeId> Certificate::SpiffeId() const {
  const std::vector<std::string>& uris = sans().uris;
  if (uris.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("an X509-SVID has exactly one URI SAN, this certificate has ", uris.size()));
  }
  auto id = spiffe::SpiffeId::Parse(uris.front());
  if (!id.ok()) {
    return Annotate(id.status(), absl::StrCat("the URI SAN \"", absl::CHexEscape(uris.front()),
                                              "\" is no SPIFFE ID"));
  }
  return id;
}

bool Certificate::IsSignedBy(const PublicKey& issuer) const {
  const auto plain = VerifySignature(parsed_->envelope, issuer);
  return plain.has_value() ? *plain : OpenSslVerifies<X509_verify>(get(), issuer.get());
}

bool Certificate::IsSelfSigned() const {
  return parsed_->self_signed.Get([this] { return IsSignedBy(public_key()); });
}

bool Certificate::IsSignedByCa(const Certificate& parent) const {
  const bool may_be_issuer =
      parent.has_basic_constraints() ? parent.is_ca() : parent.version() != 3;
  const bool may_sign =
      parent.key_usage().value_or(0) == 0 || (*parent.key_usage() & KeyUsage::kKeyCertSign) != 0;
  return may_be_issuer && may_sign && GoVerifies(SignatureAlgorithm()) &&
         IsSignedBy(parent.public_key());
}

X509* Certificate::get() const {
  return parsed_->decoded.Get([this] { return Decode<X509Ptr, d2i_X509>(der()); }).get();
}

absl::StatusOr<std::vector<Certificate>> ParsePemCertificates(std::string_view pem) {
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<PemBlock> blocks, ScanPem(pem));
  std::vector<Certificate> certificates;
  int number = 0;
  for (const PemBlock& block : blocks) {
    if (block.label != kPemLabel || block.has_headers) {
      continue;
    }
    ++number;
    auto certificate = block.decoded.ok() ? Certificate::ParseDer(block.body.Reveal())
                                          : absl::StatusOr<Certificate>(block.decoded);
    if (!certificate.ok()) {
      return Annotate(certificate.status(),
                      absl::StrCat("certificate ", number, " (line ", block.line, ")"));
    }
    certificates.push_back(*std::move(certificate));
  }
  if (certificates.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no CERTIFICATE block in ", pem.size(),
                                                   " bytes of text (", blocks.size(),
                                                   " PEM blocks of other kinds)"));
  }
  return certificates;
}

absl::StatusOr<std::vector<Certificate>> ParseCertificates(std::string_view pem_or_der) {
  if (LooksLikePem(pem_or_der)) {
    return ParsePemCertificates(pem_or_der);
  }
  if (pem_or_der.empty()) {
    return absl::InvalidArgumentError("empty input: a certificate in PEM or DER is needed");
  }
  auto certificate = Certificate::ParseDer(pem_or_der);
  if (!certificate.ok()) {
    return Annotate(certificate.status(), "neither PEM nor a certificate in DER");
  }
  return std::vector<Certificate>{*std::move(certificate)};
}

std::string ToPem(const std::vector<Certificate>& certificates) {
  std::string text;
  for (const Certificate& certificate : certificates) {
    text += certificate.ToPem();
  }
  return text;
}

}  // namespace capstan::x509
