// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "x509/certificate.h"
#include "x509/csr.h"
#include "x509/extensions.h"
#include "x509/key.h"
#include "x509/name.h"

namespace capstan::x509 {

// Something that signs with a CA's key: a PrivateKey in this process, or a token behind PKCS#11.
// Thread-safe.
class Signer {
 public:
  virtual ~Signer() = default;
  virtual PublicKey public_key() const = 0;
  // The DER AlgorithmIdentifier of the signatures it makes: SHA-256 with RSA (PKCS#1 v1.5), ECDSA
  // with SHA-256 on P-256, ECDSA with SHA-384 on P-384.
  virtual std::string_view algorithm_der() const = 0;
  virtual absl::StatusOr<std::string> Sign(std::string_view message) = 0;
};

// InvalidArgument for a key that CheckAcceptable refuses.
absl::StatusOr<std::shared_ptr<Signer>> NewSigner(PrivateKey key);

// Whether a Signer with the private half of `key` made `signature` over `message`.
bool SignedWith(const PublicKey& key, std::string_view message, std::string_view signature);

// What a certificate shall say. Times are truncated to seconds.
struct CertificateTemplate {
  SerialNumber serial = SerialNumber::FromBytes("");
  Name subject;
  absl::Time not_before;
  absl::Time not_after;
  Extensions extensions;
};

// A certificate for `key`, signed by `signer` in the name of `issuer` (issuer name and AKI from it;
// where it has no SKI, the AKI is the id of its key). InvalidArgument: a key that CheckAcceptable
// refuses, a signer with another key than the issuer's, a validity that ends before it begins, a
// serial number that is not positive or has more than 20 octets. Whether the issuer may sign is the
// caller's to decide.
absl::StatusOr<Certificate> SignCertificate(const CertificateTemplate& to_sign,
                                            const PublicKey& key, const Certificate& issuer,
                                            Signer& signer);

// A certificate that signs itself (AKI, if asked for, is its own SKI).
absl::StatusOr<Certificate> SelfSign(const CertificateTemplate& to_sign, Signer& signer);

// A new serial number: 128 random bits, never zero. `random16` is 16 bytes from a Random.
SerialNumber NewSerial(std::string_view random16);

// The hot path: leaves of one issuer, all of one profile, at a cost close to the bare signature.
// The DER that does not change is encoded once; the CSR's SubjectPublicKeyInfo is copied as it is.
// The leaf is what Istio's CA makes (KeyUsage critical digitalSignature+keyEncipherment,
// ExtendedKeyUsage serverAuth and clientAuth unless told otherwise, BasicConstraints critical
// CA:FALSE, AKI, critical SAN; empty subject).
class LeafTemplate {
 public:
  static absl::StatusOr<LeafTemplate> For(const Certificate& issuer,
                                          const std::vector<std::string>& extended_key_usage = {
                                              "serverAuth", "clientAuth"});

  // `sans` holds at least one name and is always critical. Thread-safe. InvalidArgument as for
  // SignCertificate.
  absl::StatusOr<std::string> SignDer(const SerialNumber& serial, absl::Time not_before,
                                      absl::Time not_after, const SubjectAltNames& sans,
                                      const PublicKey& key, Signer& signer) const;

 private:
  LeafTemplate() = default;
  std::string issuer_spki_;
  std::string issuer_name_der_;
  std::string fixed_extensions_der_;  // everything but the SAN
};

}  // namespace capstan::x509
