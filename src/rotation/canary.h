// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "rotation/gate.h"
#include "rotation/step.h"
#include "trust/canary.h"

namespace capstan::rotation {

// The wanted authority, while it signs for the canary and somebody else for everybody. A function
// of what is and what is wished: after a crash it is the same.
std::optional<trust::CanaryIssuer> CanaryOf(const Situation& now_is, const Wish& wish);

// A canary is looked at for no less than this, however short the soak: agents read what their
// consumers count every few seconds.
inline constexpr absl::Duration kLeastCanarySoak = absl::Seconds(15);
// How long a gate of this kind soaks where a rotation's gates soak for `soak`.
inline absl::Duration SoakOf(GateKind kind, absl::Duration soak) {
  return kind == GateKind::kCanary ? std::max(soak, kLeastCanarySoak) : soak;
}

// What a workload's consumer had counted of handshakes in which it refused the peer's certificate
// when the canary began.
struct Baseline {
  int64_t failed = 0;
  double per_hour = 0;  // as it rose before
  friend bool operator==(const Baseline&, const Baseline&) = default;
};

// What speaks against the canary at a workload that counts `failed` by now, this long after it
// began: "" while no more was added than twice what its baseline would have. A count below the
// baseline is of a consumer that began anew.
std::string RiseOver(const Baseline& baseline, int64_t failed, absl::Duration since);

// "N workloads tell no failed handshakes: their agents have no --envoy-admin"; "" for none.
std::string UntoldText(int64_t untold);

}  // namespace capstan::rotation
