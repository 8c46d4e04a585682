// SPDX-License-Identifier: Apache-2.0
// A control plane on loopback that lies when told to, and agents against it. For tests.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/agent.h"
#include "authn/join_file.h"
#include "base/event_loop.h"
#include "base/status.h"
#include "rpc/fake_control_plane.h"
#include "rpc/server.h"
#include "x509/csr.h"

namespace capstan::agent::testing {

using authn::testing::LeafSpec;
using authn::testing::Must;
using authn::testing::TestCa;

inline constexpr char kId[] = "spiffe://cluster.local/ns/default/sa/httpbin";
inline constexpr char kLineage[] = "7d7ad3a1-1111-4222-8333-123456789abc";  // of FakeControlPlane

// rpc's fake, whose tokens are good for one certificate, and whose answers and updates a test may
// forge.
class Plane final : public rpc::testing::FakeControlPlane {
 public:
  using Forge = std::function<std::vector<std::string>(const x509::PublicKey& key)>;

  Plane(Clock& clock, const TestCa& ca) : FakeControlPlane(clock, ca) {}

  // Answers for workloads from now on; nullptr: honest ones.
  void ForgeAnswers(Forge forge) {
    absl::MutexLock lock(&mutex_);
    forge_ = std::move(forge);
  }
  // What Issue() says from now on; OK: it issues.
  void RefuseToIssue(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    refusal_ = std::move(status);
  }
  // Pushes an update that `change` made of the honest one.
  void PushForged(const std::function<void(fleet::v1::TrustUpdate&)>& change) {
    auto update = std::make_shared<fleet::v1::TrustUpdate>(*this->update());
    change(*update);
    {
      absl::MutexLock lock(&mutex_);
      update_ = std::move(update);
    }
    SetTrust(trust()->bundle);  // tells the streams
  }
  void PushHonest(const trust::Bundle& bundle) {
    {
      absl::MutexLock lock(&mutex_);
      update_ = nullptr;
    }
    SetTrust(bundle);
  }
  // The next version of the trust, with the directive to re-issue under `ca`.
  void PushDirective(const trust::Bundle& bundle, const TestCa& ca) {
    PushHonest(bundle);
    const int64_t next = sequence() + 1;
    PushForged([&](fleet::v1::TrustUpdate& update) {
      update.mutable_bundle()->mutable_version()->set_sequence(next);
      update.mutable_renewal()->set_authority_id(trust::AuthorityId::Of(ca.issuer()).hex());
      update.mutable_renewal()->mutable_start()->set_seconds(1);
    });
  }

  absl::StatusOr<rpc::IssueResponse> Issue(const authn::Caller& caller,
                                           const rpc::IssueRequest& request) override {
    Forge forge;
    {
      absl::MutexLock lock(&mutex_);
      if (!refusal_.ok()) return refusal_;
      if (caller.proof == authn::Caller::Proof::kJoinToken) {
        if (!used_tokens_.insert(caller.token_hash).second) {
          return absl::UnauthenticatedError("the join token was used");
        }
      }
      if (!request.for_agent) forge = forge_;
    }
    if (!forge) return FakeControlPlane::Issue(caller, request);
    return rpc::IssueResponse{forge(Must(x509::Csr::Parse(request.csr)).public_key())};
  }
  std::shared_ptr<const fleet::v1::TrustUpdate> update() const override {
    absl::MutexLock lock(&mutex_);
    return update_ ? update_ : FakeControlPlane::update();
  }
  // Certificates issued so far for workloads (or for agents).
  int Issued(bool for_agent) const {
    int count = 0;
    for (const rpc::IssueRequest& request : issued()) count += request.for_agent == for_agent;
    return count;
  }

 private:
  mutable absl::Mutex mutex_;
  Forge forge_ ABSL_GUARDED_BY(mutex_);
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> used_tokens_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const fleet::v1::TrustUpdate> update_ ABSL_GUARDED_BY(mutex_);
};

// Remembers everything that was published.
class Recorder final : public Delivery {
 public:
  using Materials = std::vector<std::shared_ptr<const sds::Material>>;

  void Publish(std::shared_ptr<const sds::Material> material) override {
    absl::MutexLock lock(&mutex_);
    materials_.push_back(std::move(material));
  }
  fleet::v1::Consumer::Kind kind() const override { return fleet::v1::Consumer::ENVOY; }
  std::vector<sds::ConsumerReport> Consumers() override {
    absl::MutexLock lock(&mutex_);
    return consumers_;
  }
  void SetConsumers(std::vector<sds::ConsumerReport> consumers) {
    absl::MutexLock lock(&mutex_);
    consumers_ = std::move(consumers);
  }
  Materials all() const {
    absl::MutexLock lock(&mutex_);
    return materials_;
  }
  std::shared_ptr<const sds::Material> last() const {
    const Materials materials = all();
    return materials.empty() ? std::make_shared<sds::Material>(
                                   sds::Material{.id = Must(spiffe::SpiffeId::Parse(kId))})
                             : materials.back();
  }

 private:
  mutable absl::Mutex mutex_;
  Materials materials_ ABSL_GUARDED_BY(mutex_);
  std::vector<sds::ConsumerReport> consumers_ ABSL_GUARDED_BY(mutex_);
};

// True once `condition` holds, within ten seconds.
inline bool Eventually(const std::function<bool()>& condition,
                       absl::Duration within = absl::Seconds(10)) {
  const absl::Duration end = RealClock().Monotonic() + within;
  while (!condition()) {
    if (RealClock().Monotonic() > end) return false;
    usleep(5'000);
  }
  return true;
}

inline std::string NewFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "agent_test_XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) std::abort();
  return pattern;
}

// One agent process, as far as a test needs it. Destroying it is a crash: nothing is flushed.
class RunningAgent {
 public:
  RunningAgent(const std::string& state_dir, std::optional<authn::JoinFile> join,
               absl::Duration ttl = absl::ZeroDuration(),
               std::vector<probe::ProbeTarget> probes = {}) {
    status_ = Start(state_dir, std::move(join), ttl, std::move(probes));
  }
  ~RunningAgent() {
    loop_.RunAndWait([this] { agent_.reset(); });
    blocking_.Stop();
    loop_.Stop();
  }

  const absl::Status& status() const { return status_; }
  Recorder& served() { return recorder_; }
  Agent& agent() { return *agent_; }
  std::string LastError() { return agent_->health().last_error; }
  std::string Metrics() { return metrics_.Text(); }
  void ConsumersChanged() {
    loop_.Post([this] { agent_->OnConsumersChanged(); });
  }
  // A leaf of `serial` is not the last one any more.
  bool HasLeaf() { return !recorder_.last()->leaf_serial.empty(); }

 private:
  absl::Status Start(const std::string& state_dir, std::optional<authn::JoinFile> join,
                     absl::Duration ttl, std::vector<probe::ProbeTarget> probes) {
    CAPSTAN_ASSIGN_OR_RETURN(state_, StateDirectory::Open(state_dir));
    CAPSTAN_ASSIGN_OR_RETURN(const std::string instance, state_->Instance(SystemRandom()));
    Found found{.state_dir = state_dir, .join_path = join ? "join.json" : ""};
    CAPSTAN_ASSIGN_OR_RETURN(found.membership, state_->LoadMembership());
    CAPSTAN_ASSIGN_OR_RETURN(found.trust, state_->LoadTrust());
    found.credential = state_->LoadCredential();
    found.join = std::move(join);
    CAPSTAN_ASSIGN_OR_RETURN(StartingPoint start, FindStartingPoint(found, RealClock().Now()));
    agent_ = std::make_unique<Agent>(
        Agent::Options{.instance = instance, .ttl = ttl, .probes = std::move(probes)},
        std::move(start),
        Agent::Environment{loop_, RealClock(), metrics_, *state_, {&recorder_}, &blocking_});
    absl::Status started;
    loop_.RunAndWait([&] { started = agent_->Start(); });
    return started;
  }

  capstan::Metrics metrics_;
  Recorder recorder_;
  std::unique_ptr<StateDirectory> state_;
  EventLoop loop_{RealClock()};
  EventLoop blocking_{RealClock()};
  std::unique_ptr<Agent> agent_;
  absl::Status status_;
};

class MeshTest : public ::testing::Test {
 protected:
  MeshTest() { StartServer(0); }
  ~MeshTest() override {
    StopServer();
    std::filesystem::remove_all(folder_);
  }

  void StartServer(int port) {
    server_ = Must(
        rpc::Server::Start({.listen = "127.0.0.1:" + std::to_string(port)}, plane_, RealClock()));
    port_ = server_->port();
  }
  void StopServer() {
    if (server_) server_->Shutdown();
    server_.reset();
  }

  authn::JoinFile NewJoinFile() {
    const auto trust = plane_.trust();
    return {
        .address = "127.0.0.1:" + std::to_string(port_),
        .server_id = Must(spiffe::SpiffeId::Parse("spiffe://cluster.local/capstan/control-plane")),
        .spiffe_id = Must(spiffe::SpiffeId::Parse(kId)),
        .token = plane_.AddToken(kId),
        .token_expires = RealClock().Now() + absl::Minutes(10),
        .bundle_version = trust->version,
        .bundle = trust->bundle};
  }
  std::string StateDir() const { return folder_ + "/state"; }
  trust::Bundle Both() const { return Union(a_.bundle(), b_.bundle()); }
  LeafSpec Valid(const std::string& uri = kId) const { return plane_.Valid(uri); }

  const absl::Time started_ = RealClock().Now();
  const TestCa a_{started_, "Root CA", true};
  const TestCa b_{started_, "Root CA", true};
  Plane plane_{RealClock(), a_};
  std::unique_ptr<rpc::Server> server_;
  int port_ = 0;
  const std::string folder_ = NewFolder();
};

}  // namespace capstan::agent::testing
