// SPDX-License-Identifier: Apache-2.0
// A control plane for tests: a real CA and real verification, state in memory, and stricter than
// the real one about the order in which it is called (a breach fails the test that runs).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "authn/certificate.h"
#include "authn/test_pki.h"
#include "authn/token.h"
#include "base/clock.h"
#include "base/retry_after.h"
#include "base/status.h"
#include "rpc/control_plane.h"

namespace capstan::rpc::testing {

using authn::testing::Leaf;
using authn::testing::LeafSpec;
using authn::testing::Must;
using authn::testing::TestCa;

// A wall clock that a test may step while servers read it.
class TestClock final : public Clock {
 public:
  explicit TestClock(absl::Time now) : nanos_(absl::ToUnixNanos(now)) {}
  absl::Time Now() override { return absl::FromUnixNanos(nanos_.load()); }
  absl::Duration Monotonic() override { return RealClock().Monotonic(); }
  void Advance(absl::Duration d) { nanos_ += absl::ToInt64Nanoseconds(d); }

 private:
  std::atomic<int64_t> nanos_;
};

class FakeControlPlane : public ControlPlane {
 public:
  struct Stream {
    std::string id;
    std::string instance;
    bool connected = true;
    std::vector<fleet::v1::Report> reports;
  };

  FakeControlPlane(Clock& clock, const TestCa& ca)
      : clock_(clock), domain_(Must(spiffe::TrustDomain::Parse("cluster.local"))), issuer_(&ca) {
    Serve(ca);
    SetTrust(ca.bundle());
  }
  ~FakeControlPlane() override {
    std::lock_guard lock(mutex_);
    for (const auto& [generation, stream] : streams_) {
      EXPECT_FALSE(stream.connected) << "stream " << generation << " was never disconnected";
    }
  }

  LeafSpec Valid(const std::string& uri = "spiffe://cluster.local/ns/default/sa/sleep") const {
    return {.uris = {uri},
            .not_before = clock_.Now() - absl::Minutes(2),
            .not_after = clock_.Now() + absl::Hours(1)};
  }

  // Serves a new certificate of `ca` from now on.
  void Serve(const TestCa& ca) {
    LeafSpec spec = Valid(spiffe::SpiffeId::ForControlPlane(domain_).ToString());
    spec.dns = {"istiod.istio-system.svc", "localhost"};
    spec.ips = {"127.0.0.1"};
    const Leaf leaf = ca.Issue(spec);
    auto serving = std::make_shared<ServingCertificate>();
    serving->chain_pem = x509::ToPem(leaf.chain);
    serving->key_pem = leaf.key.ToPkcs8Pem();
    std::lock_guard lock(mutex_);
    serving->generation = ++serving_generation_;
    serving_ = std::move(serving);
    issuer_ = &ca;
  }

  // From the next SetTrust() on, streams of this identity are sent the sequence and this.
  static constexpr int64_t kApart = 1000;
  void TellApart(const std::string& spiffe_id) {
    std::lock_guard lock(mutex_);
    apart_ = spiffe_id;
  }

  // The next version of the trust bundle, told to subscribers.
  void SetTrust(const trust::Bundle& bundle, std::string padding = "") {
    std::map<int64_t, std::function<void()>> subscribers;
    {
      std::lock_guard lock(mutex_);
      auto state = std::make_shared<trust::TrustState>(trust::TrustState{
          .version = {.lineage = "7d7ad3a1-1111-4222-8333-123456789abc", .sequence = ++sequence_},
          .bundle = bundle,
          .issuer = trust::AuthorityId::Of(issuer_->issuer())});
      auto update = std::make_shared<fleet::v1::TrustUpdate>();
      update->mutable_bundle()->mutable_version()->set_lineage(state->version.lineage);
      update->mutable_bundle()->mutable_version()->set_sequence(sequence_);
      update->mutable_bundle()->set_roots_pem(bundle.ToPem());
      update->mutable_crls()->set_pem(std::move(padding));
      trust_ = std::move(state);
      apart_update_ = nullptr;
      if (!apart_.empty()) {
        auto apart = std::make_shared<fleet::v1::TrustUpdate>(*update);
        apart->mutable_bundle()->mutable_version()->set_sequence(kApart + sequence_);
        apart_update_ = std::move(apart);
      }
      update_ = std::move(update);
      subscribers = subscribers_;
    }
    for (const auto& [id, changed] : subscribers) {
      changed();
    }
  }
  // The next request is told to come back after that.
  void PutOffOnce(absl::Duration after) {
    std::lock_guard lock(mutex_);
    put_off_.push_back(after);
  }
  int64_t sequence() const {
    std::lock_guard lock(mutex_);
    return sequence_;
  }

  Secret AddToken(const std::string& id) {
    Secret token = authn::NewToken(SystemRandom());
    std::lock_guard lock(mutex_);
    tokens_.emplace(authn::HashToken(token), id);
    return token;
  }

  // What TrustHistory() gives out: the links to versions 2, 3, and so on.
  void SetHistory(std::vector<std::string> documents) {
    std::lock_guard lock(mutex_);
    history_ = std::move(documents);
  }
  // For how long after their end certificates are renewed.
  void SetRejoin(authn::RejoinTerms terms) {
    std::lock_guard lock(mutex_);
    rejoin_ = std::move(terms);
  }

  std::map<int64_t, Stream> streams() const {
    std::lock_guard lock(mutex_);
    return streams_;
  }
  std::vector<IssueRequest> issued() const {
    std::lock_guard lock(mutex_);
    return issued_;
  }
  // Waits for `condition` over the streams, at most ten seconds.
  bool AwaitStreams(std::function<bool(const std::map<int64_t, Stream>&)> condition) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return condition(streams_); });
  }

  std::shared_ptr<const trust::TrustState> trust() const override {
    std::lock_guard lock(mutex_);
    return trust_;
  }
  std::shared_ptr<const ServingCertificate> serving() const override {
    std::lock_guard lock(mutex_);
    return serving_;
  }

  absl::StatusOr<authn::Caller> Authenticate(const authn::Credentials& shown) override {
    if (shown.peer_chain_malformed) {
      return absl::UnauthenticatedError("the client certificate cannot be read");
    }
    if (!shown.peer_chain.empty()) {
      return authn::AuthenticateCertificate(shown.peer_chain, trust()->bundle, domain_,
                                            clock_.Now());
    }
    if (!shown.bearer.has_value()) {
      return absl::UnauthenticatedError("neither a client certificate nor a token was shown");
    }
    std::lock_guard lock(mutex_);
    auto found = tokens_.find(authn::HashToken(*shown.bearer));
    if (found == tokens_.end()) {
      return absl::UnauthenticatedError("the join token is unknown, used or expired");
    }
    return authn::Caller{.id = Must(spiffe::SpiffeId::Parse(found->second)),
                         .proof = authn::Caller::Proof::kJoinToken,
                         .token_hash = found->first};
  }

  absl::StatusOr<authn::Caller> AuthenticateForCredential(
      const authn::Credentials& shown) override {
    absl::StatusOr<authn::Caller> caller = Authenticate(shown);
    if (caller.ok() || shown.peer_chain.empty()) return caller;
    const trust::Bundle bundle = trust()->bundle;
    std::lock_guard lock(mutex_);
    return authn::AuthenticateLapsedCertificate(shown.peer_chain, bundle, rejoin_, domain_,
                                                clock_.Now());
  }

  // From now on, whoever asks for a certificate with a token waits for AnswerHeld().
  void HoldTokens() {
    std::lock_guard lock(mutex_);
    hold_ = true;
  }
  bool AwaitHeld(size_t count) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return held_.size() >= count; });
  }
  // What those who wait showed; they are answered, on this thread.
  std::vector<authn::Credentials> AnswerHeld(const absl::StatusOr<authn::Caller>& caller) {
    std::vector<std::pair<authn::Credentials, Judged>> held;
    {
      std::lock_guard lock(mutex_);
      held.swap(held_);
    }
    std::vector<authn::Credentials> shown;
    for (auto& [credentials, judged] : held) {
      judged(caller);
      shown.push_back(std::move(credentials));
    }
    return shown;
  }
  void AuthenticateForCertificate(const authn::Credentials& shown, bool for_agent,
                                  const Judged& judged) override {
    {
      std::lock_guard lock(mutex_);
      if (hold_ && shown.bearer.has_value()) {
        held_.emplace_back(shown, judged);
        changed_.notify_all();
        return;
      }
    }
    ControlPlane::AuthenticateForCertificate(shown, for_agent, judged);
  }

  // As whom a caller with a token may ask, beside itself.
  void AllowImpersonation(const std::string& identity) {
    std::lock_guard lock(mutex_);
    impersonable_ = identity;
  }
  void Impersonate(const authn::Caller& caller, const std::string& identity,
                   const Judged& judged) override {
    authn::Caller as = caller;
    bool may = false;
    {
      std::lock_guard lock(mutex_);
      may = caller.proof == authn::Caller::Proof::kServiceAccount && identity == impersonable_;
    }
    if (!may) return judged(absl::UnauthenticatedError("no such pod runs on its node"));
    as.id = Must(spiffe::SpiffeId::Parse(identity));
    as.node_proxy = caller.id.ToString();
    judged(as);
  }

  absl::StatusOr<std::vector<std::string>> TrustHistory(const trust::BundleVersion& held) override {
    std::lock_guard lock(mutex_);
    const auto known = std::min(history_.size(), static_cast<size_t>(held.sequence - 1));
    return std::vector<std::string>(history_.begin() + static_cast<ptrdiff_t>(known),
                                    history_.end());
  }

  absl::StatusOr<IssueResponse> Issue(const authn::Caller& caller,
                                      const IssueRequest& request) override {
    if (caller.proof == authn::Caller::Proof::kLapsedCertificate) {
      EXPECT_TRUE(request.for_agent) << "a lapsed certificate is good for its successor only";
    }
    CAPSTAN_ASSIGN_OR_RETURN(x509::Csr csr, x509::Csr::Parse(request.csr));
    LeafSpec spec = Valid(caller.id.ToString());
    std::lock_guard lock(mutex_);
    if (!put_off_.empty()) {
      const absl::Duration after = put_off_.back();
      put_off_.pop_back();
      return WithRetryAfter(absl::ResourceExhaustedError("others come first"), after);
    }
    if (request.ttl > absl::ZeroDuration()) {
      spec.not_after = clock_.Now() + request.ttl;
    }
    issued_.push_back(request);
    return IssueResponse{.chain = {issuer_->Sign(spec, csr.public_key()).ToPem(),
                                   issuer_->issuer().ToPem(), trust_->bundle.ToPem()}};
  }

  // Authorities that probe certificates are made of; the update's Probing is the test's to push.
  void AllowProbes(std::vector<const TestCa*> cas) {
    std::lock_guard lock(mutex_);
    probed_ = std::move(cas);
  }
  absl::StatusOr<std::vector<std::string>> IssueProbe(const authn::Caller& caller,
                                                      const std::string& csr_pem,
                                                      const std::string& authority_id) override {
    EXPECT_EQ(caller.proof, authn::Caller::Proof::kCertificate);
    CAPSTAN_ASSIGN_OR_RETURN(x509::Csr csr, x509::Csr::Parse(csr_pem));
    LeafSpec spec = Valid(spiffe::SpiffeId::ForProbe(domain_).ToString());
    spec.extended_key_usage = {"clientAuth"};
    spec.not_after = clock_.Now() + absl::Minutes(5);
    std::lock_guard lock(mutex_);
    for (const TestCa* ca : probed_) {
      if (trust::AuthorityId::Of(ca->issuer()).hex() != authority_id) continue;
      return std::vector<std::string>{ca->Sign(spec, csr.public_key()).ToPem(),
                                      ca->issuer().ToPem()};
    }
    return absl::FailedPreconditionError("authority " + authority_id + " is not probed now");
  }

  absl::StatusOr<int64_t> StockConnected(const authn::Caller& caller,
                                         const std::string& instance) override {
    std::lock_guard lock(mutex_);
    stock_[instance] = {};
    return static_cast<int64_t>(stock_.size());
  }
  absl::Status StockReported(const authn::Caller& caller, const std::string& instance, int64_t,
                             const StockReport& report) override {
    std::lock_guard lock(mutex_);
    stock_[instance].push_back(report);
    return absl::OkStatus();
  }
  std::shared_ptr<const pcds::Resource> stock_roots() const override {
    const auto trust = this->trust();
    std::lock_guard lock(mutex_);
    if (stock_roots_ == nullptr || !(stock_roots_->bundle == trust->version) ||
        stock_roots_->issuer_epoch != trust->issuer_epoch) {
      stock_roots_ = std::make_shared<const pcds::Resource>(pcds::ResourceOf(*trust));
    }
    return stock_roots_;
  }
  double issue_budget() const override { return issue_budget_.load(); }
  void set_issue_budget(double budget) { issue_budget_ = budget; }
  std::map<std::string, std::vector<StockReport>> stock() const {
    std::lock_guard lock(mutex_);
    return stock_;
  }

  absl::StatusOr<int64_t> Connected(const authn::Caller& caller,
                                    const fleet::v1::Hello& hello) override {
    EXPECT_EQ(caller.proof, authn::Caller::Proof::kCertificate);
    std::lock_guard lock(mutex_);
    streams_[++generation_] = Stream{caller.id.ToString(), hello.instance()};
    changed_.notify_all();
    return generation_;
  }
  absl::Status Reported(const authn::Caller& caller, const std::string& instance,
                        int64_t generation, const fleet::v1::Report& report) override {
    std::lock_guard lock(mutex_);
    Stream& stream = At(caller, instance, generation);
    EXPECT_TRUE(stream.connected) << "a report after the stream was disconnected";
    stream.reports.push_back(report);
    changed_.notify_all();
    return report.last_error() == "about another identity"
               ? absl::PermissionDeniedError("a report about another identity")
               : absl::OkStatus();
  }
  void Disconnected(const authn::Caller& caller, const std::string& instance,
                    int64_t generation) override {
    std::lock_guard lock(mutex_);
    Stream& stream = At(caller, instance, generation);
    EXPECT_TRUE(stream.connected) << "disconnected twice";
    stream.connected = false;
    changed_.notify_all();
  }

  std::shared_ptr<const fleet::v1::TrustUpdate> update() const override {
    std::lock_guard lock(mutex_);
    return update_;
  }
  std::shared_ptr<const fleet::v1::TrustUpdate> UpdateFor(
      const spiffe::SpiffeId& id) const override {
    {
      std::lock_guard lock(mutex_);
      if (apart_update_ != nullptr && id.ToString() == apart_) return apart_update_;
    }
    return update();
  }
  std::shared_ptr<void> Subscribe(std::function<void()> changed) override {
    std::lock_guard lock(mutex_);
    const int64_t id = ++last_subscriber_;
    subscribers_.emplace(id, std::move(changed));
    return std::shared_ptr<void>(static_cast<void*>(this), [this, id](void*) {
      std::lock_guard lock(mutex_);
      subscribers_.erase(id);
    });
  }

  control::v1::Status GetStatus() override {
    control::v1::Status status;
    status.set_trust_domain(domain_.name());
    status.mutable_bundle_version()->set_sequence(sequence());
    return status;
  }
  control::v1::ListFleetResponse ListFleet() override {
    control::v1::ListFleetResponse fleet;
    for (const auto& [generation, stream] : streams()) {
      control::v1::Workload& workload = *fleet.add_workloads();
      workload.set_spiffe_id(stream.id);
      workload.set_connected(stream.connected);
    }
    return fleet;
  }
  absl::StatusOr<control::v1::ReloadResponse> Reload() override {
    return absl::FailedPreconditionError("ca-key.pem: is not the key of ca-cert.pem");
  }
  absl::StatusOr<control::v1::CreateTokenResponse> CreateToken(
      const control::v1::CreateTokenRequest& request) override {
    if (!spiffe::SpiffeId::Parse(request.spiffe_id()).ok()) {
      return absl::InvalidArgumentError("not a SPIFFE ID");
    }
    control::v1::CreateTokenResponse response;
    response.set_token(std::string(AddToken(request.spiffe_id()).Reveal()));
    return response;
  }

  // What GetRotation() and the rest answer from now on.
  void SetRotation(const control::v1::Rotation& rotation) {
    std::lock_guard lock(mutex_);
    rotation_ = rotation;
  }
  void SetPlan(const control::v1::RotationPlan& plan) {
    std::lock_guard lock(mutex_);
    plan_ = plan;
  }
  // What was asked of StartRotation() and SteerRotation(), in order.
  std::vector<control::v1::StartRotationRequest> starts() const {
    std::lock_guard lock(mutex_);
    return starts_;
  }
  std::vector<control::v1::SteerRotationRequest> steers() const {
    std::lock_guard lock(mutex_);
    return steers_;
  }

  absl::StatusOr<control::v1::Rotation> GetRotation() override {
    std::lock_guard lock(mutex_);
    return rotation_;
  }
  absl::StatusOr<control::v1::RotationPlan> PlanRotation(
      const control::v1::StartRotationRequest& request) override {
    CAPSTAN_RETURN_IF_ERROR(CheckStart(request));
    std::lock_guard lock(mutex_);
    return plan_;
  }
  absl::StatusOr<control::v1::Rotation> StartRotation(
      const control::v1::StartRotationRequest& request) override {
    CAPSTAN_RETURN_IF_ERROR(CheckStart(request));
    std::lock_guard lock(mutex_);
    if (rotation_.state() == "running" || rotation_.state() == "paused") {
      return absl::FailedPreconditionError(
          absl::StrCat("rotation ", rotation_.number(), " is under way"));
    }
    starts_.push_back(request);
    const int64_t number = rotation_.number() + 1;
    rotation_.Clear();
    rotation_.set_number(number);
    rotation_.set_state("running");
    rotation_.set_phase("root-a");
    rotation_.set_emergency(request.emergency());
    return rotation_;
  }
  absl::StatusOr<control::v1::Rotation> SteerRotation(
      const control::v1::SteerRotationRequest& request) override {
    using Steer = control::v1::SteerRotationRequest;
    std::lock_guard lock(mutex_);
    if (rotation_.state() != "running" && rotation_.state() != "paused") {
      return absl::FailedPreconditionError("no rotation is under way");
    }
    if (request.action() == Steer::ACTION_UNSPECIFIED) {
      return absl::InvalidArgumentError("no action");
    }
    if (request.action() == Steer::EXCLUDE &&
        (request.name().empty() || request.reason().empty())) {
      return absl::InvalidArgumentError("exclude needs a name and a reason");
    }
    steers_.push_back(request);
    const std::map<int, std::string> states = {{Steer::PAUSE, "paused"},
                                               {Steer::RESUME, "running"},
                                               {Steer::ROLLBACK, "rolled-back"},
                                               {Steer::ABORT, "aborted"}};
    if (auto found = states.find(request.action()); found != states.end()) {
      rotation_.set_state(found->second);
    } else {
      control::v1::Exemption& exemption = *rotation_.add_exempt();
      exemption.set_name(request.name());
      exemption.set_why(absl::StrCat("excluded by the operator: ", request.reason()));
    }
    return rotation_;
  }
  absl::StatusOr<control::v1::ListRotationsResponse> ListRotations() override {
    std::lock_guard lock(mutex_);
    control::v1::ListRotationsResponse response;
    if (rotation_.number() != 0) *response.add_rotations() = rotation_;
    return response;
  }

 private:
  static absl::Status CheckStart(const control::v1::StartRotationRequest& request) {
    if (request.generate() + !request.ca_files().empty() + request.from_upstream() != 1) {
      return absl::InvalidArgumentError("one of ca_files and generate is needed");
    }
    return absl::OkStatus();
  }

  Stream& At(const authn::Caller& caller, const std::string& instance, int64_t generation)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Stream& stream = streams_[generation];
    EXPECT_EQ(stream.id, caller.id.ToString());
    EXPECT_EQ(stream.instance, instance);
    return stream;
  }

  Clock& clock_;
  const spiffe::TrustDomain domain_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;  // streams_, held_
  const TestCa* issuer_ ABSL_GUARDED_BY(mutex_);
  std::vector<const TestCa*> probed_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const trust::TrustState> trust_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const fleet::v1::TrustUpdate> update_ ABSL_GUARDED_BY(mutex_);
  std::string apart_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const fleet::v1::TrustUpdate> apart_update_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const ServingCertificate> serving_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> tokens_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, Stream> streams_ ABSL_GUARDED_BY(mutex_);
  std::vector<IssueRequest> issued_ ABSL_GUARDED_BY(mutex_);
  bool hold_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::pair<authn::Credentials, Judged>> held_ ABSL_GUARDED_BY(mutex_);
  std::string impersonable_ ABSL_GUARDED_BY(mutex_);
  std::vector<absl::Duration> put_off_ ABSL_GUARDED_BY(mutex_);
  control::v1::Rotation rotation_ ABSL_GUARDED_BY(mutex_);
  control::v1::RotationPlan plan_ ABSL_GUARDED_BY(mutex_);
  std::vector<control::v1::StartRotationRequest> starts_ ABSL_GUARDED_BY(mutex_);
  std::vector<control::v1::SteerRotationRequest> steers_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> history_ ABSL_GUARDED_BY(mutex_);
  authn::RejoinTerms rejoin_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, std::function<void()>> subscribers_ ABSL_GUARDED_BY(mutex_);
  int64_t last_subscriber_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t serving_generation_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, std::vector<StockReport>> stock_ ABSL_GUARDED_BY(mutex_);
  mutable std::shared_ptr<const pcds::Resource> stock_roots_ ABSL_GUARDED_BY(mutex_);
  std::atomic<double> issue_budget_{0};
};

}  // namespace capstan::rpc::testing
