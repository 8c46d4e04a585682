// SPDX-License-Identifier: Apache-2.0
#include "authn/service_accounts.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "authn/jwt.h"
#include "authn/service_account.h"
#include "authn/token.h"
#include "authn/token_verifier.h"
#include "base/log.h"
#include "base/status.h"
#include "kube/client.h"

namespace capstan::authn {
namespace {

constexpr size_t kMostOfAName = 128;  // in messages

// Tokens are asked about on a few threads that nothing else waits for.
kube::Client::Options ForReviews() {
  kube::Client::Options options;
  options.timeout = absl::Seconds(5);
  options.per_second = 1000;
  options.burst = 1000;
  return options;
}

TokenReviewer::Review VerifiedBy(const std::string& name, std::vector<std::string> audiences,
                                 TokenVerifier::Fetch fetch, Clock& clock) {
  auto verifier =
      std::make_shared<TokenVerifier>(name, std::move(audiences), std::move(fetch), clock);
  return [verifier](const Secret& token) { return verifier->Verify(token); };
}

absl::StatusOr<RemoteCluster> ParseOne(const std::string& text) {
  const size_t equals = text.find('=');
  const size_t hash = text.rfind('#');
  RemoteCluster cluster{text.substr(0, equals), "", ""};
  if (equals != std::string::npos) {
    cluster.kubeconfig = text.substr(equals + 1);
    if (hash != std::string::npos && hash > equals) {
      cluster.kubeconfig = text.substr(equals + 1, hash - equals - 1);
      cluster.context = text.substr(hash + 1);
    }
  }
  if (!cluster.name.empty() && !cluster.kubeconfig.empty()) return cluster;
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", text,
      "\" is not NAME=KUBECONFIG or NAME=KUBECONFIG#CONTEXT: the cluster's name as its "
      "workloads give it, and a kubeconfig file"));
}

}  // namespace

absl::StatusOr<std::vector<RemoteCluster>> ParseRemoteClusters(std::string_view text) {
  std::vector<RemoteCluster> clusters;
  for (const auto part : absl::StrSplit(std::string(text), ',', absl::SkipWhitespace())) {
    CAPSTAN_ASSIGN_OR_RETURN(RemoteCluster cluster,
                             ParseOne(std::string(absl::StripAsciiWhitespace(part))));
    clusters.push_back(std::move(cluster));
  }
  return clusters;
}

absl::StatusOr<TokenVerification> ParseTokenVerification(std::string_view name) {
  for (const auto verification : {TokenVerification::kReview, TokenVerification::kOffline}) {
    if (TokenVerificationName(verification) == name) return verification;
  }
  return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is neither review nor offline"));
}

std::string_view TokenVerificationName(TokenVerification verification) {
  return verification == TokenVerification::kReview ? "review" : "offline";
}

std::string ToString(const std::vector<RemoteCluster>& clusters) {
  return absl::StrJoin(clusters, ",", [](std::string* out, const RemoteCluster& cluster) {
    absl::StrAppend(out, cluster.name, "=", cluster.kubeconfig, cluster.context.empty() ? "" : "#",
                    cluster.context);
  });
}

void ServiceAccounts::Authenticate(const Credentials& shown, Done done) {
  if (!shown.bearer.has_value() || !LooksLikeJwt(*shown.bearer)) {
    done(absl::UnauthenticatedError(
        "what was shown as a bearer token is neither a join token of capstand nor a JSON Web "
        "Token"));
    return;
  }
  if (const Issuer* issuer = IssuerOf(*shown.bearer); issuer != nullptr) {
    return Ask(*issuer->reviewer, *shown.bearer, "", std::move(done));
  }
  const Cluster* cluster = Find(shown.cluster);
  if (cluster == nullptr) {
    const std::string named = absl::CEscape(shown.cluster.substr(0, kMostOfAName));
    log::Info("a token of a cluster that is not known here",
              {{"peer", shown.peer}, {"cluster", named}, {"known", Known()}});
    done(absl::UnauthenticatedError(
        absl::StrCat("cluster \"", named, "\" (metadata \"clusterid\") is not known here")));
    return;
  }
  Ask(*cluster->reviewer, *shown.bearer, cluster->names.front(), std::move(done));
}

void ServiceAccounts::Ask(TokenReviewer& reviewer, const Secret& token, const std::string& cluster,
                          Done done) {
  std::string hash = HashToken(token);
  reviewer.Ask(hash, token,
               [this, hash, cluster, done = std::move(done)](const TokenReviews::Answer& account) {
                 if (!account.ok()) return done(account.status());
                 absl::StatusOr<Caller> caller = CallerOf(*account, trust_domain_, hash);
                 // A name that was vouched for and that no identity can be made of.
                 if (!caller.ok()) {
                   return done(absl::UnauthenticatedError(caller.status().message()));
                 }
                 caller->cluster = cluster;
                 done(std::move(caller));
               });
}

void ServiceAccounts::Stop() {
  for (const Cluster& cluster : clusters_) cluster.reviewer->Stop();
  for (const Issuer& issuer : issuers_) issuer.reviewer->Stop();
}

// By what the token says: whoever lies about it is refused by that issuer's keys.
const ServiceAccounts::Issuer* ServiceAccounts::IssuerOf(const Secret& token) const {
  if (issuers_.empty()) return nullptr;
  const absl::StatusOr<Jwt> jwt = ParseJwt(token);
  if (!jwt.ok()) return nullptr;
  for (const Issuer& issuer : issuers_) {
    if (issuer.issuer == jwt->issuer) return &issuer;
  }
  return nullptr;
}

const ServiceAccounts::Cluster* ServiceAccounts::Find(const std::string& name) const {
  if (name.empty()) return clusters_.empty() ? nullptr : &clusters_.front();
  for (const Cluster& known : clusters_) {
    if (std::find(known.names.begin(), known.names.end(), name) != known.names.end()) {
      return &known;
    }
  }
  return nullptr;
}

std::string ServiceAccounts::Known() const {
  return absl::StrJoin(clusters_, ", ", [](std::string* out, const Cluster& cluster) {
    absl::StrAppend(out, absl::StrJoin(cluster.names, ", "));
  });
}

ServiceAccounts::Cluster ClusterAt(kube::Access access, std::vector<std::string> names,
                                   std::vector<std::string> audiences,
                                   TokenVerification verification, Clock& clock, Metrics& metrics) {
  auto client = std::make_shared<kube::Client>(std::move(access), clock, ForReviews());
  const std::string label = names.front();
  TokenReviewer::Review review;
  if (verification == TokenVerification::kOffline) {
    review = VerifiedBy(
        label, std::move(audiences), [client] { return FetchKeys(*client); }, clock);
  } else {
    review = [client = std::move(client), audiences = std::move(audiences)](const Secret& token) {
      return kube::ReviewToken(*client, token, audiences);
    };
  }
  return {std::move(names),
          std::make_unique<TokenReviewer>(label, std::move(review), clock, metrics)};
}

std::vector<ServiceAccounts::Issuer> IssuersOf(const std::vector<TokenIssuer>& issuers,
                                               const std::vector<std::string>& audiences,
                                               Clock& clock, Metrics& metrics) {
  std::vector<ServiceAccounts::Issuer> made;
  for (const TokenIssuer& issuer : issuers) {
    TokenReviewer::Options options;
    options.whom = absl::StrCat("the issuer \"", issuer.issuer, "\"");
    auto http = std::make_shared<HttpClient>();
    made.push_back({issuer.issuer,
                    std::make_unique<TokenReviewer>(
                        issuer.issuer,
                        VerifiedBy(
                            issuer.issuer, issuer.audiences.empty() ? audiences : issuer.audiences,
                            [issuer, http] { return FetchKeys(issuer, *http); }, clock),
                        clock, metrics, std::move(options))});
  }
  return made;
}

}  // namespace capstan::authn
