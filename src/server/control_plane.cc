// SPDX-License-Identifier: Apache-2.0
#include "server/control_plane.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "authn/certificate.h"
#include "base/log.h"
#include "base/status.h"
#include "base/version.h"
#include "server/join_tokens.h"
#include "server/messages.h"
#include "x509/seal.h"

namespace capstan::server {
namespace {

constexpr absl::Duration kHousekeepEvery = absl::Seconds(1);
constexpr absl::Duration kForgetEvery = absl::Minutes(1);
// Tokens and leaves that expired are kept a little, for clocks that are behind and for questions.
constexpr absl::Duration kKeepExpired = absl::Hours(1);

constexpr char kWorkload[] = "workload";
constexpr char kAgent[] = "agent";

fleet::Key KeyOf(const std::string& spiffe_id, const std::string& instance,
                 const std::string& serial) {
  return {spiffe_id, instance, instance.empty() ? serial : ""};
}

fleet::Key KeyOf(const authn::Caller& caller, const std::string& instance) {
  return KeyOf(caller.id.ToString(), instance, "");
}

fleet::Leaf LeafOf(const store::PopulationRecord& record) {
  return {record.serial, record.authority, record.not_before, record.not_after};
}

fleet::Fleet::Purpose PurposeOf(const store::PopulationRecord& record) {
  return record.purpose == kAgent ? fleet::Fleet::Purpose::kAgent
                                  : fleet::Fleet::Purpose::kWorkload;
}

std::string KeyHash(const x509::Csr& csr) {
  return x509::Sha256(csr.public_key().spki_der());
}

absl::Status NoCa() {
  return absl::FailedPreconditionError(
      "there is no CA yet: the control plane waits for its CA directory");
}

}  // namespace

ControlPlane::ControlPlane(ControlPlaneOptions options, store::Store& store,
                           keystore::SealedKeys keys, Clock& clock, Random& random,
                           Executor& background, Metrics& metrics)
    : options_(std::move(options)),
      store_(store),
      clock_(clock),
      random_(random),
      background_(background),
      metrics_(metrics),
      population_(store, background),
      fleet_(options_.fleet_limits),
      listen_address_(options_.listen_address),
      advertise_address_(options_.advertise_address),
      housekeeping_(background),
      keeper_(options_.keeper, store, std::move(keys), clock, random, [this] { Changed(); }) {}

ControlPlane::~ControlPlane() = default;

absl::Status ControlPlane::Start() {
  CAPSTAN_RETURN_IF_ERROR(keeper_.Start());
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<store::PopulationRecord> records, store_.LoadPopulation());
  RestorePopulation(records);
  background_.Post([this] { Housekeep(); });
  return absl::OkStatus();
}

void ControlPlane::RestorePopulation(const std::vector<store::PopulationRecord>& records) {
  absl::MutexLock lock(&mutex_);
  for (const store::PopulationRecord& record : records) {
    fleet_.Restore(KeyOf(record.spiffe_id, record.instance, record.serial), PurposeOf(record),
                   LeafOf(record), record.consumers, record.last_seen);
  }
  fleet_.Forget(clock_.Now());
}

// Runs on the thread that changed something, after every publication of the keeper.
void ControlPlane::Changed() {
  if (auto trust = keeper_.trust()) {
    update_.Set(std::make_shared<const fleet::v1::TrustUpdate>(UpdateOf(*trust)));
  }
  if (auto serving = keeper_.serving()) {
    auto present = serving_.Get();
    std::string chain = serving->leaf.ToPem() + x509::ToPem(serving->authority.intermediates);
    if (present == nullptr || present->chain_pem != chain) {
      auto next = std::make_shared<rpc::ServingCertificate>();
      next->chain_pem = std::move(chain);
      next->key_pem = serving->key.ToPkcs8Pem();
      next->generation = present == nullptr ? 1 : present->generation + 1;
      serving_.Set(std::move(next));
    }
  }
  subscribers_.Notify();
}

absl::StatusOr<Outcome> ControlPlane::Offer(const trust::CaSet& set, const std::string& source) {
  absl::StatusOr<Outcome> outcome = keeper_.Offer(set, source);
  if (!outcome.ok()) {
    SourceFailed(outcome.status());
    return outcome;
  }
  if (outcome->changed) metrics_.Reloaded(true);
  SourceFine();
  return outcome;
}

// False: the same was said before.
bool ControlPlane::NoteSource(const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  metrics_.SourceState(false);
  if (source_error_ == Std(why.message())) return false;
  if (source_error_.empty()) source_error_since_ = clock_.Now();
  source_error_ = std::string(why.message());
  return true;
}

void ControlPlane::SourceFailed(const absl::Status& why) {
  if (!NoteSource(why)) return;
  metrics_.Reloaded(false);
  log::Error(
      absl::StrCat("Failed to update new Plug-in CA certs: ", why.message()),
      {{"source", options_.cacerts},
       {"effect", has_ca() ? "none: the last good CA keeps signing" : "there is no CA yet"}});
}

void ControlPlane::SourceIncomplete(const absl::Status& why) {
  if (!NoteSource(why)) return;
  log::Warn(absl::StrCat("waiting for the CA directory: ", why.message()),
            {{"source", options_.cacerts},
             {"effect", has_ca() ? "none: the last good CA keeps signing" : "there is no CA yet"}});
}

void ControlPlane::SourceFine() {
  absl::MutexLock lock(&mutex_);
  metrics_.SourceState(true);
  if (source_error_.empty()) return;
  source_error_.clear();
  log::Info("the CA source is fine again", {{"source", options_.cacerts}});
}

trust::ParseOptions ControlPlane::parse_options() const {
  trust::ParseOptions options;
  options.probe_id = options_.keeper.serving_names.id.ToString();
  options.known_cas = keeper_.KnownCas();
  return options;
}

void ControlPlane::set_addresses(std::string listen, std::string advertise) {
  absl::MutexLock lock(&mutex_);
  listen_address_ = std::move(listen);
  advertise_address_ = std::move(advertise);
}

absl::StatusOr<authn::Caller> ControlPlane::Authenticate(const authn::Credentials& shown) {
  absl::StatusOr<authn::Caller> caller = [&]() -> absl::StatusOr<authn::Caller> {
    const absl::Time now = clock_.Now();
    auto trust = keeper_.trust();
    if (trust == nullptr) return NoCa();
    if (shown.peer_chain_malformed) {
      return absl::UnauthenticatedError("the client certificate that was shown does not parse");
    }
    if (!shown.peer_chain.empty()) {
      return authn::AuthenticateCertificate(shown.peer_chain, trust->bundle, options_.trust_domain,
                                            now, trust->crls);
    }
    if (shown.bearer.has_value()) return AuthenticateToken(store_, *shown.bearer, now);
    return absl::UnauthenticatedError("neither a client certificate nor a join token was shown");
  }();
  if (!caller.ok()) {
    metrics_.AuthenticationFailed();
    log::Warn("a caller was not believed",
              {{"peer", shown.peer}, {"why", caller.status().message()}});
  }
  return caller;
}

absl::StatusOr<rpc::IssueResponse> ControlPlane::Issue(const authn::Caller& caller,
                                                       const rpc::IssueRequest& request) {
  metrics_.Requested();
  absl::StatusOr<rpc::IssueResponse> response = [&]() -> absl::StatusOr<rpc::IssueResponse> {
    const absl::Time now = clock_.Now();
    CAPSTAN_RETURN_IF_ERROR(CheckWorkloadId(caller.id, options_.trust_domain));
    CAPSTAN_ASSIGN_OR_RETURN(x509::Csr csr, x509::Csr::Parse(request.csr));
    if (caller.proof == authn::Caller::Proof::kJoinToken)
      return IssueForToken(caller, request, csr, now);
    CAPSTAN_ASSIGN_OR_RETURN(Signed made, SignFor(caller, request, csr, now));
    store::PopulationRecord record = RecordFor(caller, request, made.issued, now);
    CAPSTAN_RETURN_IF_ERROR(RememberIssued(record));
    population_.Put(std::move(record));
    return rpc::IssueResponse{std::move(made.chain)};
  }();
  if (response.ok()) {
    metrics_.Issued();
  } else {
    metrics_.Refused(response.status());
    log::Warn("a certificate was refused", {{"spiffe_id", caller.id.ToString()},
                                            {"instance", request.instance},
                                            {"why", response.status().message()}});
  }
  return response;
}

absl::StatusOr<ControlPlane::Signed> ControlPlane::SignFor(const authn::Caller& caller,
                                                           const rpc::IssueRequest& request,
                                                           const x509::Csr& csr, absl::Time now) {
  auto signing = keeper_.signing();
  if (signing == nullptr) return NoCa();
  {
    absl::MutexLock lock(&mutex_);
    CAPSTAN_RETURN_IF_ERROR(fleet_.CheckRoom(KeyOf(caller.id.ToString(), request.instance, "new")));
  }
  CAPSTAN_ASSIGN_OR_RETURN(issuance::Plan plan,
                           issuance::PlanLeaf(caller.id, request.ttl, options_.keeper.policy,
                                              signing->issuer->authority(), now));
  CAPSTAN_RETURN_IF_ERROR(signing->reservation->Cover(plan.not_after, now));
  CAPSTAN_ASSIGN_OR_RETURN(issuance::Issued issued, signing->issuer->Sign(plan, csr, random_));
  std::vector<std::string> chain = {issued.leaf.ToPem()};
  chain.insert(chain.end(), signing->chain_pem.begin(), signing->chain_pem.end());
  log::Debug("issued", {{"spiffe_id", caller.id.ToString()},
                        {"instance", request.instance},
                        {"purpose", request.for_agent ? kAgent : kWorkload},
                        {"serial", issued.leaf.serial().ToHex()},
                        {"authority", issued.authority.hex()},
                        {"not_after", absl::FormatTime(plan.not_after, absl::UTCTimeZone())}});
  return Signed{std::move(issued), std::move(chain)};
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
  store::PopulationRecord record = RecordFor(caller, request, made.issued, now);
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
                                                const issuance::Issued& issued,
                                                absl::Time now) const {
  store::PopulationRecord record;
  record.spiffe_id = caller.id.ToString();
  record.instance = request.instance;
  record.purpose = request.for_agent ? kAgent : kWorkload;
  record.serial = issued.leaf.serial().ToHex();
  record.authority = issued.authority.hex();
  record.not_before = issued.leaf.not_before();
  record.not_after = issued.leaf.not_after();
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
  return fleet_.Issued(KeyOf(record.spiffe_id, record.instance, record.serial), PurposeOf(record),
                       LeafOf(record), record.last_seen);
}

absl::StatusOr<int64_t> ControlPlane::Connected(const authn::Caller& caller,
                                                const fleet::v1::Hello& hello) {
  if (caller.proof != authn::Caller::Proof::kCertificate) {
    return absl::UnauthenticatedError(
        "a trust stream needs a certificate; a join token is not enough");
  }
  if (hello.instance().empty()) return absl::InvalidArgumentError("the Hello names no instance");
  absl::MutexLock lock(&mutex_);
  CAPSTAN_ASSIGN_OR_RETURN(int64_t generation,
                           fleet_.Connect(KeyOf(caller, hello.instance()), clock_.Now()));
  log::Info("agent connected", {{"spiffe_id", caller.id.ToString()},
                                {"instance", hello.instance()},
                                {"version", hello.version()},
                                {"bundle", hello.bundle().sequence()}});
  return generation;
}

absl::Status ControlPlane::Reported(const authn::Caller& caller, const std::string& instance,
                                    int64_t generation, const fleet::v1::Report& report) {
  const fleet::Key key = KeyOf(caller, instance);
  store::PopulationRecord record;
  {
    absl::MutexLock lock(&mutex_);
    const fleet::Workload* before = fleet_.Find(key);
    const std::vector<std::string> consumers =
        before == nullptr ? std::vector<std::string>() : before->known_consumers;
    CAPSTAN_RETURN_IF_ERROR(fleet_.Fold(key, generation, ReportOf(report), clock_.Now()));
    const fleet::Workload& workload = *fleet_.Find(key);
    // The record follows who its consumers are; what each one acknowledged is asked again after a
    // restart.
    if (workload.leaf.empty() || workload.known_consumers == consumers) return absl::OkStatus();
    record = {key.spiffe_id,
              key.instance,
              kWorkload,
              workload.leaf.serial,
              workload.leaf.authority,
              workload.leaf.not_before,
              workload.leaf.not_after,
              workload.last_seen,
              workload.known_consumers};
  }
  population_.Put(std::move(record));
  return absl::OkStatus();
}

void ControlPlane::Disconnected(const authn::Caller& caller, const std::string& instance,
                                int64_t generation) {
  absl::MutexLock lock(&mutex_);
  fleet_.Disconnect(KeyOf(caller, instance), generation, clock_.Now());
  log::Info("agent disconnected", {{"spiffe_id", caller.id.ToString()}, {"instance", instance}});
}

std::shared_ptr<void> ControlPlane::Subscribe(std::function<void()> changed) {
  return subscribers_.Add(std::move(changed));
}

absl::StatusOr<control::v1::ReloadResponse> ControlPlane::Reload() {
  if (!reload_) return absl::FailedPreconditionError("no CA directory is followed (--cacerts)");
  CAPSTAN_ASSIGN_OR_RETURN(Outcome outcome, reload_());
  control::v1::ReloadResponse response;
  response.set_changed(outcome.changed);
  for (std::string& step : outcome.steps) response.add_steps(std::move(step));
  for (std::string& warning : outcome.warnings) response.add_warnings(std::move(warning));
  return response;
}

absl::StatusOr<control::v1::CreateTokenResponse> ControlPlane::CreateToken(
    const control::v1::CreateTokenRequest& request) {
  auto trust = keeper_.trust();
  if (trust == nullptr) return NoCa();
  const absl::Duration ttl =
      absl::Seconds(request.ttl().seconds()) + absl::Nanoseconds(request.ttl().nanos());
  CAPSTAN_ASSIGN_OR_RETURN(NewJoinToken made,
                           MakeJoinToken(store_, options_.trust_domain, request.spiffe_id(), ttl,
                                         random_, clock_.Now()));
  control::v1::CreateTokenResponse response;
  response.set_token(std::string(made.token.Reveal()));
  SetTime(made.expires, response.mutable_expires());
  response.set_roots_pem(trust->bundle.ToPem());
  *response.mutable_bundle_version() = MessageOf(trust->version);
  response.set_server_spiffe_id(options_.keeper.serving_names.id.ToString());
  {
    absl::MutexLock lock(&mutex_);
    response.set_listen_address(advertise_address_);
  }
  log::Info("a join token was made",
            {{"spiffe_id", request.spiffe_id()},
             {"expires", absl::FormatTime(made.expires, absl::UTCTimeZone())}});
  return response;
}

control::v1::Status ControlPlane::GetStatus() {
  const absl::Time now = clock_.Now();
  control::v1::Status status;
  status.set_version(kVersion);
  status.set_trust_domain(options_.trust_domain.name());
  SetTime(now, status.mutable_time());
  std::map<std::string, int64_t> leaves;
  {
    absl::MutexLock lock(&mutex_);
    leaves = fleet_.UnexpiredLeaves(now);
    status.set_connected_agents(fleet_.connected());
    status.set_population(fleet_.Population(now));
    status.set_listen_address(listen_address_);
    if (!source_error_.empty()) {
      status.mutable_source()->set_error(source_error_);
      SetTime(source_error_since_, status.mutable_source()->mutable_error_since());
    }
  }
  if (auto situation = keeper_.situation()) {
    *status.mutable_bundle_version() = MessageOf(situation->trust.version);
    for (const x509::Certificate& root : situation->trust.bundle.roots()) {
      *status.add_roots() = RootMessage(root);
    }
    status.set_issuer_epoch(situation->trust.issuer_epoch);
    status.set_crl_number(situation->trust.crl_number);
    for (const auto& [id, standing] : situation->authorities) {
      *status.add_authorities() = AuthorityMessage(standing, leaves[id.hex()]);
    }
  }
  if (auto desired = keeper_.desired()) {
    status.mutable_source()->set_kind(desired->source);
    status.mutable_source()->set_applied_digest(desired->applied() ? desired->digest : "");
    if (desired->applied())
      SetTime(desired->applied_at, status.mutable_source()->mutable_last_applied());
  }
  if (!options_.cacerts.empty()) status.mutable_source()->set_path(options_.cacerts);
  if (auto serving = keeper_.serving()) {
    *status.mutable_serving_certificate() =
        MessageOf(fleet::Leaf{serving->leaf.serial().ToHex(), serving->authority.id.hex(),
                              serving->leaf.not_before(), serving->leaf.not_after()});
    status.set_serving_root_fingerprint(serving->authority.root.FingerprintHex());
  }
  return status;
}

control::v1::ListFleetResponse ControlPlane::ListFleet() {
  control::v1::ListFleetResponse response;
  auto trust = keeper_.trust();
  if (trust == nullptr) return response;
  *response.mutable_bundle_version() = MessageOf(trust->version);
  const fleet::Current current{trust->version, trust->issuer.hex()};
  const absl::Time now = clock_.Now();
  absl::MutexLock lock(&mutex_);
  for (const auto& [key, workload] : fleet_.workloads()) {
    *response.add_workloads() = WorkloadMessage(key, workload, current, now);
  }
  return response;
}

// Every second, on the background executor: what time itself changes.
void ControlPlane::Housekeep() {
  absl::Status trouble = keeper_.Maintain();
  if (absl::Status forgotten = ForgetTheExpired(); trouble.ok()) trouble = forgotten;
  {
    absl::MutexLock lock(&mutex_);
    if (maintenance_error_ != Std(trouble.message())) {
      maintenance_error_ = std::string(trouble.message());
      if (!trouble.ok()) {
        log::Error("maintenance failed; trying again", {{"why", trouble.message()}});
      } else {
        log::Info("maintenance works again");
      }
    }
  }
  metrics_.StoreState(trouble.ok());
  UpdateMetrics();
  housekeeping_.Set(kHousekeepEvery, [this] { Housekeep(); });
}

// Once a minute: each is a look through the whole population.
absl::Status ControlPlane::ForgetTheExpired() {
  if (clock_.Monotonic() < forget_at_) return absl::OkStatus();
  forget_at_ = clock_.Monotonic() + kForgetEvery;
  const absl::Time before = clock_.Now() - kKeepExpired;
  {
    absl::MutexLock lock(&mutex_);
    fleet_.Forget(before);
  }
  CAPSTAN_RETURN_IF_ERROR(store_.ForgetTokens(before).status());
  return store_.ForgetPopulation(before).status();
}

void ControlPlane::UpdateMetrics() {
  const absl::Time now = clock_.Now();
  auto situation = keeper_.situation();
  auto serving = keeper_.serving();
  if (situation.has_value() && serving != nullptr) {
    metrics_.Trust(*situation, serving->leaf.not_after(), now);
  }
  absl::MutexLock lock(&mutex_);
  metrics_.Fleet(fleet_.connected(), fleet_.Population(now), population_.waiting());
}

}  // namespace capstan::server
