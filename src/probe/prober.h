// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/executor.h"
#include "capstan/fleet/v1/fleet.pb.h"
#include "probe/machine.h"
#include "probe/target.h"
#include "rpc/ca_client.h"
#include "spiffe/spiffe_id.h"
#include "trust/bundle.h"
#include "x509/certificate.h"
#include "x509/handshake.h"
#include "x509/key.h"

namespace capstan::probe {

// What an update says is to be probed. InvalidArgument: it is not to be understood, or too much.
absl::StatusOr<Probing> ProbingOf(const fleet::v1::Probing& message);

// What the end of a handshake means. That there was none says nothing about trust: kUnreachable, or
// kSilent where the peer did not answer in time or wants no certificate.
ProbeOutcome OutcomeOf(const absl::StatusOr<x509::HandshakeResult>& result);

// Tries handshakes with the workload's own consumers under probe certificates, so that what they
// acknowledged is seen at the data path. Performs what a ProbeMachine decides; the keys of its
// certificates are in memory only, and gone with them. Every method is called from tasks of the
// executor.
class Prober {
 public:
  struct Options {
    std::string seed;  // the agent's instance
    spiffe::TrustDomain trust_domain;
    std::vector<ProbeTarget> targets;
    ProbeMachine::Policy policy;
    absl::Duration handshake_timeout = absl::Seconds(5);
  };
  // What they refer to outlives the prober; `blocking` has stopped before `executor` goes.
  struct Ports {
    Executor& executor;
    Executor& blocking;  // runs handshakes, which take seconds
    Clock& clock;
    std::function<void(const rpc::GrpcCaClient::ProbeRequest&, rpc::GrpcCaClient::Callback)> obtain;
    // Called in tasks of `blocking`.
    std::function<absl::StatusOr<x509::HandshakeResult>(const x509::HandshakeOptions&)> handshake;
    std::function<void()> changed;  // results() says something else
  };
  Prober(Options options, Ports ports);

  void OnTrust(const trust::Bundle& bundle, const trust::BundleVersion& version);
  void OnProbing(const Probing& probing);
  void OnConsumers(std::set<ProbedConsumer> connected);

  // For the report: at least one of each target.
  std::vector<fleet::v1::ProbeResult> results() const;

 private:
  struct Leaf {
    std::vector<x509::Certificate> chain;
    x509::PrivateKey key;
  };

  void Feed(const ProbeMachine::Event& event);
  void Perform(const ProbeMachine::ObtainLeaf& action);
  void Perform(const ProbeMachine::DropLeaf& action);
  void Perform(const ProbeMachine::Try& action);
  void Perform(const ProbeMachine::WakeAfter& action);
  void OnAnswer(const trust::AuthorityId& authority, const x509::PrivateKey& key,
                const absl::StatusOr<std::vector<std::string>>& answer);
  absl::StatusOr<absl::Time> Keep(const trust::AuthorityId& authority, const x509::PrivateKey& key,
                                  const absl::StatusOr<std::vector<std::string>>& answer);
  void OnTried(const ProbeMachine::Try& tried, ProbeOutcome outcome);
  void Say(const ProbeMachine::Try& tried, const ProbeOutcome& outcome);
  lifecycle::Instant Now() const;

  const Options options_;
  const Ports ports_;
  ProbeMachine machine_;
  trust::Bundle bundle_;
  std::map<trust::AuthorityId, Leaf> leaves_;
  std::map<std::pair<size_t, trust::AuthorityId>, fleet::v1::ProbeResult::Verdict> said_;
  Timer wake_;
  // Expires with the prober: answers that come later find nobody.
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace capstan::probe
