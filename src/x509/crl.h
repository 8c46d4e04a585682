// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "x509/certificate.h"
#include "x509/sign.h"

typedef struct X509_crl_st X509_CRL;

namespace capstan::x509 {

// A certificate revocation list (RFC 5280 section 5). Immutable, cheap to copy.
class Crl {
 public:
  static absl::StatusOr<Crl> ParseDer(std::string_view der);

  const std::string& der() const;
  std::string ToPem() const;
  std::string Issuer() const;
  const std::string& issuer_der() const;
  std::string authority_key_id() const;
  absl::Time this_update() const;
  std::optional<absl::Time> next_update() const;
  std::optional<std::string> number_hex() const;  // the CRL number extension
  std::vector<SerialNumber> revoked() const;
  bool IsSignedBy(const PublicKey& issuer) const;
  // Null where OpenSSL cannot read what ParseDer could. Decoded at the first call.
  X509_CRL* get() const;
  friend bool operator==(const Crl& a, const Crl& b) { return a.der() == b.der(); }

 private:
  struct Parsed;
  explicit Crl(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}
  std::shared_ptr<const Parsed> parsed_;
};

// Every "X509 CRL" block of a PEM text; at least one, or InvalidArgument with block number and
// line.
absl::StatusOr<std::vector<Crl>> ParsePemCrls(std::string_view pem);
std::string ToPem(const std::vector<Crl>& crls);

struct CrlTemplate {
  absl::Time this_update;
  absl::Time next_update;
  uint64_t number = 0;
  struct Entry {
    SerialNumber serial;
    absl::Time revoked_at;
  };
  std::vector<Entry> revoked;
};
// A list of version 2 with the issuer's AKI and the number. InvalidArgument: a signer with another
// key than the issuer's, a next update before this one. Peers refuse the lists of a CA whose key
// usage lacks kCrlSign: whether it may sign is the caller's to decide.
absl::StatusOr<Crl> SignCrl(const CrlTemplate& to_sign, const Certificate& issuer, Signer& signer);

}  // namespace capstan::x509
