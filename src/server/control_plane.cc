// SPDX-License-Identifier: Apache-2.0
#include "server/control_plane.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "authn/token.h"
#include "base/log.h"
#include "base/retry_after.h"
#include "base/status.h"
#include "base/version.h"
#include "rpc/fields.h"
#include "server/join_tokens.h"
#include "server/messages.h"
#include "server/observe.h"
#include "server/population.h"

namespace capstan::server {
namespace {

// Tokens and leaves that expired are kept a little, for clocks that are behind and for questions.
constexpr absl::Duration kKeepExpired = absl::Hours(1);
constexpr absl::Duration kKeepUnconfirmed = absl::Hours(24 * 30);

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
      pacing_(options_.issue_per_second, clock, metrics),
      timer_(options_.timer, metrics),
      population_(store, background),
      history_(store),
      fleet_(options_.fleet_limits),
      listen_address_(options_.listen_address),
      advertise_address_(options_.advertise_address),
      housekeeping_(background),
      keeper_(options_.keeper, store, std::move(keys), *this, clock, random,
              [this] { Changed(); }) {}

ControlPlane::~ControlPlane() = default;

absl::Status ControlPlane::Start() {
  // First: what the keeper publishes plans the re-issue of those who are known.
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<store::PopulationRecord> records, store_.LoadPopulation());
  RestorePopulation(records);
  CAPSTAN_RETURN_IF_ERROR(keeper_.Start());
  // Not before: a gate that sees nobody is open.
  CAPSTAN_RETURN_IF_ERROR(keeper_.Advance());
  background_.Post([this] { Housekeep(); });
  return absl::OkStatus();
}

void ControlPlane::RestorePopulation(const std::vector<store::PopulationRecord>& records) {
  absl::MutexLock lock(&mutex_);
  for (const store::PopulationRecord& record : records) {
    fleet_.Restore(KeyOf(record.spiffe_id, record.instance, record.serial), PurposeOf(record),
                   LeafOf(record), record.consumers, record.last_seen);
  }
}

// Runs on the thread that changed something, after every publication of the keeper.
void ControlPlane::Changed() {
  {
    absl::MutexLock lock(&publishing_);
    PublishUpdate();
  }
  // Not from here: the keeper is in the middle of its step.
  background_.Post([this] { RefreshProbing(); });
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

void ControlPlane::PublishUpdate() {
  const std::shared_ptr<const Issuers> issuers = keeper_.issuers();
  if (issuers == nullptr) return;
  const trust::TrustState& trust = issuers->trust;
  Plans plans;
  {
    absl::MutexLock lock(&mutex_);
    plans = pacing_.PlansFor(*issuers, fleet_.workloads());
  }
  auto next = std::make_shared<Updates>();
  next->everybody = std::make_shared<const fleet::v1::TrustUpdate>(
      UpdateOf(trust, plans.everybody, trust.issuer, probing_));
  if (issuers->canary.has_value()) {
    next->canary = issuers->canary->canary;
    next->for_canary = std::make_shared<const fleet::v1::TrustUpdate>(
        UpdateOf(trust, plans.canary, issuers->canary->authority, probing_));
  }
  updates_.Set(std::move(next));
  PublishStockRoots(trust);
}

std::shared_ptr<const fleet::v1::TrustUpdate> ControlPlane::update() const {
  const std::shared_ptr<const Updates> updates = updates_.Get();
  return updates == nullptr ? nullptr : updates->everybody;
}

std::shared_ptr<const fleet::v1::TrustUpdate> ControlPlane::UpdateFor(
    const spiffe::SpiffeId& id) const {
  const std::shared_ptr<const Updates> updates = updates_.Get();
  if (updates == nullptr) return nullptr;
  const bool selected = updates->canary.has_value() && updates->canary->Selects(id.ToString());
  return selected ? updates->for_canary : updates->everybody;
}

// What is tried follows from what is and what is wanted; time alone can end it, too.
void ControlPlane::RefreshProbing() {
  rotation::Probing next;
  if (const auto desired = keeper_.desired(); desired.has_value() && !desired->applied()) {
    const auto situation = keeper_.situation();
    const auto wish = keeper_.wish();
    if (situation.has_value() && wish.has_value()) {
      next = rotation::ProbingOf(*situation, *wish, clock_.Now());
    }
  }
  {
    absl::MutexLock lock(&publishing_);
    if (probing_ == next) return;
    probing_ = next;
    PublishUpdate();
  }
  log::Info(next.empty() ? "agents stop probing" : "agents probe their consumers",
            {{"accepted", Names(next.accepted)}, {"refused", Names(next.refused)}});
  subscribers_.Notify();
}

rotation::Observation ControlPlane::Observe(const rotation::Gate& gate, absl::Time now) {
  rotation::Observation seen;
  {
    absl::MutexLock lock(&mutex_);
    if (gate.kind != rotation::GateKind::kNone) {
      fleet_.Measure(TargetOf(gate), now);
      const fleet::Tally& tally = fleet_.TallyAt(now);
      seen = ObservationOf(tally, gate);
      TellFirst(fleet_, tally, seen);
    }
    seen.anybody = !fleet_.workloads().empty();
    seen.clock_offset = fleet_.ClockOffset(now);
  }
  if (!seen.clock_offset.has_value() && clock_witness_) {
    seen.clock_offset = clock_witness_();
    seen.clock_witness = "the API server's clock";
  }
  for (cluster::BootstrapPlaces* places : places_) {
    for (rotation::Holder& holder : places->Lacking(gate, clock_.Monotonic())) {
      seen.holders.push_back(std::move(holder));
    }
  }
  if (!gate.AsksForFirstTrust()) return seen;
  absl::StatusOr<std::vector<store::TokenRecord>> open = store_.OpenTokens(now);
  if (!open.ok()) {
    // Nobody knows how many there are: that is no open gate.
    seen.holders.push_back(
        {rotation::Holder::Kind::kUnrecorded, "state",
         absl::StrCat("the join tokens cannot be read from the state: ", open.status().message())});
    return seen;
  }
  for (rotation::Holder& holder : JoinFileHolders(*open, gate)) {
    seen.holders.push_back(std::move(holder));
  }
  return seen;
}

std::map<std::string, rotation::Baseline> ControlPlane::Baselines(absl::Time now) {
  absl::MutexLock lock(&mutex_);
  return BaselinesOf(fleet_, now);
}

// A look at the gate costs as much as there are holders, and while they are many, none of their
// reports opens it.
void ControlPlane::AdvanceSoon() {
  if (advancing_.exchange(true)) return;
  const absl::Duration gather =
      std::clamp(absl::Microseconds(500) * static_cast<int64_t>(fleet_.lacking()),
                 absl::Milliseconds(50), absl::Milliseconds(1000));
  background_.After(gather, [this] {
    advancing_ = false;
    if (absl::Status advanced = keeper_.Advance(); !advanced.ok()) {
      log::Warn("the rotation does not go on", {{"why", advanced.message()}});
    }
  });
}

absl::StatusOr<Outcome> ControlPlane::Offer(const trust::CaSet& set, const Offered& offered) {
  absl::StatusOr<Outcome> outcome = keeper_.Offer(set, offered);
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
      {{"source", SourceName()},
       {"effect", has_ca() ? "none: the last good CA keeps signing" : "there is no CA yet"}});
}

void ControlPlane::SourceIncomplete(const absl::Status& why) {
  if (!NoteSource(why)) return;
  log::Warn(absl::StrCat("waiting for the CA source: ", why.message()),
            {{"source", SourceName()},
             {"effect", has_ca() ? "none: the last good CA keeps signing" : "there is no CA yet"}});
}

void ControlPlane::SourceFine() {
  absl::MutexLock lock(&mutex_);
  metrics_.SourceState(true);
  if (source_error_.empty()) return;
  source_error_.clear();
  log::Info("the CA source is fine again", {{"source", SourceName()}});
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

absl::StatusOr<authn::Caller> ControlPlane::Judge(const authn::Credentials& shown) {
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
}

// Counts and tells of who was not.
absl::StatusOr<authn::Caller> ControlPlane::Believed(absl::StatusOr<authn::Caller> caller,
                                                     const authn::Credentials& shown) {
  if (!caller.ok()) {
    metrics_.AuthenticationFailed();
    log::Warn("a caller was not believed",
              {{"peer", shown.peer}, {"why", caller.status().message()}});
  }
  return caller;
}

absl::StatusOr<authn::Caller> ControlPlane::Authenticate(const authn::Credentials& shown) {
  return Believed(Judge(shown), shown);
}

absl::StatusOr<authn::Caller> ControlPlane::AuthenticateForCredential(
    const authn::Credentials& shown) {
  absl::StatusOr<authn::Caller> caller = Judge(shown);
  if (absl::IsUnauthenticated(caller.status()) && !shown.peer_chain.empty() &&
      options_.rejoin_grace > absl::ZeroDuration()) {
    auto trust = keeper_.trust();
    absl::StatusOr<authn::Caller> lapsed = authn::AuthenticateLapsedCertificate(
        shown.peer_chain, trust->bundle, Terms(), options_.trust_domain, clock_.Now(), trust->crls);
    if (!lapsed.ok()) {
      lapsed = absl::UnauthenticatedError(absl::StrCat(
          caller.status().message(), "; nor may it rejoin: ", lapsed.status().message()));
    }
    caller = std::move(lapsed);
  }
  return Believed(std::move(caller), shown);
}

void ControlPlane::AuthenticateForCertificate(const authn::Credentials& shown, bool for_agent,
                                              const Judged& judged) {
  if (options_.service_accounts == nullptr || !shown.bearer.has_value() ||
      authn::HasTokenPrefix(*shown.bearer) || keeper_.trust() == nullptr) {
    judged(for_agent ? AuthenticateForCredential(shown) : Authenticate(shown));
    return;
  }
  absl::Status certificate;
  if (!shown.peer_chain.empty()) {
    absl::StatusOr<authn::Caller> certified = Judge(shown);
    certificate = certified.status();
    if (!absl::IsUnauthenticated(certificate)) {
      judged(Believed(std::move(certified), shown));
      return;
    }
  }
  options_.service_accounts->Authenticate(
      shown, [this, certificate, judged](absl::StatusOr<authn::Caller> caller) {
        if (absl::IsUnauthenticated(caller.status())) {
          metrics_.AuthenticationFailed();
          if (!certificate.ok()) {
            caller = absl::UnauthenticatedError(
                absl::StrCat(caller.status().message(),
                             "; nor is the certificate beside it good: ", certificate.message()));
          }
        }
        judged(std::move(caller));
      });
}

void ControlPlane::Impersonate(const authn::Caller& caller, const std::string& identity,
                               const Judged& judged) {
  if (options_.node_proxies != nullptr) {
    return options_.node_proxies->Impersonate(caller, identity, judged);
  }
  judged(absl::UnauthenticatedError(
      "a caller obtains its own identity only: no trusted-node-accounts are set here"));
}

authn::RejoinTerms ControlPlane::Terms() const {
  authn::RejoinTerms terms{options_.rejoin_grace, {}, {}};
  const std::optional<rotation::Situation> situation = keeper_.situation();
  if (!situation.has_value()) return terms;
  for (const auto& [id, standing] : situation->authorities) {
    if (standing.state == trust::AuthorityState::kRevoked) {
      terms.revoked.push_back(id);
    } else {
      terms.known.push_back(standing.authority);
    }
  }
  return terms;
}

// A lapsed certificate gets its own successor: the agent's credential of an instance that is on
// record, and that nobody speaks for.
absl::Status ControlPlane::CheckRejoin(const authn::Caller& caller,
                                       const rpc::IssueRequest& request) const {
  if (!request.for_agent) {
    return absl::PermissionDeniedError(
        "a lapsed certificate is good for renewing the agent's own credential only");
  }
  absl::MutexLock lock(&mutex_);
  const fleet::Workload* known = fleet_.Find(KeyOf(caller, request.instance));
  if (request.instance.empty() || known == nullptr || known->credential.empty()) {
    return absl::PermissionDeniedError(
        absl::StrCat("no instance \"", request.instance, "\" of ", caller.id.ToString(),
                     " is on record: a lapsed certificate is renewed for its own instance only"));
  }
  if (known->generation != 0) {
    return absl::PermissionDeniedError(absl::StrCat("instance \"", request.instance, "\" of ",
                                                    caller.id.ToString(),
                                                    " is connected with a newer certificate"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ControlPlane::TrustHistory(
    const trust::BundleVersion& held) {
  auto trust = keeper_.trust();
  if (trust == nullptr) return NoCa();
  return history_.After(held, trust->version);
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
  return TakeReport(KeyOf(caller, instance), generation, ReportOf(report));
}

absl::Status ControlPlane::TakeReport(const fleet::Key& key, int64_t generation,
                                      fleet::Report report) {
  store::PopulationRecord record;
  {
    absl::MutexLock lock(&mutex_);
    const fleet::Workload* before = fleet_.Find(key);
    const std::vector<std::string> consumers =
        before == nullptr ? std::vector<std::string>() : before->known_consumers;
    CAPSTAN_RETURN_IF_ERROR(fleet_.Fold(key, generation, std::move(report), clock_.Now()));
    AdvanceSoon();
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
              workload.known_consumers,
              workload.leaf.told};
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
  if (!reload_) return absl::FailedPreconditionError("no CA is followed (--cacerts)");
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
                                         trust->version.sequence, random_, clock_.Now()));
  control::v1::CreateTokenResponse response;
  response.set_token(std::string(made.token.Reveal()));
  rpc::SetTime(made.expires, response.mutable_expires());
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
  rpc::SetTime(now, status.mutable_time());
  *status.mutable_rotation_timer() = timer_.Message();
  std::map<std::string, int64_t> leaves;
  {
    absl::MutexLock lock(&mutex_);
    leaves = fleet_.UnexpiredLeaves(now);
    status.set_connected_agents(fleet_.connected());
    status.set_population(fleet_.Population(now));
    status.set_listen_address(listen_address_);
    if (!source_error_.empty()) {
      status.mutable_source()->set_error(source_error_);
      rpc::SetTime(source_error_since_, status.mutable_source()->mutable_error_since());
    }
    status.set_issuance_error(issuance_error_);
    if (!istiod_.address().empty()) *status.mutable_istiod() = istiod_;
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
      rpc::SetTime(desired->applied_at, status.mutable_source()->mutable_last_applied());
  }
  if (options_.source) status.mutable_source()->set_path(options_.source->name());
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
  const std::shared_ptr<const Issuers> issuers = keeper_.issuers();
  if (issuers == nullptr) return response;
  const trust::BundleVersion& version = issuers->trust.version;
  *response.mutable_bundle_version() = MessageOf(version);
  const absl::Time now = clock_.Now();
  absl::MutexLock lock(&mutex_);
  for (const auto& [key, workload] : fleet_.workloads()) {
    *response.add_workloads() =
        WorkloadMessage(key, workload, {version, issuers->For(key.spiffe_id).hex()}, now);
  }
  return response;
}

// On the background executor: what time itself changes.
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
  RunRotationTimer();
  if (pacing_.DropPlansOfTheFuture()) Changed();
  RefreshProbing();
  UpdateMetrics();
  housekeeping_.Set(options_.housekeep_every, [this] { Housekeep(); });
}

absl::Status ControlPlane::ForgetTheExpired() {
  if (clock_.Monotonic() < forget_at_) return absl::OkStatus();
  forget_at_ = clock_.Monotonic() + options_.survey_every();
  // By a clock that nobody confirms, whoever is forgotten may still be out there.
  const absl::Time now = clock_.Now();
  const bool sure = rotation::ClockDoubt(Observe({}, now), options_.keeper.rotation).empty();
  CAPSTAN_RETURN_IF_ERROR(store_.ForgetTokens(now - kKeepExpired).status());
  // Who may still rejoin is remembered until then.
  const absl::Time before =
      now - std::max(sure ? kKeepExpired : kKeepUnconfirmed, options_.rejoin_grace);
  {
    absl::MutexLock lock(&mutex_);
    fleet_.Forget(before);
  }
  return store_.ForgetPopulation(before).status();
}

}  // namespace capstan::server
