// SPDX-License-Identifier: Apache-2.0
#include "rotation/canary.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace capstan::rotation {

std::optional<trust::CanaryIssuer> CanaryOf(const Situation& now_is, const Wish& wish) {
  if (!wish.canary.has_value() || now_is.trust.issuer_epoch == 0) return std::nullopt;
  if (now_is.trust.issuer == wish.issuer) return std::nullopt;
  const auto wanted = now_is.authorities.find(wish.issuer);
  if (wanted == now_is.authorities.end() ||
      wanted->second.state != trust::AuthorityState::kActive) {
    return std::nullopt;
  }
  return trust::CanaryIssuer{wish.issuer, *wish.canary};
}

std::string RiseOver(const Baseline& baseline, int64_t failed, absl::Duration since) {
  const int64_t rise = failed - (failed < baseline.failed ? 0 : baseline.failed);
  const double hours = std::max(absl::ToDoubleHours(since), 0.0);
  const auto expected = static_cast<int64_t>(std::ceil(2 * baseline.per_hour * hours));
  if (rise <= expected) return "";
  return absl::StrCat(
      "its Envoy refused the certificate of a peer ", rise, rise == 1 ? " time" : " times",
      " since the canary began (ssl.fail_verify_*)",
      baseline.per_hour > 0
          ? absl::StrFormat("; before, it did so %.3g times an hour", baseline.per_hour)
          : "; before, it refused none");
}

std::string UntoldText(int64_t untold) {
  if (untold == 0) return "";
  return untold == 1 ? "1 workload tells no failed handshakes: its agent has no --envoy-admin"
                     : absl::StrCat(untold,
                                    " workloads tell no failed handshakes: their agents have no "
                                    "--envoy-admin");
}

}  // namespace capstan::rotation
