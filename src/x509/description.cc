// SPDX-License-Identifier: Apache-2.0
#include "x509/description.h"

#include <openssl/sha.h>
#include <openssl/x509.h>

#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/status.h"
#include "x509/der.h"
#include "x509/extension_codec.h"
#include "x509/oid.h"
#include "x509/openssl.h"
#include "x509/signature_algorithm.h"

namespace capstan::x509 {
namespace {

// 2.16.840.1.101.3.4.3.N: NIST's signature algorithms. Those of the lattices and hashes begin
// at 17.
constexpr std::string_view kNistSignatures = "\x60\x86\x48\x01\x65\x03\x04\x03";
constexpr int kFirstPostQuantum = 17;
constexpr std::array<std::string_view, 30> kPostQuantum = {
    "ML-DSA-44",
    "ML-DSA-65",
    "ML-DSA-87",
    "SLH-DSA-SHA2-128s",
    "SLH-DSA-SHA2-128f",
    "SLH-DSA-SHA2-192s",
    "SLH-DSA-SHA2-192f",
    "SLH-DSA-SHA2-256s",
    "SLH-DSA-SHA2-256f",
    "SLH-DSA-SHAKE-128s",
    "SLH-DSA-SHAKE-128f",
    "SLH-DSA-SHAKE-192s",
    "SLH-DSA-SHAKE-192f",
    "SLH-DSA-SHAKE-256s",
    "SLH-DSA-SHAKE-256f",
    "HashML-DSA-44",
    "HashML-DSA-65",
    "HashML-DSA-87",
    "HashSLH-DSA-SHA2-128s",
    "HashSLH-DSA-SHA2-128f",
    "HashSLH-DSA-SHA2-192s",
    "HashSLH-DSA-SHA2-192f",
    "HashSLH-DSA-SHA2-256s",
    "HashSLH-DSA-SHA2-256f",
    "HashSLH-DSA-SHAKE-128s",
    "HashSLH-DSA-SHAKE-128f",
    "HashSLH-DSA-SHAKE-192s",
    "HashSLH-DSA-SHAKE-192f",
    "HashSLH-DSA-SHAKE-256s",
    "HashSLH-DSA-SHAKE-256f",
};

// What Go's crypto/rsa takes at least.
constexpr int kMinRsaBits = 1024;

constexpr std::string_view kProvisionerOid = "1.3.6.1.4.1.37476.9000.64.1";

// The subject alternative names that `attributes` ask for.
absl::StatusOr<SubjectAltNames> ReadRequestedNames(der::Reader attributes) {
  while (!attributes.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader attribute, attributes.Enter(der::kSequence, "attribute"));
    CAPSTAN_ASSIGN_OR_RETURN(der::Item type, attribute.Read(der::kObjectId, "attribute type"));
    if (type.content != oid::kExtensionRequest) continue;
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader values, attribute.Enter(der::kSet, "extension request"));
    if (values.empty()) continue;  // some tools write it so when nothing is asked for
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader list, values.Enter(der::kSequence, "extension request"));
    CAPSTAN_ASSIGN_OR_RETURN(ParsedExtensions extensions, ParseExtensions(list));
    return extensions.sans;
  }
  return SubjectAltNames{};
}

// The value of the extension `oid` (content octets) of a certificate that parsed before.
absl::StatusOr<std::string_view> ExtensionValue(std::string_view certificate_der,
                                                std::string_view oid) {
  der::Reader outer(certificate_der);
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader fields, outer.Enter(der::kSequence, "certificate"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader body, fields.Enter(der::kSequence, "certificate body"));
  while (!body.empty() && body.NextTag() != der::Constructed(3)) {
    CAPSTAN_RETURN_IF_ERROR(body.ReadAny("field").status());
  }
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader tagged, body.Enter(der::Constructed(3), "extensions"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader list, tagged.Enter(der::kSequence, "extensions"));
  while (!list.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader extension, list.Enter(der::kSequence, "extension"));
    CAPSTAN_ASSIGN_OR_RETURN(der::Item type, extension.Read(der::kObjectId, "extension type"));
    if (type.content != oid) continue;
    if (extension.NextTag() == der::kBoolean) {
      CAPSTAN_RETURN_IF_ERROR(extension.ReadAny("critical").status());
    }
    CAPSTAN_ASSIGN_OR_RETURN(der::Item value, extension.Read(der::kOctetString, "extension value"));
    return value.content;
  }
  return absl::NotFoundError("no such extension");
}

absl::StatusOr<StepProvisioner> ReadStepProvisioner(const Certificate& certificate) {
  CAPSTAN_ASSIGN_OR_RETURN(const std::string oid, oid::FromText(kProvisionerOid));
  CAPSTAN_ASSIGN_OR_RETURN(std::string_view value, ExtensionValue(certificate.der(), oid));
  der::Reader outer(value);
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader fields, outer.Enter(der::kSequence, "provisioner"));
  CAPSTAN_RETURN_IF_ERROR(outer.ExpectEnd("provisioner"));
  CAPSTAN_RETURN_IF_ERROR(fields.Read(der::kInteger, "provisioner type").status());
  CAPSTAN_ASSIGN_OR_RETURN(der::Item name, fields.Read(der::kOctetString, "provisioner name"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Item id, fields.Read(der::kOctetString, "credential id"));
  return StepProvisioner{std::string(name.content), std::string(id.content)};
}

// The algorithm of a key that parsed before, as content octets.
absl::StatusOr<std::string_view> AlgorithmOid(const PublicKey& key) {
  der::Reader outer(key.spki_der());
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader info, outer.Enter(der::kSequence, "public key"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader algorithm, info.Enter(der::kSequence, "key algorithm"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Item oid, algorithm.Read(der::kObjectId, "key algorithm"));
  return oid.content;
}

}  // namespace

std::string RequestDescription::SubjectCommonName() const {
  for (auto it = subject.attributes.rbegin(); it != subject.attributes.rend(); ++it) {
    if (it->first == "CN") return it->second;
  }
  return "";
}

absl::StatusOr<RequestDescription> DescribeRequest(std::string_view der) {
  der::Reader outer(der);
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader fields, outer.Enter(der::kSequence, "request"));
  CAPSTAN_RETURN_IF_ERROR(outer.ExpectEnd("the request"));
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader info, fields.Enter(der::kSequence, "request body"));
  CAPSTAN_ASSIGN_OR_RETURN(std::string_view algorithm,
                           ReadAlgorithm(fields, "signature algorithm"));
  CAPSTAN_RETURN_IF_ERROR(fields.Read(der::kBitString, "signature").status());
  CAPSTAN_RETURN_IF_ERROR(fields.ExpectEnd("the signature"));

  CAPSTAN_RETURN_IF_ERROR(info.Read(der::kInteger, "version").status());
  CAPSTAN_ASSIGN_OR_RETURN(der::Item subject, info.Read(der::kSequence, "subject"));
  CAPSTAN_ASSIGN_OR_RETURN(Name name, Name::FromDer(subject.full));
  CAPSTAN_ASSIGN_OR_RETURN(der::Item spki, info.Read(der::kSequence, "public key"));
  CAPSTAN_ASSIGN_OR_RETURN(PublicKey key, PublicKey::ParseSpki(spki.full));
  SubjectAltNames sans;
  if (info.NextTag() == der::Constructed(0)) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader attributes, info.Enter(der::Constructed(0), "attributes"));
    CAPSTAN_ASSIGN_OR_RETURN(sans, ReadRequestedNames(attributes));
  }
  const X509ReqPtr request = Decode<X509ReqPtr, d2i_X509_REQ>(der);
  const bool valid = OpenSslVerifies<X509_REQ_verify>(request.get(), key.get());
  return RequestDescription{.der = std::string(der),
                            .subject = std::move(name),
                            .key = std::move(key),
                            .signature_algorithm = SignatureAlgorithmName(algorithm),
                            .signature_valid = valid,
                            .sans = std::move(sans)};
}

std::optional<StepProvisioner> FindStepProvisioner(const Certificate& certificate) {
  absl::StatusOr<StepProvisioner> found = ReadStepProvisioner(certificate);
  if (!found.ok()) return std::nullopt;
  return *std::move(found);
}

std::string StepKeyName(const PublicKey& key) {
  const std::string description = key.Description();
  const absl::StatusOr<std::string_view> oid = AlgorithmOid(key);
  if (description != "Unknown" || !oid.ok()) return description;
  if (oid->size() == kNistSignatures.size() + 1 && oid->starts_with(kNistSignatures)) {
    const int index = static_cast<uint8_t>(oid->back()) - kFirstPostQuantum;
    if (index >= 0 && index < static_cast<int>(kPostQuantum.size())) {
      return std::string(kPostQuantum[index]);
    }
  }
  return oid::ToDotted(*oid);
}

bool GoReads(const PublicKey& key) {
  const std::string description = key.Description();
  return !description.starts_with("ECDSA") || description.starts_with("ECDSA P-");
}

bool IsRootForStep(const Certificate& certificate) {
  EVP_PKEY* key = certificate.public_key().get();
  if (key == nullptr) return false;
  const int type = EVP_PKEY_get_base_id(key);
  const bool go_verifies_with_it =
      (type == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) >= kMinRsaBits) || type == EVP_PKEY_EC ||
      type == EVP_PKEY_ED25519;
  return go_verifies_with_it && certificate.IsSignedByCa(certificate);
}

std::string Sha1Fingerprint(const Certificate& certificate) {
  std::string digest(SHA_DIGEST_LENGTH, '\0');
  SHA1(Bytes(certificate.der()), certificate.der().size(), MutableBytes(digest));
  return digest;
}

}  // namespace capstan::x509
