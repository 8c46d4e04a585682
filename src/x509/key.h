// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/secret.h"

typedef struct evp_pkey_st EVP_PKEY;

namespace capstan::x509 {

// The keys that every Envoy, Go and OpenSSL peer accepts in a leaf. Nothing else is made or signed.
enum class KeyType { kRsa2048, kRsa3072, kRsa4096, kEcdsaP256, kEcdsaP384 };

// "rsa-2048", "rsa-3072", "rsa-4096", "ecdsa-p256", "ecdsa-p384".
std::string_view KeyTypeName(KeyType type);
absl::StatusOr<KeyType> ParseKeyType(std::string_view name);

// A public key as a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7). Cheap to copy. Keys of
// algorithms that OpenSSL does not know are read too: they have a description, and nothing else
// works with them.
class PublicKey {
 public:
  // InvalidArgument: not DER, or malformed for its algorithm.
  static absl::StatusOr<PublicKey> ParseSpki(std::string_view der);

  const std::string& spki_der() const;
  // SHA-1 of the subjectPublicKey bits (RFC 5280 section 4.2.1.2, method 1), 20 raw bytes.
  std::string KeyId() const;
  // As `step` prints it: "RSA 2048", "ECDSA P-256", "Ed25519 256".
  std::string Description() const;
  // The kind of key, for those that Capstan makes; nullopt for all others.
  std::optional<KeyType> type() const;
  // InvalidArgument unless RSA of 2048 to 4096 bits (odd exponent of 65537 to 2^31-1, which is what
  // Go and Envoy take), P-256 or P-384.
  absl::Status CheckAcceptable() const;

  // Null where OpenSSL cannot use the key: an unknown algorithm, a point that is not on its curve.
  // Never null after CheckAcceptable(). Decoded at the first call.
  EVP_PKEY* get() const;
  friend bool operator==(const PublicKey& a, const PublicKey& b) {
    return a.spki_der() == b.spki_der();
  }

 private:
  struct Parsed;
  explicit PublicKey(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}
  std::shared_ptr<const Parsed> parsed_;
};

// A private key in this process. Cheap to copy; signing is safe from several threads.
class PrivateKey {
 public:
  static absl::StatusOr<PrivateKey> Generate(KeyType type);
  // PKCS#8 ("PRIVATE KEY"), PKCS#1 ("RSA PRIVATE KEY") or SEC 1 ("EC PRIVATE KEY"); the first such
  // block of the text. InvalidArgument: no key, an encrypted one, one that CheckAcceptable refuses,
  // or one whose public and private halves do not belong together. Never asks for a passphrase.
  static absl::StatusOr<PrivateKey> ParsePem(std::string_view pem);

  Secret ToPkcs8Pem() const;
  const PublicKey& public_key() const { return public_key_; }

  EVP_PKEY* get() const { return key_.get(); }

 private:
  PrivateKey(std::shared_ptr<EVP_PKEY> key, PublicKey public_key)
      : key_(std::move(key)), public_key_(std::move(public_key)) {}
  static absl::StatusOr<PrivateKey> Adopt(std::shared_ptr<EVP_PKEY> key);
  std::shared_ptr<EVP_PKEY> key_;
  PublicKey public_key_;
};

}  // namespace capstan::x509
