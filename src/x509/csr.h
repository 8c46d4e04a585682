// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "x509/certificate.h"
#include "x509/extensions.h"
#include "x509/key.h"
#include "x509/name.h"

namespace capstan::x509 {

// A PKCS#10 certification request (RFC 2986) whose self-signature verified.
class Csr {
 public:
  // The first PEM block, whatever its label (as istiod reads it), or bare DER. At most 64 KiB.
  // InvalidArgument: not PEM, not a request, a key that CheckAcceptable refuses, a bad signature.
  static absl::StatusOr<Csr> Parse(std::string_view pem_or_der);

  // A request for `key` signed by it, with the extensions as an extensionRequest attribute.
  static absl::StatusOr<Csr> Create(const PrivateKey& key, const Name& subject,
                                    const Extensions& extensions);

  const std::string& der() const { return der_; }
  std::string ToPem() const;
  const PublicKey& public_key() const { return public_key_; }
  const Name& subject() const { return subject_; }
  const Extensions& extensions() const { return extensions_; }

 private:
  Csr(std::string der, PublicKey key, Name subject, Extensions extensions);
  std::string der_;
  PublicKey public_key_;
  Name subject_;
  Extensions extensions_;
};

}  // namespace capstan::x509
