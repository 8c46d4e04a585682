// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "authn/caller.h"
#include "authn/token_issuers.h"
#include "authn/token_reviewer.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "kube/access.h"
#include "spiffe/spiffe_id.h"

namespace capstan::authn {

// Another cluster whose service accounts are callers, as the operator declared: its name, and a
// kubeconfig file with a context of it ("": its current one).
struct RemoteCluster {
  std::string name;
  std::string kubeconfig;
  std::string context;
  friend bool operator==(const RemoteCluster&, const RemoteCluster&) = default;
};

// "NAME=KUBECONFIG[#CONTEXT]", joined by commas.
absl::StatusOr<std::vector<RemoteCluster>> ParseRemoteClusters(std::string_view text);
std::string ToString(const std::vector<RemoteCluster>& clusters);

// How tokens of a cluster's service accounts are judged: its API server is asked about each, or
// gives its keys alone.
enum class TokenVerification { kReview, kOffline };
absl::StatusOr<TokenVerification> ParseTokenVerification(std::string_view name);
std::string_view TokenVerificationName(TokenVerification verification);

// Callers with tokens of Kubernetes' service accounts, of one or several clusters, and of other
// issuers. Thread-safe.
class ServiceAccounts {
 public:
  struct Cluster {
    std::vector<std::string> names;  // that callers may give
    std::unique_ptr<TokenReviewer> reviewer;
  };
  struct Issuer {
    std::string issuer;  // as its tokens say it: they are no cluster's, whatever callers name
    std::unique_ptr<TokenReviewer> reviewer;
  };
  // The first is the primary one: also of callers who name none.
  ServiceAccounts(spiffe::TrustDomain trust_domain, std::vector<Cluster> clusters,
                  std::vector<Issuer> issuers = {})
      : trust_domain_(std::move(trust_domain)),
        clusters_(std::move(clusters)),
        issuers_(std::move(issuers)) {}

  using Done = std::function<void(absl::StatusOr<Caller>)>;
  // Who shows `shown.bearer`. `done` is called once, within this call or later from another thread.
  // The errors of TokenReviewer; Unauthenticated also for a cluster that is not known here.
  void Authenticate(const Credentials& shown, Done done);
  // Nobody waits any more, and nobody is asked.
  void Stop();

 private:
  const Cluster* Find(const std::string& name) const;
  const Issuer* IssuerOf(const Secret& token) const;
  void Ask(TokenReviewer& reviewer, const Secret& token, const std::string& cluster, Done done);
  std::string Known() const;

  const spiffe::TrustDomain trust_domain_;
  const std::vector<Cluster> clusters_;
  const std::vector<Issuer> issuers_;
};

// A cluster with a client of its own. `clock` and `metrics` outlive it.
ServiceAccounts::Cluster ClusterAt(kube::Access access, std::vector<std::string> names,
                                   std::vector<std::string> audiences,
                                   TokenVerification verification, Clock& clock, Metrics& metrics);
// The same for issuers; `audiences`, where one says none of its own.
std::vector<ServiceAccounts::Issuer> IssuersOf(const std::vector<TokenIssuer>& issuers,
                                               const std::vector<std::string>& audiences,
                                               Clock& clock, Metrics& metrics);

}  // namespace capstan::authn
