// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "trust/authority.h"
#include "trust/bundle.h"
#include "x509/crl.h"

namespace capstan::trust {

// What the control plane says at one moment: published as an immutable snapshot. Bundle, issuer and
// CRLs are versioned apart, so that a new root makes nobody ask for a certificate.
struct TrustState {
  BundleVersion version;
  Bundle bundle;
  int64_t issuer_epoch = 0;
  AuthorityId issuer;
  int64_t crl_number = 0;
  std::vector<x509::Crl> crls;
};

}  // namespace capstan::trust
