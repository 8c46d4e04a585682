// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "lifecycle/accept_trust.h"
#include "lifecycle/ca_client.h"
#include "server/control_plane.h"
#include "sim/checker.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/options.h"
#include "sim/paper.h"
#include "store/faulty_store.h"
#include "store/memory_store.h"

namespace capstan::sim {

// How a control plane is made: what tests change to see it caught.
struct ControlMaker {
  // The store that the program sees, on top of the disk; null: the disk.
  std::function<std::unique_ptr<store::Store>(store::FaultyStore& disk)> store;
  std::function<std::unique_ptr<server::ControlPlane>(
      server::ControlPlaneOptions options, store::Store& store, keystore::SealedKeys keys,
      Clock& clock, Random& random, Executor& background, Metrics& metrics)>
      plane;
};
ControlMaker RealControl();

// Of a holder's name: "spiffe://…/sa/w7#i". nullopt: it names no workload.
std::optional<int64_t> WorkloadNamed(const std::string& holder);

// What an agent shows on the way in.
struct Shown {
  int64_t workload = 0;
  spiffe::SpiffeId id;
  std::string instance;
  Roots trusts = 0;                     // by which it verifies the control plane
  std::optional<PaperLeaf> credential;  // or
  std::string token;                    // a join token
};

// The machine of the control plane: the production ControlPlane with its keeper, fleet and pacing,
// on a simulated disk, clock and network. Certificates for workloads are on paper.
class ControlNode {
 public:
  // The way to one agent. The far end is told of each update, and once of the end.
  struct Stream {
    explicit Stream(Shown s) : shown(std::move(s)), caller{shown.id} {}
    Shown shown;
    authn::Caller caller;
    int64_t generation = 0;
    int server_root = -1;  // of the certificate that the control plane showed; -1: none yet
    bool open = true;
    absl::Duration last_down = absl::ZeroDuration();
    absl::Duration last_up = absl::ZeroDuration();
    std::shared_ptr<const fleet::v1::TrustUpdate> sent;
    std::function<void(const std::shared_ptr<const fleet::v1::TrustUpdate>&)> update;
    std::function<void(const absl::Status&)> ended;
  };
  using Answer = std::function<void(absl::StatusOr<std::vector<std::string>>)>;

  ControlNode(World& world, Network& network, Checker& checker, const Options& options,
              ControlMaker maker);
  ~ControlNode();

  // The process starts, or starts again.
  void Boot();
  // It dies; `down` later it is back.
  void Crash(absl::Duration down);
  bool up() const { return plane_ != nullptr; }
  server::ControlPlane* plane() { return plane_.get(); }
  NodeClock& clock() { return clock_; }
  NodeExecutor& executor() { return executor_; }
  // The next `nth` write to the disk meets `fault`.
  void ArmDisk(store::FaultyStore::Fault fault, int nth);
  void Slow(absl::Duration by, absl::Duration until);
  void Refuse(absl::Duration until);
  void Heal();

  // What arrives from agents.
  void Create(const Shown& shown, const rpc::IssueRequest& request, Answer answer);
  void Open(const std::shared_ptr<Stream>& stream);
  void Report(const std::shared_ptr<Stream>& stream, const fleet::v1::Report& report);
  // Either side noticed that the other is gone.
  void Close(const std::shared_ptr<Stream>& stream, const absl::Status& why);
  absl::StatusOr<std::vector<std::string>> History(const trust::BundleVersion& held);

  // A join token and the bundle of this moment. nullopt: nobody is there who could make one.
  struct Joining {
    std::string token;
    lifecycle::Trust trust;
  };
  std::optional<Joining> Join(const spiffe::SpiffeId& id);
  // An update, parsed once for all who get it.
  std::shared_ptr<const lifecycle::Trust> Parse(
      const std::shared_ptr<const fleet::v1::TrustUpdate>& update);

  // Whether a rotation was under way when somebody looked last.
  void set_rotates(bool rotates) { rotates_ = rotates; }
  bool rotates() const { return rotates_; }
  int64_t granted() const { return granted_; }
  int64_t restarts() const { return restarts_; }

 private:
  absl::StatusOr<authn::Caller> Authenticate(const Shown& shown, bool for_agent);
  absl::StatusOr<std::vector<std::string>> Issue(const Shown& shown,
                                                 const rpc::IssueRequest& request);
  void Changed();
  void Look();
  void Push();
  void SendUpdate(const std::shared_ptr<Stream>& stream);
  store::Store& store() { return changed_store_ != nullptr ? *changed_store_ : *faulty_; }
  void DieIfDiskDid();
  void WatchDisk();

  World& world_;
  Network& network_;
  Checker& checker_;
  const Options& options_;
  const ControlMaker maker_;

  NodeClock clock_;
  NodeExecutor executor_;
  SeededRandom random_;
  store::MemoryStore disk_;
  const std::string seal_key_;

  // The process; all gone with a crash.
  std::unique_ptr<store::FaultyStore> faulty_;
  std::unique_ptr<store::Store> changed_store_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<server::ControlPlane> plane_;
  std::shared_ptr<void> subscription_;
  std::map<int64_t, std::shared_ptr<Stream>> streams_;  // by workload
  bool pushing_ = false;

  absl::Duration slow_by_ = absl::ZeroDuration();
  absl::Duration slow_until_ = absl::ZeroDuration();
  absl::Duration refuse_until_ = absl::ZeroDuration();
  int64_t granted_ = 0;
  int64_t restarts_ = 0;
  int serving_root_ = -1;
  bool rotates_ = false;
  std::shared_ptr<const fleet::v1::TrustUpdate> parsed_update_;
  std::shared_ptr<const lifecycle::Trust> parsed_;
};

}  // namespace capstan::sim
