// SPDX-License-Identifier: Apache-2.0
#include "server/built_in_ca.h"

#include <algorithm>

#include "base/status.h"
#include "x509/sign.h"

namespace capstan::server {
namespace {

// Back-dated like leaves: whose clock is behind trusts it from the first second. By an hour where
// that is little of its life; a root is added to clocks that nobody has looked at.
absl::Time Beginning(absl::Time now, absl::Duration ttl) {
  return now - std::clamp(ttl / 1000, absl::Minutes(2), absl::Hours(1));
}

}  // namespace

absl::StatusOr<trust::CaSet> MakeBuiltInCa(const spiffe::TrustDomain& trust_domain,
                                           x509::KeyType key_type, absl::Duration ttl,
                                           Random& random, absl::Time now) {
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey key, x509::PrivateKey::Generate(key_type));
  CAPSTAN_ASSIGN_OR_RETURN(std::shared_ptr<x509::Signer> signer, x509::NewSigner(key));
  x509::CertificateTemplate root;
  root.serial = x509::NewSerial(random.Bytes(16));
  root.subject.attributes = {{"O", trust_domain.name()}};
  root.not_before = Beginning(now, ttl);
  root.not_after = now + ttl;
  root.extensions.basic_constraints = x509::Extensions::BasicConstraints{.ca = true};
  root.extensions.key_usage = x509::Extensions::Usage{x509::kKeyCertSign | x509::kCrlSign, true};
  root.extensions.subject_key_id = true;
  CAPSTAN_ASSIGN_OR_RETURN(x509::Certificate certificate, x509::SelfSign(root, *signer));
  trust::Authority authority{trust::AuthorityId::Of(certificate), certificate, {}, certificate};
  return trust::CaSet{
      "built-in", std::move(authority), std::move(key), trust::Bundle::Of({certificate}), {}, {}};
}

absl::StatusOr<trust::CaSet> MakeIntermediateCa(const x509::Certificate& root, x509::Signer& signer,
                                                const trust::Bundle& bundle,
                                                const std::vector<x509::Crl>& crls,
                                                x509::KeyType key_type, Random& random,
                                                absl::Time now, absl::Duration ttl) {
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey key, x509::PrivateKey::Generate(key_type));
  x509::CertificateTemplate to_sign;
  to_sign.serial = x509::NewSerial(random.Bytes(16));
  to_sign.subject.attributes = {{"CN", "Intermediate CA"}};
  to_sign.not_before = std::max(Beginning(now, ttl), root.not_before());
  to_sign.not_after = std::min(now + ttl, root.not_after());
  to_sign.extensions.basic_constraints =
      x509::Extensions::BasicConstraints{.ca = true, .path_length = 0};
  to_sign.extensions.key_usage = x509::Extensions::Usage{x509::kKeyCertSign | x509::kCrlSign, true};
  to_sign.extensions.subject_key_id = true;
  to_sign.extensions.authority_key_id = true;
  CAPSTAN_ASSIGN_OR_RETURN(x509::Certificate certificate,
                           x509::SignCertificate(to_sign, key.public_key(), root, signer));
  trust::Authority authority{trust::AuthorityId::Of(certificate), certificate, {certificate}, root};
  return trust::CaSet{"built-in", std::move(authority), std::move(key), bundle, crls, {}};
}

}  // namespace capstan::server
