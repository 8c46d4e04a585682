// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "trust/bundle.h"

namespace capstan::lifecycle {

// The trust that an agent verified last and serves.
struct Trust {
  trust::BundleVersion version;  // empty: none yet
  trust::Bundle bundle;
  int64_t crl_number = 0;
  std::string crls_pem;  // canonical; empty: none
  friend bool operator==(const Trust&, const Trust&) = default;
};

// Trust as some control plane offers it.
struct OfferedTrust {
  trust::BundleVersion version;
  std::string_view roots_pem;
  int64_t crl_number = 0;
  std::string_view crls_pem;
};

// What to serve from now on: `offered`, parsed and made canonical, or `held` where it says the
// same. Refused as a whole, so that the last good trust stays:
//   InvalidArgument: it does not parse, names no version, or has no root;
//   FailedPrecondition: it is of another lineage than `held`, older, or differs under the same
//   version.
absl::StatusOr<Trust> AcceptTrust(const Trust& held, const OfferedTrust& offered);

// The second half of it: whether `offered` may follow `held`. FailedPrecondition as above.
absl::Status CheckSuccessor(const Trust& held, const Trust& offered);

}  // namespace capstan::lifecycle
