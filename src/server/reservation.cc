// SPDX-License-Identifier: Apache-2.0
#include "server/reservation.h"

#include <algorithm>

#include "base/status.h"

namespace capstan::server {
namespace {

// How many seconds of life a block has beyond the longest leaf: under a steady stream of longest
// leaves, one write in this time.
constexpr absl::Duration kMargin = absl::Hours(1);

}  // namespace

absl::Time ReservedUntil(const trust::Authority& authority, absl::Duration max_ttl,
                         absl::Time now) {
  return std::min(now + max_ttl + kMargin, authority.certificate.not_after());
}

absl::Status Reservation::Cover(absl::Time not_after, absl::Time now) {
  if (not_after <= until()) return absl::OkStatus();
  absl::MutexLock lock(&extending_);
  if (not_after <= until()) return absl::OkStatus();
  absl::Time target = std::max(not_after, ReservedUntil(authority_, max_ttl_, now));
  CAPSTAN_RETURN_IF_ERROR(
      Annotate(store_.Reserve(authority_.id.hex(), target),
               "the expiry of a new leaf cannot be written down, so it is not signed"));
  until_.store(absl::ToUnixMillis(target));
  return absl::OkStatus();
}

}  // namespace capstan::server
