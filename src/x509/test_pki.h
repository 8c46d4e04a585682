// SPDX-License-Identifier: Apache-2.0
// Certificates for tests: of this room and of those above it. Header only, so that no library
// carries it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "x509/certificate.h"
#include "x509/sign.h"

namespace capstan::x509::testing {

// A moment in the validity of everything made here by default.
inline absl::Time Now() {
  return absl::FromUnixSeconds(1'750'000'000);
}  // 2025-06-15

// A CA certificate with its key.
struct Ca {
  PrivateKey key;
  Certificate certificate;
  std::shared_ptr<Signer> signer;
};

// A leaf with its key.
struct Leaf {
  PrivateKey key;
  Certificate certificate;
};

struct CaOptions {
  std::string common_name = "Root CA";
  std::string organization = "Istio";
  std::string locality;
  KeyType key_type = KeyType::kEcdsaP256;
  absl::Time not_before = Now() - absl::Hours(24);
  absl::Time not_after = Now() + absl::Hours(24 * 3650);
  std::optional<int> path_length;
  uint32_t key_usage = kDigitalSignature | kNonRepudiation | kKeyEncipherment | kKeyCertSign;
  bool ca = true;
  bool authority_key_id = true;
};

inline SerialNumber NextSerial() {
  static int next = 0x1000;
  const int serial = ++next;
  const char octets[] = {0x01, static_cast<char>(serial >> 8), static_cast<char>(serial)};
  return SerialNumber::FromBytes(std::string_view(octets, sizeof(octets)));
}

inline CertificateTemplate CaTemplate(const CaOptions& options, bool self_signed) {
  CertificateTemplate to_sign;
  to_sign.serial = NextSerial();
  to_sign.subject.attributes = {{"O", options.organization}, {"CN", options.common_name}};
  if (!options.locality.empty()) {
    to_sign.subject.attributes.emplace_back("L", options.locality);
  }
  to_sign.not_before = options.not_before;
  to_sign.not_after = options.not_after;
  to_sign.extensions.basic_constraints = {.ca = options.ca, .path_length = options.path_length};
  to_sign.extensions.key_usage = {.bits = options.key_usage};
  to_sign.extensions.subject_key_id = true;
  to_sign.extensions.authority_key_id = !self_signed && options.authority_key_id;
  return to_sign;
}

inline Ca MakeRoot(const CaOptions& options = {}) {
  PrivateKey key = PrivateKey::Generate(options.key_type).value();
  std::shared_ptr<Signer> signer = NewSigner(key).value();
  Certificate certificate = SelfSign(CaTemplate(options, true), *signer).value();
  return {std::move(key), std::move(certificate), std::move(signer)};
}

inline Ca MakeIntermediate(const Ca& issuer,
                           CaOptions options = {.common_name = "Intermediate CA"}) {
  PrivateKey key = PrivateKey::Generate(options.key_type).value();
  std::shared_ptr<Signer> signer = NewSigner(key).value();
  Certificate certificate = SignCertificate(CaTemplate(options, false), key.public_key(),
                                            issuer.certificate, *issuer.signer)
                                .value();
  return {std::move(key), std::move(certificate), std::move(signer)};
}

struct LeafOptions {
  SubjectAltNames sans = {.uris = {"spiffe://cluster.local/ns/default/sa/httpbin"}};
  KeyType key_type = KeyType::kEcdsaP256;
  absl::Time not_before = Now() - absl::Minutes(2);
  absl::Time not_after = Now() + absl::Hours(24);
  SerialNumber serial = NextSerial();
};

inline Leaf MakeLeaf(const Ca& issuer, const LeafOptions& options = {}) {
  PrivateKey key = PrivateKey::Generate(options.key_type).value();
  const std::string der = LeafTemplate::For(issuer.certificate)
                              .value()
                              .SignDer(options.serial, options.not_before, options.not_after,
                                       options.sans, key.public_key(), *issuer.signer)
                              .value();
  return {std::move(key), Certificate::ParseDer(der).value()};
}

}  // namespace capstan::x509::testing
