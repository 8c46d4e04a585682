// SPDX-License-Identifier: Apache-2.0
// CAs for tests. Not for programs.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "trust/authority.h"
#include "trust/ca_set.h"
#include "x509/crl.h"
#include "x509/sign.h"

namespace capstan::trust::testing {

inline absl::Time TestNow() {
  return absl::FromUnixSeconds(1'747'068'500);
}  // 2025-05-12

// A CA certificate with its key; what differs from a sound one is said by the caller.
struct TestCa {
  x509::Certificate certificate;
  x509::PrivateKey key;
};

struct CaSpec {
  std::string common_name = "Root CA";
  std::string locality;  // "": none
  absl::Time not_before = TestNow() - absl::Hours(24);
  absl::Time not_after = TestNow() + absl::Hours(24 * 3650);
  bool ca = true;
  std::optional<int> path_length;
  uint32_t key_usage = x509::kDigitalSignature | x509::kKeyCertSign | x509::kCrlSign;
  const x509::PrivateKey* key = nullptr;  // null: a new one
};

inline x509::Signer& SignerFor(const x509::PrivateKey& key, std::shared_ptr<x509::Signer>& keep) {
  keep = *x509::NewSigner(key);
  return *keep;
}

inline x509::CertificateTemplate TemplateOf(const CaSpec& spec) {
  x509::CertificateTemplate to_sign;
  to_sign.serial = x509::NewSerial(SystemRandom().Bytes(16));
  to_sign.subject.attributes = {{"O", "Istio"}, {"CN", spec.common_name}};
  if (!spec.locality.empty()) to_sign.subject.attributes.push_back({"L", spec.locality});
  to_sign.not_before = spec.not_before;
  to_sign.not_after = spec.not_after;
  to_sign.extensions.basic_constraints =
      x509::Extensions::BasicConstraints{.ca = spec.ca, .path_length = spec.path_length};
  to_sign.extensions.key_usage = x509::Extensions::Usage{spec.key_usage, true};
  to_sign.extensions.subject_key_id = true;
  return to_sign;
}

inline TestCa MakeRoot(const CaSpec& spec = {}) {
  x509::PrivateKey key =
      spec.key != nullptr ? *spec.key : *x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256);
  std::shared_ptr<x509::Signer> signer;
  return {*x509::SelfSign(TemplateOf(spec), SignerFor(key, signer)), key};
}

inline TestCa MakeIntermediate(const TestCa& issuer,
                               CaSpec spec = {"Intermediate CA", "intermediateA"}) {
  x509::PrivateKey key =
      spec.key != nullptr ? *spec.key : *x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256);
  std::shared_ptr<x509::Signer> signer;
  x509::CertificateTemplate to_sign = TemplateOf(spec);
  to_sign.extensions.authority_key_id = true;
  return {*x509::SignCertificate(to_sign, key.public_key(), issuer.certificate,
                                 SignerFor(issuer.key, signer)),
          key};
}

inline x509::Crl MakeCrl(const TestCa& ca, absl::Time this_update = TestNow() - absl::Hours(1),
                         absl::Time next_update = TestNow() + absl::Hours(24 * 30),
                         uint64_t number = 1) {
  std::shared_ptr<x509::Signer> signer;
  return *x509::SignCrl({this_update, next_update, number, {}}, ca.certificate,
                        SignerFor(ca.key, signer));
}

// A root and an intermediate under it, as a cacerts directory.
struct TestPki {
  TestCa root;
  TestCa intermediate;

  static TestPki Make(std::string locality = "intermediateA") {
    TestCa root = MakeRoot();
    return {root, MakeIntermediate(root, {"Intermediate CA", std::move(locality)})};
  }

  // `roots`: what root-cert.pem holds; this root alone unless told.
  CaFiles Files(const std::vector<x509::Certificate>& roots = {}) const {
    return {{"ca-cert.pem", intermediate.certificate.ToPem()},
            {"ca-key.pem", std::string(intermediate.key.ToPkcs8Pem().Reveal())},
            {"cert-chain.pem", intermediate.certificate.ToPem() + root.certificate.ToPem()},
            {"root-cert.pem", x509::ToPem(roots.empty() ? std::vector{root.certificate} : roots)}};
  }
  Authority authority() const {
    return {AuthorityId::Of(intermediate.certificate),
            intermediate.certificate,
            {intermediate.certificate},
            root.certificate};
  }
  CaSet Set(const std::vector<x509::Certificate>& roots = {}) const {
    return *ParseCaSet(Files(roots), TestNow());
  }
};

}  // namespace capstan::trust::testing
