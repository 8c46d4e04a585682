// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/directive.h"
#include "base/log.h"
#include "base/status.h"
#include "base/version.h"
#include "x509/verify.h"

namespace capstan::agent {
namespace {

constexpr absl::Duration kBeat = absl::Seconds(2);

std::string Utc(absl::Time t) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", t, absl::UTCTimeZone());
}

bool RootRemoved(const trust::Bundle& before, const trust::Bundle& after) {
  return !after.Includes(before);
}

}  // namespace

Agent::Agent(Options options, StartingPoint start, Environment environment)
    : options_(std::move(options)),
      membership_(std::move(start.membership)),
      env_(std::move(environment)),
      trust_(std::move(start.trust)),
      credential_(std::move(start.credential)),
      stored_leaf_(std::move(start.credential_leaf)),
      token_(std::move(start.token)),
      lapsed_(std::move(start.lapsed)),
      ca_(env_.executor, options_.instance),
      stream_(env_.executor, env_.clock,
              {.instance = options_.instance, .program_version = kVersion},
              {.held = [this] { return ToProto(trust_.version); },
               .report = [this] { return MakeReport(); },
               .update = [this](const fleet::v1::TrustUpdate& update) { OnUpdate(update); },
               .connected = [this] { OnStreamConnected(); },
               .ended = [this](const absl::Status& status,
                               absl::Duration retry_in) { OnStreamEnded(status, retry_in); }}),
      catch_up_(env_.executor, env_.clock,
                {.address = membership_.address,
                 .spiffe_id = membership_.spiffe_id,
                 .instance = options_.instance},
                {.held = [this]() -> const lifecycle::Trust& { return trust_; },
                 .take =
                     [this](lifecycle::Trust next) {
                       trust_error_.clear();
                       TakeTrust(std::move(next));
                     },
                 .broken =
                     [this](const std::string& why) {
                       trust_error_ = why;
                       Changed();
                     }}),
      credential_enrolment_(membership_.spiffe_id, options_.credential_ttl,
                            [this] { return NewCredentialKey(); }),
      workload_enrolment_(membership_.spiffe_id, options_.ttl,
                          [this] { return x509::PrivateKey::Generate(options_.key_type); }),
      credential_driver_({.name = "credential",
                          .purpose = lifecycle::Purpose::kCredential,
                          .id = membership_.spiffe_id,
                          .instance = options_.instance,
                          .ttl = options_.credential_ttl,
                          .policy = options_.policy},
                         PortsFor("credential", credential_enrolment_,
                                  [this](const lifecycle::Leaf& leaf) { OnCredential(leaf); })),
      workload_driver_({.name = "workload certificate",
                        .purpose = lifecycle::Purpose::kWorkload,
                        .id = membership_.spiffe_id,
                        .instance = options_.instance,
                        .ttl = options_.ttl,
                        .policy = options_.policy},
                       PortsFor("workload", workload_enrolment_,
                                [this](const lifecycle::Leaf& leaf) { OnWorkload(leaf); })),
      beat_(env_.executor) {
  if (options_.read_failed_verifications != nullptr && env_.blocking != nullptr) {
    handshakes_.emplace(HandshakeWatch::Ports{.executor = env_.executor,
                                              .blocking = *env_.blocking,
                                              .read = options_.read_failed_verifications,
                                              .changed = [this] { stream_.ReportSoon(); }});
  }
  if (options_.probes.empty() || env_.blocking == nullptr) return;
  prober_.emplace(probe::Prober::Options{.seed = options_.instance,
                                         .trust_domain = membership_.spiffe_id.trust_domain(),
                                         .targets = options_.probes,
                                         .policy = options_.probe_policy},
                  probe::Prober::Ports{
                      .executor = env_.executor,
                      .blocking = *env_.blocking,
                      .clock = env_.clock,
                      .obtain = [this](const auto& request,
                                       auto done) { ca_.CreateProbeCertificate(request, done); },
                      .handshake = x509::Handshake,
                      .changed = [this] { stream_.ReportSoon(); }});
}

Agent::~Agent() = default;

lifecycle::Driver::Ports Agent::PortsFor(const std::string& name, lifecycle::Enrolment& enrolment,
                                         std::function<void(const lifecycle::Leaf&)> serve) {
  return {.executor = env_.executor,
          .clock = env_.clock,
          .ca = ca_,
          .enrolment = enrolment,
          .serve = std::move(serve),
          .changed = [this] { Changed(); },
          .attempted =
              [this, name](const std::string& result) {
                env_.metrics
                    .Counter("capstan_agent_certificate_requests_total",
                             "Requests for a certificate, by what became of them",
                             {{"certificate", name}, {"result", result}})
                    .Increment();
                if (result != "issued" && !stream_.connected()) catch_up_.Ask();
                if (name == "credential") OnCredentialAttempt(result);
              }};
}

absl::Status Agent::Start() {
  CAPSTAN_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, NewChannel());
  log::Info("starting", {{"spiffe_id", membership_.spiffe_id.ToString()},
                         {"instance", options_.instance},
                         {"control_plane", membership_.address},
                         {"bundle", trust_.version.ToString()},
                         {"roots", trust_.bundle.roots().size()},
                         {"why", !lapsed_.empty() ? lapsed_
                                 : credential_    ? "with the credential of the state directory"
                                                  : "enrolling with a join token"}});
  SaveAll();
  ca_.UseChannel(channel);
  ca_.UseToken(token_);
  Publish();
  Beat();
  if (handshakes_) handshakes_->Start();
  credential_driver_.Start(stored_leaf_, trust_.bundle);
  catch_up_.Ask();
  // A lapsed one is good for its successor only; the rest follows with that.
  if (credential_ && lapsed_.empty()) {
    stream_.Connect(channel);
    StartWorkload();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Agent::NewChannel() const {
  rpc::ChannelOptions options{.address = membership_.address,
                              .server_id = membership_.server_id,
                              .bundle = trust_.bundle,
                              .credential = std::nullopt};
  if (credential_ && !token_) {
    options.credential = {x509::ToPem(credential_->chain), credential_->key.ToPkcs8Pem()};
  }
  return rpc::MakeChannel(options, env_.clock);
}

absl::StatusOr<x509::PrivateKey> Agent::NewCredentialKey() {
  // A request that was on its way when the agent ended may have used up the token: the same key
  // gets the certificate that was made for it.
  if (token_) {
    auto pending = env_.state.LoadPendingKey();
    if (pending.ok() && pending->has_value()) return **pending;
    if (!pending.ok())
      log::Warn("a key that cannot be read is replaced", {{"why", pending.status().message()}});
  }
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey key,
                           x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256));
  Keep("credential key", env_.state.SavePendingKey(key));
  return key;
}

void Agent::OnCredentialAttempt(const std::string& result) {
  refused_ = result == "refused" && !token_;
  if (result == "refused" && token_ && credential_) FallBackToCredential();
}

void Agent::FallBackToCredential() {
  log::Warn("the join token was refused: trying the credential that lapsed", {{"lapsed", lapsed_}});
  token_.reset();
  ca_.UseToken(std::nullopt);
  if (auto channel = NewChannel(); channel.ok()) ca_.UseChannel(*std::move(channel));
}

void Agent::OnCredential(const lifecycle::Leaf& leaf) {
  const lifecycle::Certified& certified = *credential_enrolment_.accepted();
  credential_ = Credential{certified.key, certified.answer.chain};
  lapsed_.clear();
  Keep("credential", env_.state.Save(*credential_));
  token_.reset();
  ca_.UseToken(std::nullopt);
  log::Info("a new credential", {{"serial", leaf.serial},
                                 {"authority", leaf.authority.hex()},
                                 {"not_after", Utc(leaf.not_after)}});
  auto channel = NewChannel();
  if (!channel.ok()) {
    log::Error("no channel with the new credential", {{"why", channel.status().message()}});
    return;
  }
  ca_.UseChannel(*channel);
  stream_.Connect(*std::move(channel));  // the old one ends with the old certificate
  StartWorkload();
  ReplaceDisowned();
}

void Agent::StartWorkload() {
  if (!workload_driver_.started()) workload_driver_.Start(std::nullopt, trust_.bundle);
}

void Agent::OnWorkload(const lifecycle::Leaf& leaf) {
  log::Info("serving a new certificate", {{"serial", leaf.serial},
                                          {"authority", leaf.authority.hex()},
                                          {"not_before", Utc(leaf.not_before)},
                                          {"not_after", Utc(leaf.not_after)}});
  Publish();
}

void Agent::Publish() {
  auto material = std::make_shared<sds::Material>(sds::Material{.id = membership_.spiffe_id,
                                                                .bundle_version = trust_.version,
                                                                .roots_pem = trust_.bundle.ToPem(),
                                                                .crls_pem = trust_.crls_pem});
  if (const auto& workload = workload_enrolment_.accepted()) {
    material->chain_pem = x509::ToPem(workload->answer.chain);
    material->key_pem = workload->key.ToPkcs8Pem();
    material->leaf_serial = workload->answer.leaf.serial;
  }
  for (Delivery* delivery : env_.deliveries) delivery->Publish(material);
  {
    absl::MutexLock lock(&mutex_);
    health_.trust_published = true;
  }
  TellProber();
  Changed();
}

void Agent::TellProber() {
  if (!prober_) return;
  std::set<probe::ProbedConsumer> connected;
  for (Delivery* delivery : env_.deliveries) {
    for (const sds::ConsumerReport& consumer : delivery->Consumers()) {
      if (!consumer.connected) continue;
      connected.insert(
          {consumer.id, consumer.acknowledged_bundle, consumer.acknowledged_leaf_serial});
    }
  }
  prober_->OnTrust(trust_.bundle, trust_.version);
  prober_->OnConsumers(std::move(connected));
}

void Agent::OnUpdate(const fleet::v1::TrustUpdate& update) {
  absl::StatusOr<lifecycle::Trust> next = lifecycle::AcceptTrust(
      trust_,
      {.version = {update.bundle().version().lineage(), update.bundle().version().sequence()},
       .roots_pem = update.bundle().roots_pem(),
       .crl_number = update.crls().number(),
       .crls_pem = update.crls().pem()});
  if (!next.ok()) {
    env_.metrics
        .Counter("capstan_agent_refused_trust_updates_total",
                 "Trust updates that were refused; the last good trust is kept")
        .Increment();
    log::Error("the control plane's trust is REFUSED, the last good one is kept",
               {{"held", trust_.version.ToString()}, {"why", next.status().message()}});
    trust_error_ = std::string(next.status().message());
    Changed();
    return;
  }
  trust_error_.clear();
  if (*next != trust_) TakeTrust(*std::move(next));
  TakeDirective(update);
  TakeProbing(update);
}

void Agent::TakeTrust(lifecycle::Trust next) {
  const bool removed = RootRemoved(trust_.bundle, next.bundle);
  const bool roots_changed = trust_.bundle != next.bundle;
  log::Info("new trust bundle", {{"from", trust_.version.ToString()},
                                 {"to", next.version.ToString()},
                                 {"roots", next.bundle.roots().size()},
                                 {"crl_number", next.crl_number},
                                 {"why", removed         ? "a root was removed"
                                         : roots_changed ? "a root was added"
                                                         : "the same roots"}});
  trust_ = std::move(next);
  KeepTrust();
  Publish();
  if (roots_changed) {
    auto channel = NewChannel();
    if (channel.ok()) {
      ca_.UseChannel(*channel);
      UseForStream(*std::move(channel), removed);
    }
  }
  credential_driver_.OnBundle(trust_.bundle);
  workload_driver_.OnBundle(trust_.bundle);
  if (removed) ReplaceDisowned();
}

void Agent::UseForStream(std::shared_ptr<grpc::Channel> channel, bool removed) {
  if (!credential_ || !lapsed_.empty()) return;  // there is none before there is a good credential
  // What the stream's server showed was verified by the roots of then. Nobody has to shake hands
  // again, least of all everybody at once, unless a root left that it needs.
  const bool stays = !removed || rpc::CheckServer(stream_.ServerChain(), membership_.server_id,
                                                  trust_.bundle, env_.clock.Now())
                                     .ok();
  stays ? stream_.UseNext(std::move(channel)) : stream_.Connect(std::move(channel));
}

void Agent::ReplaceDisowned() {
  const auto disowned = [&](const std::vector<x509::Certificate>& chain) {
    // Whether it expired meanwhile is another question.
    const absl::Time at = std::min(env_.clock.Now(), chain.front().not_after() - absl::Seconds(1));
    return !x509::VerifySvid(chain, trust_.bundle.roots(), at).status.ok();
  };
  if (credential_ && disowned(credential_->chain)) {
    credential_driver_.OnDisowned();
  } else if (const auto& workload = workload_enrolment_.accepted();
             workload && disowned(workload->answer.chain)) {
    workload_driver_.OnDisowned();
  }
}

void Agent::TakeDirective(const fleet::v1::TrustUpdate& update) {
  const absl::StatusOr<std::optional<lifecycle::Directive>> directive = DirectiveOf(update);
  if (!directive.ok()) {
    log::Error("a directive to re-issue is ignored", {{"why", directive.status().message()}});
    return;
  }
  credential_driver_.OnDirective(*directive);
  workload_driver_.OnDirective(*directive);
}

void Agent::TakeProbing(const fleet::v1::TrustUpdate& update) {
  if (!prober_) return;
  auto probing = probe::ProbingOf(update.probing());
  if (!probing.ok()) {
    log::Error("what is to be probed is ignored", {{"why", probing.status().message()}});
    return;
  }
  prober_->OnProbing(*probing);
}

void Agent::OnStreamConnected() {
  log::Info("the trust stream is open", {{"control_plane", membership_.address}});
  stream_error_.clear();
  catch_up_.Fine();
  credential_driver_.OnReachable();
  workload_driver_.OnReachable();
  Changed();
}

void Agent::OnStreamEnded(const absl::Status& status, absl::Duration retry_in) {
  const std::string why =
      absl::StrCat(absl::StatusCodeToString(status.code()), ": ", Std(status.message()));
  log::Warn("the trust stream ended; what is served stays",
            {{"why", why},
             {"retry_in", absl::FormatDuration(absl::Trunc(retry_in, absl::Milliseconds(1)))}});
  stream_error_ = absl::StrCat("no trust stream: ", why);
  if (absl::IsUnavailable(status) || absl::IsUnauthenticated(status)) catch_up_.Ask();
  Changed();
}

void Agent::OnConsumersChanged() {
  TellProber();
  stream_.ReportSoon();
}

void Agent::Keep(const std::string& what, const absl::Status& written) {
  if (written.ok()) {
    if (!std::exchange(state_error_, "").empty()) {
      log::Info("the state directory can be written again", {{"what", what}});
    }
    return;
  }
  env_.metrics
      .Counter("capstan_agent_state_write_failures_total",
               "Writes to the state directory that failed; the agent goes on from memory")
      .Increment();
  const std::string error = absl::StrCat("the ", what, " is not on disk: ", Std(written.message()));
  if (std::exchange(state_error_, error) == error) return;  // said already
  log::Error(
      "the state directory cannot be written: the agent goes on from memory and tries again, but a "
      "restart would find the state of before",
      {{"what", what}, {"why", written.message()}});
}

void Agent::KeepTrust() {
  const absl::Status saved = env_.state.Save(trust_);
  if (saved.ok()) durable_ = trust_.version;
  Keep("trust bundle", saved);
}

void Agent::SaveAll() {
  Keep("membership", env_.state.Save(membership_));
  if (state_error_.empty()) KeepTrust();
  if (state_error_.empty() && credential_) Keep("credential", env_.state.Save(*credential_));
}

std::string Agent::LastError() const {
  for (const std::string* error : {&trust_error_, &credential_driver_.last_failure(),
                                   &workload_driver_.last_failure(), &state_error_}) {
    if (!error->empty()) return *error;
  }
  return "";
}

fleet::v1::Report Agent::MakeReport() const {
  Standing standing{.leaf = workload_driver_.held(),
                    .credential = credential_driver_.held(),
                    .bundle = durable_,
                    .last_error = LastError()};
  for (Delivery* delivery : env_.deliveries) {
    for (sds::ConsumerReport& consumer : delivery->Consumers()) {
      standing.consumers.emplace_back(delivery->kind(), std::move(consumer));
    }
  }
  if (prober_) standing.probes = prober_->results();
  if (handshakes_) standing.failed_verifications = handshakes_->failed();
  return ToReport(standing, env_.clock.Now());
}

std::string Agent::Lapse() const {
  if (!credential_) return "";
  if (!lapsed_.empty()) return lapsed_;
  const absl::Time end = credential_->chain.front().not_after();
  return end <= env_.clock.Now() ? absl::StrCat("it expired at ", Utc(end)) : "";
}

void Agent::SayIfLockedOut() {
  const std::string lapse = Lapse();
  const bool locked_out = !lapse.empty() && refused_;
  if (std::exchange(locked_out_, locked_out) || !locked_out) return;
  log::Error(
      "the credential has lapsed, and the control plane did not renew it",
      {{"lapsed", lapse},
       {"why", credential_driver_.last_failure()},
       {"what_to_do", absl::StrCat("this goes on trying, and succeeds within the control plane's "
                                   "rejoin-grace; beyond it, ",
                                   HowToJoin(membership_.spiffe_id.ToString()))}});
}

void Agent::Changed() {
  SayIfLockedOut();
  const auto expiry = [this](const char* certificate, const std::optional<lifecycle::Leaf>& leaf) {
    if (!leaf) return;
    env_.metrics
        .Gauge("capstan_agent_certificate_expiry_timestamp_seconds",
               "NotAfter of the certificate that is held", {{"certificate", certificate}})
        .Set(absl::ToDoubleSeconds(leaf->not_after - absl::UnixEpoch()));
  };
  expiry("workload", workload_driver_.held());
  expiry("credential", credential_driver_.held());
  env_.metrics.Gauge("capstan_agent_bundle_sequence", "Sequence of the trust bundle that is served")
      .Set(static_cast<double>(trust_.version.sequence));
  env_.metrics.Gauge("capstan_agent_stream_connected", "1 while the trust stream is open")
      .Set(stream_.connected() ? 1 : 0);
  {
    absl::MutexLock lock(&mutex_);
    health_.leaf_expiry.reset();
    if (workload_driver_.held()) health_.leaf_expiry = workload_driver_.held()->not_after;
    health_.stream_connected = stream_.connected();
    health_.last_error = LastError().empty() ? stream_error_ : LastError();
  }
  stream_.ReportSoon();
}

void Agent::Beat() {
  {
    absl::MutexLock lock(&mutex_);
    health_.beat = env_.clock.Monotonic();
  }
  if (!state_error_.empty()) {
    SaveAll();
    if (state_error_.empty()) Changed();
  }
  beat_.Set(kBeat, [this] { Beat(); });
}

Agent::Health Agent::health() const {
  absl::MutexLock lock(&mutex_);
  return health_;
}

}  // namespace capstan::agent
