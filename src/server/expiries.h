// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/metrics.h"
#include "fleet/workload.h"
#include "rotation/step.h"

namespace capstan::server {

// Something that ends by itself.
struct Expiry {
  // "root" (of the bundle, or of an authority that is still of use), "intermediate", "issuer" (the
  // certificate that signs leaves), "authority" (one that is prepared or retiring), "serving" (the
  // control plane's own certificate), "crl" (its next update), "leaf" (the first to end of those
  // that connected workloads show).
  std::string what;
  // Fingerprint of a root or an intermediate, subject key id of an issuer, an authority or the
  // signer of a CRL; "serving"; "first".
  std::string id;
  absl::Time at;
  friend bool operator==(const Expiry&, const Expiry&) = default;
};

// What one walk through the population shows.
struct Survey {
  absl::Time first_leaf = absl::InfiniteFuture();  // of workloads that are connected
  int64_t refusing = 0;  // connected consumers that refused something and accepted nothing since
};
Survey SurveyOf(const std::map<fleet::Key, fleet::Workload>& workloads);

// Everything that ends, by what and id, each once. Retired and revoked authorities are left out.
std::vector<Expiry> ExpiriesOf(const rotation::Situation& situation, absl::Time serving_not_after,
                               const Survey& survey);

// As labels ("what", "id") and Unix seconds.
std::map<GaugeSet::Labels, double> ExpiryGauges(const std::vector<Expiry>& expiries);

}  // namespace capstan::server
