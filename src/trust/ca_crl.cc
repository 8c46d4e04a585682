// SPDX-License-Identifier: Apache-2.0
#include "trust/ca_crl.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace capstan::trust {
namespace {

std::string UtcTime(absl::Time time) {
  return absl::FormatTime(time, absl::UTCTimeZone());
}

}  // namespace

std::vector<x509::Certificate> CasOf(const Authority& authority) {
  std::vector<x509::Certificate> cas = authority.intermediates;
  cas.push_back(authority.root);
  return cas;
}

const x509::Crl* CrlOf(const x509::Certificate& ca, const std::vector<x509::Crl>& crls) {
  const x509::Crl* newest = nullptr;
  for (const x509::Crl& crl : crls) {
    if (crl.issuer_der() != ca.subject_der() || !crl.IsSignedBy(ca.public_key())) continue;
    if (newest == nullptr || newest->this_update() < crl.this_update()) newest = &crl;
  }
  return newest;
}

absl::Status CheckCovered(const Authority& authority, const std::vector<x509::Crl>& crls,
                          absl::Time now) {
  for (const x509::Certificate& ca : CasOf(authority)) {
    std::string named =
        absl::StrCat("the CA \"", ca.Subject(), "\" (serial ", ca.serial().ToHex(), ")");
    if (std::optional<uint32_t> usage = ca.key_usage();
        usage.has_value() && (*usage & x509::kCrlSign) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(named,
                       " may not sign CRLs (its keyUsage lacks cRLSign), so every verifier that is "
                       "given a CRL would refuse its chain; have it issued again with cRLSign "
                       "(capstan pki … --crl-sign), or remove the CRL file"));
    }
    const x509::Crl* crl = CrlOf(ca, crls);
    if (crl == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          "no CRL there is signed by ", named,
          ", and a verifier that has CRLs wants one of every CA of the chain; add it, or "
          "remove the CRL file"));
    }
    if (now < crl->this_update()) {
      return absl::InvalidArgumentError(absl::StrCat("the CRL of ", named, " is not valid before ",
                                                     UtcTime(crl->this_update()), " and it is ",
                                                     UtcTime(now)));
    }
    if (std::optional<absl::Time> next = crl->next_update(); next.has_value() && *next < now) {
      return absl::InvalidArgumentError(absl::StrCat("the CRL of ", named, " expired at ",
                                                     UtcTime(*next), "; put a current one there"));
    }
  }
  return absl::OkStatus();
}

}  // namespace capstan::trust
