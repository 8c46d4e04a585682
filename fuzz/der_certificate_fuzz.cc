// SPDX-License-Identifier: Apache-2.0
// Certificate::ParseDer: total; what is accepted is kept byte for byte, and every accessor answers.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "x509/certificate.h"
#include "x509/envoy_name.h"
#include "x509/verify.h"

namespace {

using capstan::x509::Certificate;

void UseEveryAccessor(const Certificate& certificate) {
  certificate.Subject();
  certificate.Issuer();
  certificate.SubjectCommonName();
  certificate.IssuerCommonName();
  certificate.serial().ToDecimal();
  certificate.SignatureAlgorithm();
  certificate.public_key().Description();
  certificate.public_key().KeyId();
  if (certificate.public_key().CheckAcceptable().ok() &&
      certificate.public_key().get() == nullptr) {
    std::abort();
  }
  certificate.subject_key_id();
  certificate.authority_key_id();
  certificate.path_length();
  certificate.key_usage();
  certificate.extended_key_usage();
  certificate.SpiffeId().status().IgnoreError();
  if (capstan::x509::CheckEnvoyReadsName(certificate.subject_der()).ok() ==
      !capstan::x509::CheckEnvoyReadsName(certificate.subject_der()).message().empty()) {
    std::abort();
  }
  certificate.IsSelfSigned();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view der(reinterpret_cast<const char*>(data), size);
  const auto certificate = Certificate::ParseDer(der);
  if (!certificate.ok()) {
    if (certificate.status().message().empty()) std::abort();
    return 0;
  }
  if (certificate->der() != der) std::abort();
  UseEveryAccessor(*certificate);
  const auto again = capstan::x509::ParseCertificates(certificate->ToPem());
  if (!again.ok() || again->size() != 1 || again->front() != *certificate) std::abort();

  const auto verdict =
      capstan::x509::Verify({*certificate}, {*certificate}, certificate->not_before());
  if (verdict.steps.empty() || verdict.status.ok() == verdict.chain.empty()) std::abort();
  return 0;
}
