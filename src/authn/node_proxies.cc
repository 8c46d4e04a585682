// SPDX-License-Identifier: Apache-2.0
#include "authn/node_proxies.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "authn/service_account.h"
#include "base/status.h"

namespace capstan::authn {
namespace {

constexpr size_t kMostOfAnIdentity = 256;  // in messages

prometheus::Counter& ResultCounter(Metrics& metrics, const std::string& result) {
  return metrics.Counter("capstan_impersonations_total",
                         "certificates that node proxies asked for in the name of a pod; unknown: "
                         "the pods could not be followed",
                         {{"result", result}});
}

}  // namespace

absl::StatusOr<std::vector<kube::ObjectName>> ParseAccounts(std::string_view text) {
  std::vector<kube::ObjectName> accounts;
  for (const auto part : absl::StrSplit(std::string(text), ',', absl::SkipWhitespace())) {
    const std::string account(absl::StripAsciiWhitespace(part));
    const size_t slash = account.find('/');
    if (slash == 0 || slash == std::string::npos || slash + 1 == account.size() ||
        account.find('/', slash + 1) != std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", account, "\" is not NAMESPACE/ACCOUNT, such as istio-system/ztunnel"));
    }
    accounts.push_back({account.substr(0, slash), account.substr(slash + 1)});
  }
  return accounts;
}

std::string ToString(const std::vector<kube::ObjectName>& accounts) {
  return absl::StrJoin(accounts, ",", [](std::string* out, const kube::ObjectName& account) {
    out->append(kube::ToString(account));
  });
}

NodeProxies::NodeProxies(spiffe::TrustDomain trust_domain, std::vector<kube::ObjectName> accounts,
                         Clusters clusters, Metrics& metrics)
    : trust_domain_(std::move(trust_domain)),
      accounts_(std::move(accounts)),
      clusters_(std::move(clusters)),
      allowed_(ResultCounter(metrics, "allowed")),
      refused_(ResultCounter(metrics, "refused")),
      unknown_(ResultCounter(metrics, "unknown")) {}

absl::StatusOr<NodePods::Question> NodeProxies::QuestionOf(
    const Caller& caller, const absl::StatusOr<spiffe::SpiffeId>& id) const {
  const std::optional<kube::ObjectName> account = AccountIn(caller.id);
  if (caller.proof != Caller::Proof::kServiceAccount || !account.has_value() ||
      std::find(accounts_.begin(), accounts_.end(), *account) == accounts_.end()) {
    return absl::UnauthenticatedError(
        "it did not show a token of one of trusted-node-accounts, and obtains its own identity "
        "only");
  }
  if (caller.pod_uid.empty()) {
    return absl::UnauthenticatedError(
        "its token is bound to no pod, so that its node is not known");
  }
  if (!id.ok()) return absl::UnauthenticatedError(id.status().message());
  const std::optional<kube::ObjectName> wanted = AccountIn(*id);
  if (!wanted.has_value()) {
    return absl::UnauthenticatedError("that is not spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT");
  }
  if (id->trust_domain() != trust_domain_) {
    return absl::UnauthenticatedError(
        absl::StrCat("the trust domain here is ", trust_domain_.name()));
  }
  return NodePods::Question{{account->ns, caller.pod_name}, caller.pod_uid, account->name, *wanted};
}

void NodeProxies::Impersonate(const Caller& caller, const std::string& identity, const Done& done) {
  const absl::StatusOr<spiffe::SpiffeId> id = spiffe::SpiffeId::Parse(identity);
  const auto told = [this, caller, id, done,
                     what = absl::StrCat(caller.id.ToString(), " asks for \"",
                                         absl::CEscape(identity.substr(0, kMostOfAnIdentity)),
                                         "\"")](const absl::Status& answer) {
    if (!answer.ok()) {
      (absl::IsUnauthenticated(answer) ? refused_ : unknown_).Increment();
      return done(Annotate(answer, what));
    }
    allowed_.Increment();
    Caller as = caller;
    as.node_proxy = caller.id.ToString();
    as.id = *id;
    done(std::move(as));
  };
  const absl::StatusOr<NodePods::Question> question = QuestionOf(caller, id);
  if (!question.ok()) return told(question.status());
  const auto cluster = clusters_.find(caller.cluster);
  if (cluster == clusters_.end()) {
    return told(absl::UnauthenticatedError("the pods of its cluster are not known here"));
  }
  cluster->second->Ask(*question, told);
}

void NodeProxies::Stop() {
  for (const auto& [name, watch] : clusters_) watch->Stop();
}

}  // namespace capstan::authn
