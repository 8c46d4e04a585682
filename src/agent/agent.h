// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/catch_up.h"
#include "agent/delivery.h"
#include "agent/handshake_watch.h"
#include "agent/report.h"
#include "agent/starting_point.h"
#include "agent/state_directory.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/metrics.h"
#include "capstan/fleet/v1/fleet.pb.h"
#include "lifecycle/driver.h"
#include "probe/prober.h"
#include "rpc/ca_client.h"
#include "rpc/channel.h"
#include "rpc/trust_client.h"

namespace capstan::agent {

// One agent: two certificates (its own credential, and the workload's), the trust they are verified
// by, and where they are delivered. Lives on one executor: every method but health() is called from
// its tasks, and nothing here needs a lock.
//
//   TrustUpdate → checked → stored → published → drivers told → certificate asked for → checked →
//   published
class Agent {
 public:
  struct Options {
    std::string instance;
    absl::Duration ttl;
    absl::Duration credential_ttl;
    x509::KeyType key_type = x509::KeyType::kEcdsaP256;
    lifecycle::Policy policy;
    std::vector<probe::ProbeTarget> probes;  // empty: nothing is probed
    probe::ProbeMachine::Policy probe_policy;
    // See HandshakeWatch; null: nobody tells. Needs Environment::blocking.
    std::function<absl::StatusOr<int64_t>()> read_failed_verifications = nullptr;
  };
  // All outlive the agent.
  struct Environment {
    Executor& executor;
    Clock& clock;
    Metrics& metrics;
    StateDirectory& state;
    std::vector<Delivery*> deliveries;
    // Runs handshakes with `probes`, which block; has stopped before `executor` goes.
    Executor* blocking = nullptr;
  };

  Agent(Options options, StartingPoint start, Environment environment);
  ~Agent();

  // Once. InvalidArgument: the control plane's address.
  absl::Status Start();

  // A consumer accepted, refused, came or went.
  void OnConsumersChanged();

  struct Health {
    std::optional<absl::Duration> beat;  // monotonic, when the executor last came by
    bool trust_published = false;
    std::optional<absl::Time> leaf_expiry;
    bool stream_connected = false;
    std::string last_error;
  };
  // Any thread.
  Health health() const;

 private:
  // The credential's life.
  absl::StatusOr<x509::PrivateKey> NewCredentialKey();
  void OnCredential(const lifecycle::Leaf& leaf);
  void StartWorkload();
  // The workload's.
  void OnWorkload(const lifecycle::Leaf& leaf);
  // The trust stream's.
  void OnUpdate(const fleet::v1::TrustUpdate& update);
  void TakeTrust(lifecycle::Trust next);
  // What no root of the bundle vouches for is asked for again, the credential first.
  void ReplaceDisowned();
  void TakeDirective(const fleet::v1::TrustUpdate& update);
  void TakeProbing(const fleet::v1::TrustUpdate& update);
  void OnStreamConnected();
  void OnStreamEnded(const absl::Status& status, absl::Duration retry_in);

  lifecycle::Driver::Ports PortsFor(const std::string& name, lifecycle::Enrolment& enrolment,
                                    std::function<void(const lifecycle::Leaf&)> serve);
  absl::StatusOr<std::shared_ptr<grpc::Channel>> NewChannel() const;
  void Publish();
  void TellProber();
  void Changed();
  void KeepTrust();
  // Keeps going when the disk does not: says so, counts, and reports it until a write succeeds.
  void Keep(const std::string& what, const absl::Status& written);
  void SaveAll();
  void UseForStream(std::shared_ptr<grpc::Channel> channel, bool removed);
  void OnCredentialAttempt(const std::string& result);
  // The join token was refused: what is left is a credential that lapsed.
  void FallBackToCredential();
  // Why the credential does not verify any more; empty: it does, or there is none.
  std::string Lapse() const;
  // Once, with the remedy, when a lapsed credential was not renewed.
  void SayIfLockedOut();
  std::string LastError() const;
  fleet::v1::Report MakeReport() const;
  void Beat();

  const Options options_;
  const Membership membership_;
  Environment env_;

  lifecycle::Trust trust_;
  // Of the trust that is on disk. Reports tell of no newer one: what a restart would take back from
  // a consumer, nobody may rely on.
  trust::BundleVersion durable_;
  std::optional<Credential> credential_;
  std::optional<lifecycle::Leaf> stored_leaf_;  // of credential_, as found at the start
  std::optional<Secret> token_;
  std::string lapsed_;       // why credential_ was of no use at the start
  std::string trust_error_;  // why the last update was refused; empty: it was not
  std::string state_error_;  // why the last write to the state directory failed
  std::string stream_error_;
  bool refused_ = false;  // the last request for a credential, made with the one before it
  bool locked_out_ = false;

  rpc::GrpcCaClient ca_;
  rpc::TrustClient stream_;
  CatchUp catch_up_;
  std::optional<probe::Prober> prober_;
  std::optional<HandshakeWatch> handshakes_;
  lifecycle::X509Enrolment credential_enrolment_;
  lifecycle::X509Enrolment workload_enrolment_;
  lifecycle::Driver credential_driver_;
  lifecycle::Driver workload_driver_;
  Timer beat_;

  mutable absl::Mutex mutex_;
  Health health_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace capstan::agent
