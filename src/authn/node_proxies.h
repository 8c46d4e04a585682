// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "authn/caller.h"
#include "authn/node_pod_watch.h"
#include "base/metrics.h"
#include "kube/resource.h"
#include "spiffe/spiffe_id.h"

namespace capstan::authn {

// "NAMESPACE/ACCOUNT", joined by commas.
absl::StatusOr<std::vector<kube::ObjectName>> ParseAccounts(std::string_view text);
std::string ToString(const std::vector<kube::ObjectName>& accounts);

// Node proxies (ztunnel): callers of certain service accounts, which may ask for certificates in
// the name of pods that run on their node. Thread-safe.
class NodeProxies {
 public:
  // By the name that Caller::cluster gives it.
  using Clusters = std::map<std::string, std::unique_ptr<NodePodWatch>>;
  // `metrics` outlives it.
  NodeProxies(spiffe::TrustDomain trust_domain, std::vector<kube::ObjectName> accounts,
              Clusters clusters, Metrics& metrics);

  using Done = std::function<void(absl::StatusOr<Caller>)>;
  // `caller` as `identity`. `done` is called once, within this call or later from another thread.
  // Unauthenticated: it may not, and why; Unavailable: that is not known now.
  void Impersonate(const Caller& caller, const std::string& identity, const Done& done);
  // Nobody waits any more.
  void Stop();

 private:
  absl::StatusOr<NodePods::Question> QuestionOf(const Caller& caller,
                                                const absl::StatusOr<spiffe::SpiffeId>& id) const;

  const spiffe::TrustDomain trust_domain_;
  const std::vector<kube::ObjectName> accounts_;
  const Clusters clusters_;
  prometheus::Counter& allowed_;
  prometheus::Counter& refused_;
  prometheus::Counter& unknown_;
};

}  // namespace capstan::authn
