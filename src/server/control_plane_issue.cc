// SPDX-License-Identifier: Apache-2.0
// The control plane's certificates for others: who gets which, and the record of it.
#include <utility>

#include "absl/strings/str_cat.h"
#include "authn/service_account.h"
#include "base/log.h"
#include "base/retry_after.h"
#include "base/status.h"
#include "server/control_plane.h"
#include "server/join_tokens.h"
#include "server/population.h"
#include "x509/seal.h"

namespace capstan::server {
namespace {

std::string KeyHash(const x509::Csr& csr) {
  return x509::Sha256(csr.public_key().spki_der());
}

fleet::Leaf LeafOf(const issuance::Issued& issued) {
  return {issued.leaf.serial().ToHex(), issued.authority.hex(), issued.leaf.not_before(),
          issued.leaf.not_after()};
}

// Whether the answer is where it takes its roots from, as far as anybody here can know.
bool IsToldByAnswers(const authn::Caller& caller, const rpc::IssueRequest& request) {
  return caller.proof == authn::Caller::Proof::kServiceAccount && !request.for_agent;
}

// A node proxy renews at half of the life that the certificate says, which began in the past
// (issuance::Policy::backdate): where that is over already, it would ask again at once, for ever.
absl::Status CheckForNodeProxy(const issuance::Plan& plan, absl::Time now) {
  constexpr absl::Duration kLeast = absl::Minutes(5);
  if (plan.not_after - now >= kLeast) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a node proxy's certificate would be good for ",
                   absl::FormatDuration(absl::Trunc(plan.not_after - now, absl::Seconds(1))),
                   " only, and renewed without a pause: ask for ", absl::FormatDuration(kLeast),
                   " or more (SECRET_TTL), of an issuer that lasts that long"));
}

}  // namespace

absl::StatusOr<rpc::IssueResponse> ControlPlane::Issue(const authn::Caller& caller,
                                                       const rpc::IssueRequest& request) {
  // Stock agents name no instance, but their tokens do. A node proxy is never taken for the pod.
  if (caller.proof == authn::Caller::Proof::kServiceAccount) {
    const std::string instance = authn::InstanceOf(caller);
    if (request.instance.empty() || (!caller.node_proxy.empty() && request.instance != instance)) {
      rpc::IssueRequest named = request;
      named.instance = instance;
      return Issue(caller, named);
    }
  }
  metrics_.Requested();
  absl::StatusOr<rpc::IssueResponse> response = [&]() -> absl::StatusOr<rpc::IssueResponse> {
    const absl::Time now = clock_.Now();
    CAPSTAN_RETURN_IF_ERROR(CheckWorkloadId(caller.id, options_.trust_domain));
    CAPSTAN_ASSIGN_OR_RETURN(x509::Csr csr, x509::Csr::Parse(request.csr));
    if (caller.proof == authn::Caller::Proof::kJoinToken)
      return IssueForToken(caller, request, csr, now);
    CAPSTAN_ASSIGN_OR_RETURN(Signed made, SignFor(caller, request, csr, now));
    fleet::Leaf leaf = LeafOf(made.issued);
    if (IsToldByAnswers(caller, request)) leaf.told = made.sequence;
    CAPSTAN_RETURN_IF_ERROR(Remember(caller, request, leaf, now));
    return rpc::IssueResponse{std::move(made.chain)};
  }();
  if (response.ok()) {
    metrics_.Issued();
  } else if (!RetryAfterOf(response.status()).has_value()) {  // else: put off, and said so
    metrics_.Refused(response.status());
    log::Warn("a certificate was refused", {{"spiffe_id", caller.id.ToString()},
                                            {"instance", request.instance},
                                            {"why", response.status().message()}});
  }
  return response;
}

absl::Status ControlPlane::Admit(const authn::Caller& caller, const rpc::IssueRequest& request,
                                 absl::Time now) {
  issuance::Urgency urgency = issuance::Urgency::kUrgent;
  {
    absl::MutexLock lock(&mutex_);
    const fleet::Workload* known = fleet_.Find(KeyOf(caller, request.instance));
    urgency = UrgencyOf(caller, request,
                        known == nullptr    ? nullptr
                        : request.for_agent ? &known->credential
                                            : &known->leaf,
                        now);
  }
  return pacing_.Admit(urgency);
}

absl::Status ControlPlane::CheckMaySign() const {
  return options_.may_sign == nullptr ? absl::OkStatus() : options_.may_sign();
}

absl::StatusOr<Grant> ControlPlane::GrantFor(const authn::Caller& caller,
                                             const rpc::IssueRequest& request, absl::Time now) {
  CAPSTAN_RETURN_IF_ERROR(CheckMaySign());
  if (caller.proof == authn::Caller::Proof::kLapsedCertificate) {
    CAPSTAN_RETURN_IF_ERROR(CheckRejoin(caller, request));
  }
  auto signing = keeper_.SigningFor(caller.id);
  if (signing == nullptr) return NoCa();
  {
    absl::MutexLock lock(&mutex_);
    CAPSTAN_RETURN_IF_ERROR(fleet_.CheckRoom(KeyOf(caller.id.ToString(), request.instance, "new")));
  }
  CAPSTAN_ASSIGN_OR_RETURN(issuance::Plan plan,
                           issuance::PlanLeaf(caller.id, request.ttl, options_.keeper.policy,
                                              signing->issuer->authority(), now));
  if (!caller.node_proxy.empty()) CAPSTAN_RETURN_IF_ERROR(CheckForNodeProxy(plan, now));
  CAPSTAN_RETURN_IF_ERROR(Admit(caller, request, now));
  CAPSTAN_RETURN_IF_ERROR(signing->reservation->Cover(plan.not_after, now));
  // The record of who joins is in the store before the answer.
  if (caller.proof == authn::Caller::Proof::kJoinToken) {
    return Grant{std::move(signing), std::move(plan)};
  }
  PopulationWriter::Promised promised =
      population_.Promise(signing->issuer->authority().id.hex(), plan.not_after);
  return Grant{std::move(signing), std::move(plan), std::move(promised)};
}

absl::Status ControlPlane::Remember(const authn::Caller& caller, const rpc::IssueRequest& request,
                                    const fleet::Leaf& leaf, absl::Time now) {
  CAPSTAN_RETURN_IF_ERROR(CheckMaySign());  // still, now that it is signed
  store::PopulationRecord record = RecordFor(caller, request, leaf, now);
  CAPSTAN_RETURN_IF_ERROR(RememberIssued(record));
  if (caller.proof == authn::Caller::Proof::kLapsedCertificate) {
    metrics_.Rejoined();
    log::Warn("a lapsed certificate was renewed", {{"spiffe_id", record.spiffe_id},
                                                   {"instance", record.instance},
                                                   {"serial", record.serial},
                                                   {"why", "within rejoin-grace"}});
  }
  population_.Put(std::move(record));
  return absl::OkStatus();
}

absl::StatusOr<ControlPlane::Signed> ControlPlane::SignFor(const authn::Caller& caller,
                                                           const rpc::IssueRequest& request,
                                                           const x509::Csr& csr, absl::Time now) {
  CAPSTAN_ASSIGN_OR_RETURN(Grant grant, GrantFor(caller, request, now));
  const auto& [signing, plan, promised] = grant;
  const absl::Duration began = clock_.Monotonic();
  absl::StatusOr<issuance::Issued> made = signing->issuer->Sign(plan, csr, random_);
  pacing_.Signed(signing->issuer->authority().id, clock_.Monotonic() - began, made.ok());
  CAPSTAN_ASSIGN_OR_RETURN(issuance::Issued issued, std::move(made));
  std::vector<std::string> chain = {issued.leaf.ToPem()};
  chain.insert(chain.end(), signing->chain_pem.begin(), signing->chain_pem.end());
  log::Debug("issued", {{"spiffe_id", caller.id.ToString()},
                        {"instance", request.instance},
                        {"node_proxy", caller.node_proxy},
                        {"purpose", request.for_agent ? kAgent : kWorkload},
                        {"serial", issued.leaf.serial().ToHex()},
                        {"authority", issued.authority.hex()},
                        {"not_after", absl::FormatTime(plan.not_after, absl::UTCTimeZone())}});
  return Signed{std::move(issued), std::move(chain), signing->sequence, std::move(grant.promised)};
}

absl::StatusOr<rpc::IssueResponse> ControlPlane::IssueForToken(const authn::Caller& caller,
                                                               const rpc::IssueRequest& request,
                                                               const x509::Csr& csr,
                                                               absl::Time now) {
  const std::string key_hash = KeyHash(csr);
  absl::StatusOr<std::vector<std::string>> repeated =
      RepeatedAnswer(store_, caller.token_hash, key_hash, now);
  if (repeated.ok()) return rpc::IssueResponse{*std::move(repeated)};
  if (!absl::IsNotFound(repeated.status())) return repeated.status();

  CAPSTAN_ASSIGN_OR_RETURN(Signed made, SignFor(caller, request, csr, now));
  store::PopulationRecord record = RecordFor(caller, request, LeafOf(made.issued), now);
  absl::Status consumed =
      store_.ConsumeToken({caller.token_hash, key_hash, now, made.chain, record});
  if (absl::IsFailedPrecondition(consumed)) {
    // Somebody used it between the look and here; ours was not given out and is forgotten.
    CAPSTAN_ASSIGN_OR_RETURN(std::vector<std::string> answer,
                             RepeatedAnswer(store_, caller.token_hash, key_hash, now));
    return rpc::IssueResponse{std::move(answer)};
  }
  CAPSTAN_RETURN_IF_ERROR(Annotate(consumed, "the use of the join token cannot be written down"));
  CAPSTAN_RETURN_IF_ERROR(RememberIssued(record));
  log::Info(
      "a workload joined",
      {{"spiffe_id", record.spiffe_id}, {"instance", record.instance}, {"serial", record.serial}});
  return rpc::IssueResponse{std::move(made.chain)};
}

store::PopulationRecord ControlPlane::RecordFor(const authn::Caller& caller,
                                                const rpc::IssueRequest& request,
                                                const fleet::Leaf& leaf, absl::Time now) const {
  store::PopulationRecord record;
  record.spiffe_id = caller.id.ToString();
  record.instance = request.instance;
  record.purpose = request.for_agent ? kAgent : kWorkload;
  record.serial = leaf.serial;
  record.authority = leaf.authority;
  record.not_before = leaf.not_before;
  record.not_after = leaf.not_after;
  record.told = leaf.told;
  record.last_seen = now;
  if (!request.for_agent) {
    absl::MutexLock lock(&mutex_);
    const fleet::Workload* known =
        fleet_.Find(KeyOf(record.spiffe_id, record.instance, record.serial));
    if (known != nullptr) record.consumers = known->known_consumers;
  }
  return record;
}

absl::Status ControlPlane::RememberIssued(const store::PopulationRecord& record) {
  absl::MutexLock lock(&mutex_);
  CAPSTAN_RETURN_IF_ERROR(fleet_.Issued(KeyOf(record.spiffe_id, record.instance, record.serial),
                                        PurposeOf(record), LeafOf(record), record.last_seen));
  // Nobody will report what it was told.
  if (record.told > 0) AdvanceSoon();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ControlPlane::IssueProbe(const authn::Caller& caller,
                                                                  const std::string& csr_pem,
                                                                  const std::string& authority_id) {
  absl::StatusOr<std::vector<std::string>> chain =
      caller.proof == authn::Caller::Proof::kCertificate
          ? SignProbe(caller.id.ToString(), csr_pem, authority_id)
          : absl::PermissionDeniedError(
                "a probe certificate needs a client certificate: a join "
                "token is good for one only");
  if (!chain.ok()) {
    log::Warn("a probe certificate was refused", {{"spiffe_id", caller.id.ToString()},
                                                  {"authority", authority_id},
                                                  {"why", chain.status().message()}});
  }
  return chain;
}

// No expiry is reserved for it and no record kept: no workload shows it, and it is gone in minutes.
absl::StatusOr<std::vector<std::string>> ControlPlane::SignProbe(const std::string& whom,
                                                                 const std::string& csr_pem,
                                                                 const std::string& authority_id) {
  CAPSTAN_RETURN_IF_ERROR(CheckMaySign());
  CAPSTAN_ASSIGN_OR_RETURN(trust::AuthorityId id, trust::AuthorityId::Parse(authority_id));
  {
    absl::MutexLock lock(&publishing_);
    if (std::find(probing_.accepted.begin(), probing_.accepted.end(), id) ==
        probing_.accepted.end()) {
      return absl::FailedPreconditionError(
          absl::StrCat("authority ", id.hex(), " is not probed now; those that are: ",
                       probing_.empty() ? "none" : Names(probing_.accepted)));
    }
  }
  CAPSTAN_ASSIGN_OR_RETURN(x509::Csr csr, x509::Csr::Parse(csr_pem));
  CAPSTAN_ASSIGN_OR_RETURN(std::shared_ptr<issuance::Issuer> issuer, keeper_.IssuerFor(id));
  CAPSTAN_ASSIGN_OR_RETURN(issuance::Plan plan,
                           issuance::PlanProbe(options_.trust_domain, options_.keeper.policy,
                                               issuer->authority(), clock_.Now()));
  CAPSTAN_ASSIGN_OR_RETURN(issuance::Issued issued, issuer->Sign(plan, csr, random_));
  std::vector<std::string> chain = {issued.leaf.ToPem()};
  for (const x509::Certificate& link : issuer->authority().intermediates) {
    chain.push_back(link.ToPem());
  }
  log::Debug("issued a probe certificate",
             {{"for", whom}, {"authority", id.hex()}, {"serial", issued.leaf.serial().ToHex()}});
  return chain;
}

}  // namespace capstan::server
