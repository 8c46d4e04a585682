// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "rotation/step.h"
#include "store/store.h"
#include "trust/authority.h"

namespace capstan::server {

// Between what the store keeps (PEM, hex) and what is decided on (values). Errors are DataLoss:
// these bytes were valid when they were written.
absl::StatusOr<trust::Authority> AuthorityOf(const store::AuthorityRecord& record);
std::string ChainPem(const trust::Authority& authority);

// FailedPrecondition: the store has no authority yet.
absl::StatusOr<rotation::Situation> SituationOf(const store::State& state);
store::TrustRecord RecordOf(const rotation::Situation& situation);

absl::StatusOr<rotation::Wish> WishOf(const store::DesiredRecord& record);

}  // namespace capstan::server
