// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "lifecycle/driver.h"
#include "sds/fake_envoy.h"
#include "sds/registry.h"
#include "sim/checker.h"
#include "sim/control_node.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/options.h"

namespace capstan::sim {

// One workload's machine: an agent and its Envoy. The agent is the production lifecycle drivers and
// SDS registry, wired as agent/agent.h wires them; certificates are on paper.
class AgentNode {
 public:
  struct Surroundings {
    World& world;
    Network& network;
    Checker& checker;
    const Options& options;
    ControlNode& control;
  };

  AgentNode(int64_t workload, Surroundings around);
  ~AgentNode();

  // A join file was made for it: the agent starts for the first time, and its Envoy.
  void Join(ControlNode::Joining joining);
  // It cannot come in any more by itself: its token or its credential ran out.
  bool LockedOut();
  // With a new join file, as an operator would.
  void JoinAnew(ControlNode::Joining joining);
  void Crash(absl::Duration down);
  void RestartEnvoy(absl::Duration down);
  void RefuseUntil(absl::Duration until);
  void FailWritesUntil(absl::Duration until);
  // Both for good; their certificates live on in the record.
  void Die();
  // A report between two heartbeats.
  void Report();
  // All is well from here on.
  void Heal();

  int64_t workload() const { return workload_; }
  bool alive() const { return alive_; }
  bool joined() const { return joined_; }
  // Nothing is left to do: the bundle `last` is used, with a leaf of `issuer`.
  bool AtRest(Roots last, const trust::AuthorityId& issuer) const;
  std::string Describe() const;
  const spiffe::SpiffeId& id() const { return id_; }
  NodeClock& clock() { return clock_; }
  NodeExecutor& executor() { return executor_; }

 private:
  struct Process;

  void Boot();
  void Stop();
  void StartEnvoy();
  void ConnectEnvoy();
  void Perform(const sds::Actions& actions);
  void Feed(size_t slot);
  void LookAtEnvoy();
  void TellChecker();
  bool Write(const std::function<void()>& write);
  const lifecycle::Leaf* LeafOf(const std::string& serial) const;
  sds::Moment Now() { return {clock_.Now(), clock_.Monotonic()}; }

  const int64_t workload_;
  const spiffe::SpiffeId id_;
  Surroundings around_;
  NodeClock clock_;
  NodeExecutor executor_;
  bool alive_ = true;
  bool joined_ = false;

  // On its disk.
  std::shared_ptr<const lifecycle::Trust> saved_trust_;
  std::optional<PaperLeaf> saved_credential_;
  std::string token_;
  absl::Duration joined_at_ = absl::ZeroDuration();
  absl::Duration writes_fail_until_ = absl::ZeroDuration();

  std::unique_ptr<Process> process_;

  std::optional<sds::FakeEnvoy> envoy_;
  int64_t envoys_ = 0;
  uint64_t streams_ = 0;
  absl::Duration refuses_until_ = absl::ZeroDuration();
  std::deque<lifecycle::Leaf> leaves_;  // the last that were served
  std::string shows_;                   // serial
  World::EventId expiry_ = 0;
};

}  // namespace capstan::sim
