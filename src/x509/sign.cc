// SPDX-License-Identifier: Apache-2.0
#include "x509/sign.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/assemble.h"
#include "x509/der.h"
#include "x509/extension_codec.h"
#include "x509/openssl.h"
#include "x509/signature_algorithm.h"

namespace capstan::x509 {
namespace {

// AlgorithmIdentifiers (RFC 4055 section 5, RFC 5758 section 3.2).
constexpr std::string_view kRsaSha256{
    "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00", 15};
constexpr std::string_view kEcdsaSha256{"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02", 12};
constexpr std::string_view kEcdsaSha384{"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03", 12};

struct SigningAlgorithm {
  std::string_view der;
  const EVP_MD* digest;
};

// Of the keys that CheckAcceptable takes.
SigningAlgorithm AlgorithmOf(const PublicKey& key) {
  if (key.type() == KeyType::kEcdsaP256) return {kEcdsaSha256, EVP_sha256()};
  if (key.type() == KeyType::kEcdsaP384) return {kEcdsaSha384, EVP_sha384()};
  return {kRsaSha256, EVP_sha256()};
}

class KeySigner final : public Signer {
 public:
  KeySigner(PrivateKey key, std::string_view algorithm, const EVP_MD* digest)
      : key_(std::move(key)), algorithm_(algorithm), digest_(digest) {}

  PublicKey public_key() const override { return key_.public_key(); }
  std::string_view algorithm_der() const override { return algorithm_; }

  absl::StatusOr<std::string> Sign(std::string_view message) override {
    const MdCtxPtr context(EVP_MD_CTX_new());
    std::string signature(EVP_PKEY_get_size(key_.get()), '\0');
    size_t size = signature.size();
    if (EVP_DigestSignInit(context.get(), nullptr, digest_, nullptr, key_.get()) != 1 ||
        EVP_DigestSign(context.get(), MutableBytes(signature), &size, Bytes(message),
                       message.size()) != 1) {
      return OpenSslError(absl::StatusCode::kInternal, "the key does not sign");
    }
    signature.resize(size);
    return signature;
  }

 private:
  PrivateKey key_;
  std::string_view algorithm_;
  const EVP_MD* digest_;
};

// The issuer of what is being signed.
struct IssuerIdentity {
  std::string name_der;
  std::string key_id;
};

absl::StatusOr<Certificate> Sign(const CertificateTemplate& to_sign, const PublicKey& key,
                                 const IssuerIdentity& issuer, Signer& signer) {
  CAPSTAN_RETURN_IF_ERROR(key.CheckAcceptable());
  Body body;
  CAPSTAN_ASSIGN_OR_RETURN(body.serial_der, EncodeSerial(to_sign.serial));
  CAPSTAN_ASSIGN_OR_RETURN(body.validity_der,
                           EncodeValidity(to_sign.not_before, to_sign.not_after));
  CAPSTAN_ASSIGN_OR_RETURN(std::string subject, to_sign.subject.ToDer());
  CAPSTAN_ASSIGN_OR_RETURN(std::string extensions,
                           EncodeExtensions(to_sign.extensions, key.KeyId(), issuer.key_id));
  body.issuer_der = issuer.name_der;
  body.subject_der = subject;
  body.spki_der = key.spki_der();
  body.extensions_der = extensions;
  CAPSTAN_ASSIGN_OR_RETURN(std::string der, SignBody(body, signer));
  return Certificate::ParseDer(der);
}

}  // namespace

absl::StatusOr<std::shared_ptr<Signer>> NewSigner(PrivateKey key) {
  CAPSTAN_RETURN_IF_ERROR(key.public_key().CheckAcceptable());
  const SigningAlgorithm algorithm = AlgorithmOf(key.public_key());
  return std::make_shared<KeySigner>(std::move(key), algorithm.der, algorithm.digest);
}

bool SignedWith(const PublicKey& key, std::string_view message, std::string_view signature) {
  return key.CheckAcceptable().ok() &&
         VerifySignature(AlgorithmOf(key).der, message, signature, key).value_or(false);
}

absl::StatusOr<Certificate> SignCertificate(const CertificateTemplate& to_sign,
                                            const PublicKey& key, const Certificate& issuer,
                                            Signer& signer) {
  CAPSTAN_RETURN_IF_ERROR(CheckSignerIs(signer, issuer.public_key().spki_der()));
  return Sign(to_sign, key, {issuer.subject_der(), AuthorityKeyIdOf(issuer)}, signer);
}

absl::StatusOr<Certificate> SelfSign(const CertificateTemplate& to_sign, Signer& signer) {
  const PublicKey key = signer.public_key();
  CAPSTAN_ASSIGN_OR_RETURN(std::string name, to_sign.subject.ToDer());
  return Sign(to_sign, key, {std::move(name), key.KeyId()}, signer);
}

SerialNumber NewSerial(std::string_view random16) {
  const SerialNumber serial = SerialNumber::FromBytes(random16);
  // Zero is no serial number; that all 128 bits are zero happens to nobody but a test.
  return serial.bytes().empty() ? SerialNumber::FromBytes("\x01") : serial;
}

absl::StatusOr<LeafTemplate> LeafTemplate::For(const Certificate& issuer,
                                               const std::vector<std::string>& extended_key_usage) {
  LeafTemplate leaf;
  leaf.issuer_spki_ = issuer.public_key().spki_der();
  leaf.issuer_name_der_ = issuer.subject_der();
  CAPSTAN_ASSIGN_OR_RETURN(std::string usage,
                           EncodeExtendedKeyUsage(extended_key_usage, /*critical=*/false));
  leaf.fixed_extensions_der_ =
      absl::StrCat(EncodeKeyUsage(kDigitalSignature | kKeyEncipherment, /*critical=*/true), usage,
                   EncodeBasicConstraints({.ca = false, .critical = true}),
                   EncodeAuthorityKeyId(AuthorityKeyIdOf(issuer)));
  return leaf;
}

absl::StatusOr<std::string> LeafTemplate::SignDer(const SerialNumber& serial, absl::Time not_before,
                                                  absl::Time not_after, const SubjectAltNames& sans,
                                                  const PublicKey& key, Signer& signer) const {
  CAPSTAN_RETURN_IF_ERROR(CheckSignerIs(signer, issuer_spki_));
  CAPSTAN_RETURN_IF_ERROR(key.CheckAcceptable());
  static constexpr std::string_view kEmptyName{"\x30\x00", 2};
  Body body;
  CAPSTAN_ASSIGN_OR_RETURN(body.serial_der, EncodeSerial(serial));
  CAPSTAN_ASSIGN_OR_RETURN(body.validity_der, EncodeValidity(not_before, not_after));
  // RFC 5280 section 4.2.1.6: critical, because the subject is empty.
  CAPSTAN_ASSIGN_OR_RETURN(std::string names, EncodeSubjectAltNames(sans, /*critical=*/true));
  const std::string extensions = absl::StrCat(fixed_extensions_der_, names);
  body.issuer_der = issuer_name_der_;
  body.subject_der = kEmptyName;
  body.spki_der = key.spki_der();
  body.extensions_der = extensions;
  return SignBody(body, signer);
}

}  // namespace capstan::x509
