// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "envoy/config_dump.h"
#include "fleet/workload.h"
#include "probe/target.h"
#include "spiffe/spiffe_id.h"
#include "trust/bundle.h"
#include "x509/certificate.h"

namespace capstan::server {

// Pods with this label have an Envoy that is looked at, in the ways that their annotations name:
//   capstan.dev/envoy-admin: "15000"                  its admin interface, at the pod's address
//   capstan.dev/envoy-probe: "8080,alpn=h2 9090"      its TLS listeners, as probe::ProbeTarget
inline constexpr char kEnvoyLabel[] = "capstan.dev/envoy";

struct EnvoyPod {
  fleet::Key key;     // of its workload: a stock agent's, by its token
  std::string name;   // "NAMESPACE/NAME"
  std::string admin;  // "ADDRESS:PORT"; "": it is not to be asked
  std::vector<probe::ProbeTarget> probes;
  friend bool operator==(const EnvoyPod&, const EnvoyPod&) = default;
};

// NotFound: it has no address yet, or nothing of it runs any more. InvalidArgument: what its
// annotations say cannot be used, and why.
absl::StatusOr<EnvoyPod> EnvoyPodOf(const Json& pod, const spiffe::TrustDomain& trust_domain);

// What an Envoy of Istio holds.
struct EnvoyHoldings {
  trust::Bundle roots;     // of ROOTCA
  x509::Certificate leaf;  // of default
};
// FailedPrecondition: there is no such secret, or nothing to be read in it.
absl::StatusOr<EnvoyHoldings> HoldingsOf(const std::vector<envoy::HeldSecret>& held);

// Bundles by what is in them, the latest of the latest so many.
class KnownBundles {
 public:
  void Add(const trust::BundleVersion& version, const trust::Bundle& bundle);
  // Empty: none of them.
  trust::BundleVersion VersionOf(const trust::Bundle& bundle) const;

 private:
  std::deque<std::pair<std::string, trust::BundleVersion>> bundles_;  // by DigestHex()
};

fleet::Leaf LeafOf(const x509::Certificate& leaf);

}  // namespace capstan::server
