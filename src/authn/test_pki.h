// SPDX-License-Identifier: Apache-2.0
// A small PKI for the tests of this room and of those above it: a root, an intermediate, leaves.
#pragma once

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/random.h"
#include "trust/authority.h"
#include "trust/bundle.h"
#include "x509/certificate.h"
#include "x509/key.h"
#include "x509/sign.h"

namespace capstan::authn::testing {

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::cerr << "test setup: " << value.status() << "\n";
    std::abort();
  }
  return *std::move(value);
}

inline absl::Time At(const char* rfc3339) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, rfc3339, &time, &error)) {
    std::abort();
  }
  return time;
}

struct Leaf {
  std::vector<x509::Certificate> chain;  // leaf, then the intermediate where there is one
  x509::PrivateKey key;
};

// What a leaf says; the defaults make an X509-SVID for clients and servers.
struct LeafSpec {
  std::vector<std::string> uris = {"spiffe://cluster.local/ns/default/sa/sleep"};
  std::vector<std::string> dns;
  std::vector<std::string> ips;
  absl::Time not_before;
  absl::Time not_after;
  std::vector<std::string> extended_key_usage = {"serverAuth", "clientAuth"};
  bool ca = false;
};

class TestCa {
 public:
  // Roots of equal common names are told apart by key only, as in a rotation.
  TestCa(absl::Time now, const std::string& common_name, bool with_intermediate)
      : root_key_(Must(x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256))),
        root_signer_(Must(x509::NewSigner(root_key_))),
        root_(Must(x509::SelfSign(CaTemplate(now, common_name), *root_signer_))),
        key_(root_key_),
        signer_(root_signer_),
        issuer_(root_),
        has_intermediate_(with_intermediate) {
    if (with_intermediate) {
      key_ = Must(x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256));
      signer_ = Must(x509::NewSigner(key_));
      issuer_ = Must(x509::SignCertificate(CaTemplate(now, common_name + " intermediate"),
                                           key_.public_key(), root_, *root_signer_));
    }
  }

  const x509::Certificate& root() const { return root_; }
  const x509::Certificate& issuer() const { return issuer_; }
  trust::Bundle bundle() const { return trust::Bundle::Of({root_}); }
  trust::Authority authority() const {
    std::vector<x509::Certificate> intermediates;
    if (has_intermediate_) intermediates.push_back(issuer_);
    return {trust::AuthorityId::Of(issuer_), issuer_, std::move(intermediates), root_};
  }
  x509::Signer& signer() const { return *signer_; }

  Leaf Issue(const LeafSpec& spec) const {
    x509::PrivateKey key = Must(x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256));
    x509::Certificate leaf = Sign(spec, key.public_key());
    std::vector<x509::Certificate> chain = {std::move(leaf)};
    if (has_intermediate_) {
      chain.push_back(issuer_);
    }
    return Leaf{std::move(chain), std::move(key)};
  }

  x509::Certificate Sign(const LeafSpec& spec, const x509::PublicKey& key) const {
    x509::CertificateTemplate to_sign;
    to_sign.serial = x509::NewSerial(SystemRandom().Bytes(16));
    to_sign.not_before = spec.not_before;
    to_sign.not_after = spec.not_after;
    to_sign.extensions.basic_constraints = x509::Extensions::BasicConstraints{.ca = spec.ca};
    to_sign.extensions.key_usage =
        x509::Extensions::Usage{.bits = x509::kDigitalSignature | x509::kKeyEncipherment};
    to_sign.extensions.extended_key_usage = spec.extended_key_usage;
    to_sign.extensions.authority_key_id = true;
    to_sign.extensions.sans = {
        .dns = spec.dns, .ips = spec.ips, .uris = spec.uris, .critical = true};
    return Must(x509::SignCertificate(to_sign, key, issuer_, *signer_));
  }

 private:
  static x509::CertificateTemplate CaTemplate(absl::Time now, const std::string& common_name) {
    x509::CertificateTemplate to_sign;
    to_sign.serial = x509::NewSerial(SystemRandom().Bytes(16));
    to_sign.subject.attributes = {{"O", "Istio"}, {"CN", common_name}};
    to_sign.not_before = now - absl::Hours(24);
    to_sign.not_after = now + absl::Hours(24 * 365);
    to_sign.extensions.basic_constraints = x509::Extensions::BasicConstraints{.ca = true};
    to_sign.extensions.key_usage =
        x509::Extensions::Usage{.bits = x509::kKeyCertSign | x509::kCrlSign};
    to_sign.extensions.subject_key_id = true;
    to_sign.extensions.authority_key_id = true;
    return to_sign;
  }

  x509::PrivateKey root_key_;
  std::shared_ptr<x509::Signer> root_signer_;
  x509::Certificate root_;
  x509::PrivateKey key_;
  std::shared_ptr<x509::Signer> signer_;
  x509::Certificate issuer_;
  bool has_intermediate_;
};

}  // namespace capstan::authn::testing
