// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "issuance/issue.h"
#include "trust/authority.h"
#include "x509/certificate.h"
#include "x509/key.h"

namespace capstan::issuance {

// Whether `leaf` is what was meant: read back from its own bytes, field by field, so that no
// mistake in encoding leaves the house. Internal says which field is wrong.
absl::Status CheckLeaf(const x509::Certificate& leaf, const Plan& plan, const x509::PublicKey& key,
                       const x509::SerialNumber& serial, const trust::Authority& authority,
                       bool verify_signature);

}  // namespace capstan::issuance
