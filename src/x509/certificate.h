// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "spiffe/spiffe_id.h"
#include "x509/key.h"

typedef struct x509_st X509;

namespace capstan::x509 {

// A certificate's serial number: a non-negative integer of at most 20 octets (RFC 5280 section
// 4.1.2.2; longer and negative ones of others are read, not made).
class SerialNumber {
 public:
  // `big_endian` without the DER sign octet; leading zeros do not count.
  static SerialNumber FromBytes(std::string_view big_endian);
  // The content octets of a DER INTEGER: two's complement.
  static SerialNumber FromDerInteger(std::string_view content);
  // Either case, with or without colons between octets.
  static absl::StatusOr<SerialNumber> ParseHex(std::string_view hex);
  std::string ToHex() const;  // lower case, no leading zeros: "678408d4db228d5700b6e3c2bdd4f259"
  std::string ToDecimal() const;  // as `step` prints it
  // The magnitude, big-endian without leading zeros: zero is "".
  const std::string& bytes() const { return bytes_; }
  bool negative() const { return negative_; }
  friend auto operator<=>(const SerialNumber&, const SerialNumber&) = default;

 private:
  SerialNumber(std::string bytes, bool negative) : bytes_(std::move(bytes)), negative_(negative) {}
  std::string bytes_;
  bool negative_ = false;
};

// Bits of KeyUsage (RFC 5280 section 4.2.1.3).
enum KeyUsage : uint32_t {
  kDigitalSignature = 1 << 0,
  kNonRepudiation = 1 << 1,
  kKeyEncipherment = 1 << 2,
  kDataEncipherment = 1 << 3,
  kKeyAgreement = 1 << 4,
  kKeyCertSign = 1 << 5,
  kCrlSign = 1 << 6,
  kEncipherOnly = 1 << 7,
  kDecipherOnly = 1 << 8,
};

// The subject alternative names, each kind in the order of the extension.
struct SubjectAltNames {
  std::vector<std::string> dns;
  std::vector<std::string> ips;  // canonical text: "127.0.0.1", "2001:db8::1"
  std::vector<std::string> emails;
  std::vector<std::string> uris;
  bool critical = false;
};

// A parsed certificate: immutable, cheap to copy, equal when its DER is.
class Certificate {
 public:
  // Exactly one certificate and nothing after it. InvalidArgument names the byte offset.
  static absl::StatusOr<Certificate> ParseDer(std::string_view der);

  const std::string& der() const;
  std::string ToPem() const;
  const std::string& fingerprint() const;  // SHA-256 of the DER, 32 raw bytes
  std::string FingerprintHex() const;

  // As Go and istiod print it (see ToRfc2253): "CN=Root CA,O=Istio".
  std::string Subject() const;
  std::string Issuer() const;
  const std::string& subject_der() const;  // the Name, for comparing
  const std::string& issuer_der() const;
  std::string SubjectCommonName() const;  // the last CN, or ""
  std::string IssuerCommonName() const;

  int version() const;  // 1, 2 or 3
  SerialNumber serial() const;
  absl::Time not_before() const;
  absl::Time not_after() const;
  const PublicKey& public_key() const;
  // Go's names: "SHA256-RSA", "ECDSA-SHA256", "SHA256-RSAPSS", "Ed25519"; a dotted OID for the
  // rest.
  std::string SignatureAlgorithm() const;

  std::string subject_key_id() const;    // raw bytes, "" where the extension is absent
  std::string authority_key_id() const;  // its keyIdentifier, "" where absent
  bool is_ca() const;
  bool has_basic_constraints() const;
  std::optional<int> path_length() const;
  std::optional<uint32_t> key_usage() const;  // bits of KeyUsage; nullopt where absent
  std::vector<std::string> extended_key_usage()
      const;  // "serverAuth", "clientAuth", or a dotted OID
  const SubjectAltNames& sans() const;
  // OpenSSL's short names ("keyUsage") or dotted OIDs of the critical extensions, in order.
  std::vector<std::string> critical_extensions() const;
  // For ParseNameConstraints; nullopt where absent.
  std::optional<std::string> name_constraints_der() const;
  // The SPIFFE ID of an X509-SVID: exactly one URI SAN, and it parses. InvalidArgument otherwise.
  absl::StatusOr<spiffe::SpiffeId> SpiffeId() const;

  // Whether `issuer`'s key made this certificate's signature. Says nothing about names or validity.
  bool IsSignedBy(const PublicKey& issuer) const;
  // Whether its own key did. Computed at the first call: bundles are asked again and again.
  bool IsSelfSigned() const;
  // What Go's CheckSignatureFrom says of `parent`: a CA that may sign certificates made this
  // signature, with an algorithm Go still takes (neither SHA-1 nor MD5 nor DSA). `step` calls a CA
  // of which this is true for itself a "Root CA".
  bool IsSignedByCa(const Certificate& parent) const;

  // Null where OpenSSL cannot read what ParseDer could. Decoded at the first call.
  X509* get() const;
  friend bool operator==(const Certificate& a, const Certificate& b) { return a.der() == b.der(); }

 private:
  struct Parsed;
  explicit Certificate(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}
  std::shared_ptr<const Parsed> parsed_;
};

// Every CERTIFICATE block of a PEM text, in order, duplicates kept. Text around the blocks, CRLF, a
// byte order mark, a missing last newline and blocks of other kinds are skipped. One block that
// does not parse fails the whole, with its number and line. At least one certificate, or
// InvalidArgument.
absl::StatusOr<std::vector<Certificate>> ParsePemCertificates(std::string_view pem);

// PEM if a "-----BEGIN" is present, else the DER of one certificate.
absl::StatusOr<std::vector<Certificate>> ParseCertificates(std::string_view pem_or_der);

std::string ToPem(const std::vector<Certificate>& certificates);

}  // namespace capstan::x509
