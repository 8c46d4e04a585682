// SPDX-License-Identifier: Apache-2.0
// A control plane for tests: a real CA and real verification, state in memory, and stricter than
// the real one about the order in which it is called (a breach fails the test that runs).
#pragma once

#include <gtest/gtest.h>

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
      update_ = std::move(update);
      subscribers = subscribers_;
    }
    for (const auto& [id, changed] : subscribers) {
      changed();
    }
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

  absl::StatusOr<IssueResponse> Issue(const authn::Caller& caller,
                                      const IssueRequest& request) override {
    CAPSTAN_ASSIGN_OR_RETURN(x509::Csr csr, x509::Csr::Parse(request.csr));
    LeafSpec spec = Valid(caller.id.ToString());
    std::lock_guard lock(mutex_);
    if (request.ttl > absl::ZeroDuration()) {
      spec.not_after = clock_.Now() + request.ttl;
    }
    issued_.push_back(request);
    return IssueResponse{.chain = {issuer_->Sign(spec, csr.public_key()).ToPem(),
                                   issuer_->issuer().ToPem(), trust_->bundle.ToPem()}};
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

 private:
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
  mutable std::condition_variable changed_;  // streams_
  const TestCa* issuer_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const trust::TrustState> trust_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const fleet::v1::TrustUpdate> update_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const ServingCertificate> serving_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> tokens_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, Stream> streams_ ABSL_GUARDED_BY(mutex_);
  std::vector<IssueRequest> issued_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, std::function<void()>> subscribers_ ABSL_GUARDED_BY(mutex_);
  int64_t last_subscriber_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t serving_generation_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace capstan::rpc::testing
