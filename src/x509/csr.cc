// SPDX-License-Identifier: Apache-2.0
#include "x509/csr.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/der.h"
#include "x509/extension_codec.h"
#include "x509/oid.h"
#include "x509/openssl.h"
#include "x509/pem.h"
#include "x509/sign.h"
#include "x509/signature_algorithm.h"
#include "x509/signed.h"

namespace capstan::x509 {
namespace {

constexpr size_t kMaxCsrBytes = 64 << 10;

// The parts of a request as views into it.
struct Parts {
  Signed envelope;
  std::string_view subject;
  std::string_view spki;
  ParsedExtensions extensions;
};

absl::StatusOr<std::string> ToDerBytes(std::string_view pem_or_der) {
  if (!LooksLikePem(pem_or_der)) {
    return std::string(pem_or_der);
  }
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<PemBlock> blocks, ScanPem(pem_or_der));
  if (blocks.empty() || blocks.front().has_headers) {
    return absl::InvalidArgumentError("no PEM block with a certification request");
  }
  CAPSTAN_RETURN_IF_ERROR(blocks.front().decoded);
  return std::string(blocks.front().body.Reveal());
}

// attributes [0]: the extensionRequest (RFC 2985 section 5.4.2), all others skipped.
absl::Status ReadAttributes(der::Reader attributes, ParsedExtensions& extensions) {
  bool seen = false;
  while (!attributes.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader attribute, attributes.Enter(der::kSequence, "attribute"));
    CAPSTAN_ASSIGN_OR_RETURN(der::Item oid, attribute.Read(der::kObjectId, "attribute type"));
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader values, attribute.Enter(der::kSet, "attribute values"));
    CAPSTAN_RETURN_IF_ERROR(attribute.ExpectEnd("attribute values"));
    if (oid.content != oid::kExtensionRequest) {
      continue;
    }
    if (seen) {
      return attributes.ErrorAt(oid.full, "extensionRequest occurs twice");
    }
    seen = true;
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader list, values.Enter(der::kSequence, "extensionRequest"));
    CAPSTAN_RETURN_IF_ERROR(values.ExpectEnd("extensionRequest"));
    CAPSTAN_ASSIGN_OR_RETURN(extensions, ParseExtensions(list));
  }
  return absl::OkStatus();
}

absl::StatusOr<Parts> ReadParts(std::string_view der) {
  Parts parts;
  CAPSTAN_ASSIGN_OR_RETURN(parts.envelope, ReadSigned(der, "request"));
  der::Reader info = der::Reader(der).Inside(parts.envelope.body);
  // Its value is not looked at: only 0 exists, and some tools write what certificates have.
  CAPSTAN_RETURN_IF_ERROR(info.Read(der::kInteger, "version").status());
  CAPSTAN_ASSIGN_OR_RETURN(der::Item subject, info.Read(der::kSequence, "subject"));
  parts.subject = subject.full;
  CAPSTAN_ASSIGN_OR_RETURN(der::Item spki, info.Read(der::kSequence, "public key"));
  parts.spki = spki.full;
  if (!info.empty()) {  // some tools leave out the empty list
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader attributes, info.Enter(der::Constructed(0), "attributes"));
    CAPSTAN_RETURN_IF_ERROR(ReadAttributes(attributes, parts.extensions));
  }
  CAPSTAN_RETURN_IF_ERROR(info.ExpectEnd("the attributes"));
  return parts;
}

absl::Status CheckSignature(std::string_view der, const Parts& parts, const PublicKey& key) {
  const std::string name = SignatureAlgorithmName(parts.envelope.algorithm_der);
  if (IsBroken(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the request is signed with ", name, ", which is broken: use SHA-256"));
  }
  const auto plain = VerifySignature(parts.envelope, key);
  if (plain.has_value() ? *plain
                        : OpenSslVerifies<X509_REQ_verify>(
                              Decode<X509ReqPtr, d2i_X509_REQ>(der).get(), key.get())) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("the request's signature (", name,
                                                 ") does not verify with its own key: whoever sent "
                                                 "it does not hold the private key, or it was "
                                                 "changed on the way"));
}

Extensions ToRequested(const ParsedExtensions& parsed) {
  Extensions requested;
  requested.basic_constraints = parsed.basic_constraints;
  requested.key_usage = parsed.key_usage;
  requested.extended_key_usage = parsed.extended_key_usage;
  requested.extended_key_usage_critical = parsed.extended_key_usage_critical;
  requested.subject_key_id = !parsed.subject_key_id.empty();
  requested.authority_key_id = parsed.has_authority_key_id;
  requested.sans = parsed.sans;
  return requested;
}

}  // namespace

Csr::Csr(std::string der, PublicKey key, Name subject, Extensions extensions)
    : der_(std::move(der)),
      public_key_(std::move(key)),
      subject_(std::move(subject)),
      extensions_(std::move(extensions)) {}

absl::StatusOr<Csr> Csr::Parse(std::string_view pem_or_der) {
  if (pem_or_der.size() > kMaxCsrBytes) {
    return absl::InvalidArgumentError(absl::StrCat("a certification request of ", pem_or_der.size(),
                                                   " bytes: at most 64 KiB are read"));
  }
  CAPSTAN_ASSIGN_OR_RETURN(std::string der, ToDerBytes(pem_or_der));
  auto parts = ReadParts(der);
  if (!parts.ok()) {
    return Annotate(parts.status(), "no PKCS#10 certification request");
  }
  auto key = PublicKey::ParseSpki(parts->spki);
  if (!key.ok()) {
    return Annotate(key.status(), "the request's public key");
  }
  if (absl::Status acceptable = key->CheckAcceptable(); !acceptable.ok()) {
    return Annotate(acceptable, "the request");
  }
  auto subject = Name::FromDer(parts->subject);
  if (!subject.ok()) {
    return Annotate(subject.status(), "the request's subject");
  }
  CAPSTAN_RETURN_IF_ERROR(CheckSignature(der, *parts, *key));
  Extensions requested = ToRequested(parts->extensions);
  return Csr(std::move(der), *std::move(key), *std::move(subject), std::move(requested));
}

absl::StatusOr<Csr> Csr::Create(const PrivateKey& key, const Name& subject,
                                const Extensions& extensions) {
  CAPSTAN_ASSIGN_OR_RETURN(std::shared_ptr<Signer> signer, NewSigner(key));
  CAPSTAN_ASSIGN_OR_RETURN(std::string name, subject.ToDer());
  // A request cannot know who will sign it: no AKI.
  CAPSTAN_ASSIGN_OR_RETURN(std::string requested,
                           EncodeExtensions(extensions, key.public_key().KeyId(), ""));
  std::string attributes;
  if (!requested.empty()) {
    attributes = der::Sequence(der::Element(der::kObjectId, oid::kExtensionRequest),
                               der::Element(der::kSet, der::Sequence(requested)));
  }
  const std::string body = der::Sequence(der::UnsignedInteger(0), name, key.public_key().spki_der(),
                                         der::Element(der::Constructed(0), attributes));
  CAPSTAN_ASSIGN_OR_RETURN(std::string signature, signer->Sign(body));
  return Parse(der::Sequence(body, signer->algorithm_der(), der::BitString(signature)));
}

std::string Csr::ToPem() const {
  return ToPemBlock("CERTIFICATE REQUEST", der_);
}

}  // namespace capstan::x509
