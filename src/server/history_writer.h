// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "base/random.h"
#include "rotation/step.h"
#include "spiffe/spiffe_id.h"
#include "store/store.h"
#include "x509/sign.h"

namespace capstan::server {

// Whether going from `before` to `after` makes a version of the bundle that needs a link of the
// trust history: every one but the first, which nobody can have slept through.
bool NeedsHistory(const rotation::Situation& before, const rotation::Situation& after);

// That link, to be written together with the change: `signer` is of the authority that issues in
// `before`. nullopt where it cannot be made, which is logged: a change of trust does not wait for
// it, and whoever sleeps through that version needs a new join file.
std::optional<store::HistoryRecord> HistoryOf(
    const rotation::Situation& before, const rotation::Situation& after,
    const spiffe::TrustDomain& trust_domain,
    const absl::StatusOr<std::shared_ptr<x509::Signer>>& signer, Random& random, absl::Time now);

}  // namespace capstan::server
