// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "trust/authority.h"
#include "x509/crl.h"

namespace capstan::trust {

// The signing certificate, its intermediates and its root, each once.
std::vector<x509::Certificate> CasOf(const Authority& authority);

// The CRL of `crls` that `ca` signed, or nullptr.
const x509::Crl* CrlOf(const x509::Certificate& ca, const std::vector<x509::Crl>& crls);

// Whether a verifier that is given `crls` still accepts leaves of `authority` at `now`: as soon as
// a verifier has CRLs, every CA of a chain needs one that it signed and that is current.
absl::Status CheckCovered(const Authority& authority, const std::vector<x509::Crl>& crls,
                          absl::Time now);

}  // namespace capstan::trust
