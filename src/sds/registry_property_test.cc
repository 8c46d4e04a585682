// SPDX-License-Identifier: Apache-2.0
// Drives the machines with arbitrary orders of requests, publications, refusals, broken streams,
// restarts and delays, against Envoys that behave as Envoy was seen to. After every step: nothing
// is reported as acknowledged that those Envoys do not really use, and nothing is sent twice
// without a reason. At the end: nobody was starved.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "sds/fake_envoy.h"
#include "sds/registry.h"
#include "sds/test_material.h"

namespace capstan::sds {
namespace {

// More than the hundred cases that are the default; RC_PARAMS of the environment wins.
const int kMoreCases = ::setenv("RC_PARAMS", "max_success=400", /*overwrite=*/0);

constexpr absl::Duration kLongestBackoff = absl::Seconds(30);  // of an Envoy that lost a stream

class World {
 public:
  World() : registry_(std::make_unique<Registry>(Config{.id = TestId()})) {}

  void Step(uint32_t draw);
  void CheckReports() const;
  void SettleAndCheckNobodyStarved();

 private:
  struct Connection {
    int64_t pid = 0;
    size_t slot = 0;
    bool half_dead = false;  // closed by the client, which the server has not heard yet
    bool writing = false;
    std::map<std::string, std::string> content_sent;
    std::map<std::string, uint64_t> edition_sent;
    std::map<std::string, Response> unsettled;  // without an answer that reached the server
  };

  uint32_t Pick(uint32_t bound) {
    draw_ = draw_ * 1664525u + 1013904223u;
    return bound == 0 ? 0 : (draw_ >> 8) % bound;
  }
  Moment Now() const { return {absl::UnixEpoch() + now_, now_}; }
  FakeEnvoy* AnyEnvoy();
  std::optional<size_t> AnySlot(const FakeEnvoy& envoy, bool connected);

  void StartEnvoy();
  void KillEnvoy();
  void Publish(bool good);
  void Connect(FakeEnvoy& envoy, size_t slot);
  void Break(FakeEnvoy& envoy, size_t slot);
  void HearClose(StreamId id);
  void Forget(int64_t pid);
  void Deliver(FakeEnvoy& envoy, size_t slot);
  void Lie(FakeEnvoy& envoy, size_t slot);
  void ChangeSlots(FakeEnvoy& envoy);
  void Pass(absl::Duration time);
  void RestartAgent();
  void Perform(const Actions& actions);
  void CheckSend(const Actions::Send& send);
  bool Flow();
  bool Quiet();

  std::unique_ptr<Registry> registry_;
  std::map<int64_t, FakeEnvoy> envoys_;
  std::map<StreamId, Connection> connections_;
  // Per process: refusals and lost answers that the server heard of; and what that was at each
  // edition.
  std::map<int64_t, uint64_t> doubts_;
  struct Origin {
    uint64_t doubts = 0;
    uint64_t refusals = 0;
    size_t published = 0;
  };
  std::map<std::pair<int64_t, uint64_t>, Origin> origins_;
  // Per process: refusals that the server heard of, and the kinds of which it heard an acceptance
  // since then, of an edition that was first sent since then.
  std::map<int64_t, uint64_t> refusals_;
  std::map<int64_t, std::set<Kind>> accepted_;
  std::set<int64_t> incomplete_;  // not all slots back since the agent restarted
  std::vector<std::shared_ptr<Material>> published_;
  absl::Duration now_ = absl::Hours(1);
  uint32_t draw_ = 0;
  int64_t next_pid_ = 100;
  StreamId next_stream_ = 1;
  int64_t sequence_ = 0;
  int leaves_ = 0;
};

FakeEnvoy* World::AnyEnvoy() {
  if (envoys_.empty()) {
    return nullptr;
  }
  auto it = envoys_.begin();
  std::advance(it, Pick(static_cast<uint32_t>(envoys_.size())));
  return &it->second;
}

std::optional<size_t> World::AnySlot(const FakeEnvoy& envoy, bool connected) {
  std::vector<size_t> fitting;
  for (const auto& [index, slot] : envoy.slots) {
    if (slot.stream.has_value() == connected) {
      fitting.push_back(index);
    }
  }
  if (fitting.empty()) {
    return std::nullopt;
  }
  return fitting[Pick(static_cast<uint32_t>(fitting.size()))];
}

void World::StartEnvoy() {
  if (envoys_.size() >= 3) {
    return;
  }
  const int64_t pid = next_pid_++;
  FakeEnvoy envoy("node", Peer{.pid = pid, .started = 1, .connection = 0});
  const Front front = Pick(2) == 0 ? Front::kStateOfTheWorld : Front::kDelta;
  switch (Pick(4)) {
    case 0:  // as Envoy does
    case 1:
      envoy.AddSlot(front, {"default"});
      envoy.AddSlot(front, {"ROOTCA"});
      break;
    case 2:  // one stream for all, and a second secret under another name
      envoy.AddSlot(front, {"default", "ROOTCA", "file-root:system"});
      envoy.AddSlot(front, {TestId().trust_domain().IdString()});
      break;
    default:
      envoy.AddSlot(front, {});
  }
  envoys_.emplace(pid, std::move(envoy));
}

void World::KillEnvoy() {
  FakeEnvoy* envoy = AnyEnvoy();
  if (envoy == nullptr) {
    return;
  }
  const int64_t pid = envoy->peer.pid;
  for (auto& [id, connection] : connections_) {
    if (connection.pid == pid) {
      connection.half_dead = true;
    }
  }
  envoys_.erase(pid);
}

void World::Publish(bool good) {
  static constexpr const char* kRoots[] = {"A", "AB", "B", "BAD"};
  const std::shared_ptr<Material> last = published_.empty() ? nullptr : published_.back();
  std::string roots = last == nullptr ? "A" : last->roots_pem;
  std::string leaf = last == nullptr ? "" : last->leaf_serial;
  if (good || Pick(2) == 0) {
    roots = kRoots[Pick(good ? 3 : 4)];
  }
  if (good || Pick(2) == 0) {
    const bool bad = !good && Pick(3) == 0;
    leaf = absl::StrCat(bad ? "BAD" : "leaf", ++leaves_);
  }
  published_.push_back(MaterialOf(++sequence_, roots, leaf));
  Perform(registry_->Published(published_.back(), Now()));
}

void World::Connect(FakeEnvoy& envoy, size_t slot) {
  const StreamId id = next_stream_++;
  envoy.Connect(slot, id);
  connections_[id] = Connection{.pid = envoy.peer.pid, .slot = slot};
  Perform(
      registry_->Opened(id, envoy.slots.at(slot).front, envoy.peer, absl::StrCat("t", id), Now()));
}

// From here on everything must be accepted anew to count.
void World::Forget(int64_t pid) {
  ++refusals_[pid];
  accepted_[pid].clear();
}

// The client's end of the stream is gone at once; the server hears of it later, and perhaps of the
// requests that were on their way.
void World::Break(FakeEnvoy& envoy, size_t index) {
  FakeEnvoy::Slot& slot = envoy.slots.at(index);
  if (!slot.stream.has_value()) {
    return;
  }
  const StreamId id = *slot.stream;
  while (!slot.to_server.empty() && Pick(2) == 0) {
    Deliver(envoy, index);
  }
  slot.stream.reset();
  slot.down_since = now_;
  slot.to_client.clear();
  slot.to_server.clear();
  if (const auto found = connections_.find(id); found != connections_.end()) {
    found->second.half_dead = true;
  }
}

void World::HearClose(StreamId id) {
  const Connection gone = connections_.at(id);
  connections_.erase(id);
  const bool last = std::none_of(connections_.begin(), connections_.end(),
                                 [&](const auto& entry) { return entry.second.pid == gone.pid; });
  if (last || !gone.unsettled.empty()) {
    ++doubts_[gone.pid];
  }
  if (last) {
    Forget(gone.pid);
  }
  Perform(registry_->Closed(id, Now()));
}

void World::Deliver(FakeEnvoy& envoy, size_t index) {
  FakeEnvoy::Slot& slot = envoy.slots.at(index);
  const StreamId id = *slot.stream;
  if (slot.to_server.empty()) {
    return;
  }
  const Request request = std::move(slot.to_server.front());
  slot.to_server.pop_front();
  Connection& connection = connections_.at(id);
  const int64_t pid = envoy.peer.pid;
  if (request.error.has_value()) {
    ++doubts_[pid];
    Forget(pid);
  } else if (const auto answered = connection.unsettled.find(request.nonce);
             answered != connection.unsettled.end()) {
    for (const Resource& resource : answered->second.resources) {
      if (origins_.at({pid, resource.edition.number}).refusals == refusals_[pid]) {
        accepted_[pid].insert(resource.edition.kind);
      }
    }
  }
  connection.unsettled.erase(request.nonce);
  Perform(registry_->Requested(id, request, Now()));
}

// Acknowledgements of what was never sent, or was settled long ago.
void World::Lie(FakeEnvoy& envoy, size_t index) {
  FakeEnvoy::Slot& slot = envoy.slots.at(index);
  Request lie{.type_url = std::string(kSecretType)};
  if (slot.front == Front::kStateOfTheWorld) {
    lie.names.assign(slot.names.begin(), slot.names.end());
  }
  const bool old = !slot.settled.empty() && Pick(2) == 0;
  lie.nonce = old ? slot.settled[Pick(static_cast<uint32_t>(slot.settled.size()))]
                  : absl::StrCat("t", *slot.stream, "-", 1000000 + Pick(1000));
  slot.to_server.push_back(std::move(lie));
}

void World::ChangeSlots(FakeEnvoy& envoy) {
  if (Pick(3) == 0 && envoy.slots.size() > 1) {
    const size_t index = envoy.slots.rbegin()->first;
    Break(envoy, index);
    envoy.RemoveSlot(index);
    return;
  }
  if (Pick(2) == 0 && envoy.slots.size() < 5) {
    static constexpr const char* kNames[] = {"default", "ROOTCA"};
    envoy.AddSlot(Pick(2) == 0 ? Front::kStateOfTheWorld : Front::kDelta, {kNames[Pick(2)]});
    return;
  }
  for (auto& [index, slot] : envoy.slots) {
    if (slot.names.size() > 1) {
      envoy.DropName(index, *slot.names.begin());
      return;
    }
  }
}

void World::Pass(absl::Duration time) {
  // A living Envoy's lost stream is back within its longest back-off.
  for (auto& [pid, envoy] : envoys_) {
    for (auto& [index, slot] : envoy.slots) {
      if (!slot.stream.has_value() && now_ + time - slot.down_since > kLongestBackoff) {
        Connect(envoy, index);
        Deliver(envoy, index);
      }
    }
  }
  now_ += time;
  Perform(registry_->Woken(Now()));
}

void World::RestartAgent() {
  registry_ = std::make_unique<Registry>(Config{.id = TestId()});
  connections_.clear();
  origins_.clear();
  for (auto& [pid, envoy] : envoys_) {
    ++doubts_[pid];
    Forget(pid);
    incomplete_.insert(pid);
    for (auto& [index, slot] : envoy.slots) {
      slot.stream.reset();
      slot.down_since = now_;
      slot.to_client.clear();
      slot.to_server.clear();
    }
  }
  if (!published_.empty()) {
    Perform(registry_->Published(published_.back(), Now()));
  }
}

void World::Perform(const Actions& actions) {
  for (const Actions::Send& send : actions.sends) {
    CheckSend(send);
    const auto found = connections_.find(send.stream);
    Connection& connection = found->second;
    RC_ASSERT(!connection.writing);
    connection.writing = true;
    connection.unsettled.emplace(send.response.nonce, send.response);
    if (connection.half_dead) {
      continue;
    }
    envoys_.at(connection.pid).slots.at(connection.slot).to_client.push_back(send.response);
  }
  RC_ASSERT(actions.ends.empty());  // nothing here breaks the protocol
}

void World::CheckSend(const Actions::Send& send) {
  RC_ASSERT(connections_.contains(send.stream));
  RC_ASSERT(!send.why.empty());
  Connection& connection = connections_.at(send.stream);
  const uint64_t doubts = doubts_[connection.pid];
  for (const Resource& resource : send.response.resources) {
    const std::string content = ContentOf(resource.edition);
    const auto sent = connection.content_sent.find(resource.name);
    if (sent != connection.content_sent.end()) {
      // Nothing is repeated but after a refusal or an answer that was lost, and then once for each;
      // or where it was another for a while, which a slow stream did not see.
      const uint64_t before = connection.edition_sent.at(resource.name);
      const Origin origin = origins_.at({connection.pid, before});
      const bool doubted = doubts > origin.doubts;
      const bool was_another = std::any_of(
          published_.begin() + static_cast<ptrdiff_t>(origin.published), published_.end(),
          [&](const auto& material) {
            return content != (resource.edition.kind == Kind::kTrust ? material->roots_pem
                                                                     : material->leaf_serial);
          });
      RC_ASSERT(sent->second != content || doubted || was_another);
      // And never in bytes that were on this stream before.
      RC_ASSERT(resource.edition.number > before);
    }
    connection.content_sent[resource.name] = content;
    origins_.try_emplace({connection.pid, resource.edition.number},
                         Origin{.doubts = doubts,
                                .refusals = refusals_[connection.pid],
                                .published = published_.size()});
    connection.edition_sent[resource.name] = resource.edition.number;
  }
}

void World::CheckReports() const {
  const auto index_of_version = [&](const trust::BundleVersion& version) {
    RC_ASSERT(version.lineage == "lineage");
    RC_ASSERT(version.sequence >= 1 && version.sequence <= sequence_);
    return static_cast<size_t>(version.sequence - 1);
  };
  for (const ConsumerReport& report : registry_->Reports()) {
    RC_ASSERT(report.acknowledged_bundle.empty() == report.acknowledged_leaf_serial.empty());
    const auto envoy = envoys_.find(report.pid);
    if (!report.acknowledged_bundle.empty()) {
      RC_ASSERT(accepted_.at(report.pid).size() == 2u);
    }
    if (report.acknowledged_bundle.empty() || envoy == envoys_.end() ||
        incomplete_.contains(report.pid)) {
      continue;
    }
    RC_ASSERT(report.connected);
    const size_t from = index_of_version(report.acknowledged_bundle);
    std::set<std::string> trusts;
    std::set<std::string> leaves;
    bool reached = false;
    for (size_t i = 0; i < published_.size(); ++i) {
      if (i >= from) {
        trusts.insert(published_[i]->roots_pem);
      }
      reached = reached || published_[i]->leaf_serial == report.acknowledged_leaf_serial;
      if (reached) {
        leaves.insert(published_[i]->leaf_serial);
      }
    }
    for (const auto& [key, context] : envoy->second.contexts) {
      RC_ASSERT(trusts.contains(context.trust));
      RC_ASSERT(leaves.contains(context.leaf));
    }
  }
}

void World::Step(uint32_t draw) {
  draw_ = draw;
  const uint32_t what = Pick(100);
  FakeEnvoy* envoy = AnyEnvoy();
  if (what < 6) {
    StartEnvoy();
  } else if (what < 8) {
    KillEnvoy();
  } else if (what < 13) {
    Publish(/*good=*/false);
  } else if (what < 17) {
    Pass(absl::Seconds(1 + Pick(15)));
  } else if (what < 18) {
    RestartAgent();
  } else if (what < 28) {
    for (auto& [id, connection] : connections_) {
      if (connection.half_dead) {
        HearClose(id);
        break;
      }
    }
  } else if (what < 36) {
    while (Flow()) {
      CheckReports();
    }
  } else if (what < 45) {
    for (auto& [id, connection] : connections_) {
      if (connection.writing) {
        connection.writing = false;
        Perform(registry_->Written(id, Now()));
        break;
      }
    }
  } else if (envoy == nullptr) {
    StartEnvoy();
  } else if (what < 55) {
    if (const auto slot = AnySlot(*envoy, /*connected=*/false); slot.has_value()) {
      Connect(*envoy, *slot);
    }
  } else if (what < 58) {
    ChangeSlots(*envoy);
  } else if (const auto slot = AnySlot(*envoy, /*connected=*/true); slot.has_value()) {
    if (what < 64) {
      Break(*envoy, *slot);
    } else if (what < 66) {
      Lie(*envoy, *slot);
    } else if (what < 82) {
      if (!envoy->slots.at(*slot).to_client.empty()) {
        envoy->Receive(*slot);
      }
    } else {
      Deliver(*envoy, *slot);
    }
  }
  for (auto& [pid, some] : envoys_) {
    if (!AnySlot(some, /*connected=*/false).has_value() &&
        std::none_of(some.slots.begin(), some.slots.end(),
                     [](const auto& entry) { return entry.second.to_server.size() > 0; })) {
      incomplete_.erase(pid);
    }
  }
}

// Lets what is on its way on the living streams arrive. False: nothing was.
bool World::Flow() {
  bool flowed = false;
  std::vector<StreamId> written;
  for (auto& [id, connection] : connections_) {
    if (!connection.half_dead && std::exchange(connection.writing, false)) {
      written.push_back(id);
    }
  }
  for (const StreamId id : written) {
    Perform(registry_->Written(id, Now()));
    flowed = true;
  }
  for (auto& [pid, envoy] : envoys_) {
    for (auto& [index, slot] : envoy.slots) {
      while (!slot.to_client.empty()) {
        envoy.Receive(index);
        flowed = true;
      }
      while (slot.stream.has_value() && !slot.to_server.empty()) {
        Deliver(envoy, index);
        flowed = true;
      }
    }
  }
  return flowed;
}

// The same, and every stream that broke is heard of and replaced. True: there was nothing to do.
bool World::Quiet() {
  bool quiet = true;
  std::vector<StreamId> dead;
  for (const auto& [id, connection] : connections_) {
    if (connection.half_dead) {
      dead.push_back(id);
    }
  }
  for (const StreamId id : dead) {
    HearClose(id);
    quiet = false;
  }
  for (auto& [pid, envoy] : envoys_) {
    for (auto& [index, slot] : envoy.slots) {
      if (!slot.stream.has_value()) {
        Connect(envoy, index);
        quiet = false;
      }
    }
  }
  return !Flow() && quiet;
}

void World::SettleAndCheckNobodyStarved() {
  Publish(/*good=*/true);
  const Material& last = *published_.back();
  for (int round = 0; round < 1000; ++round) {
    while (!Quiet()) {
    }
    CheckReports();
    const auto due = registry_->wake_at();
    if (!due.has_value()) {
      break;
    }
    RC_ASSERT(round < 999);
    now_ = std::max(now_, *due);
    Perform(registry_->Woken(Now()));
    // A timer that is not moved on by its own event would be a busy loop.
    RC_ASSERT(!registry_->wake_at().has_value() || *registry_->wake_at() > now_);
  }
  std::map<int64_t, ConsumerReport> reports;
  for (const ConsumerReport& report : registry_->Reports()) {
    reports[report.pid] = report;
  }
  const Names names(TestId());
  for (const auto& [pid, envoy] : envoys_) {
    bool trust = false;
    bool leaf = false;
    for (const auto& [index, slot] : envoy.slots) {
      for (const auto& [name, kind] : names.all()) {
        if (!slot.names.empty() && !slot.names.contains(name)) {
          continue;
        }
        (kind == Kind::kTrust ? trust : leaf) = true;
        RC_ASSERT(envoy.held.contains({index, name}));
        RC_ASSERT(envoy.held.at({index, name}).content ==
                  (kind == Kind::kTrust ? last.roots_pem : last.leaf_serial));
      }
    }
    RC_ASSERT(reports.contains(pid));
    RC_ASSERT((reports[pid].acknowledged_bundle == last.bundle_version) == (trust && leaf));
    RC_ASSERT((reports[pid].acknowledged_leaf_serial == last.leaf_serial) == (trust && leaf));
    for (const auto& [key, context] : envoy.contexts) {
      RC_ASSERT(context.trust == last.roots_pem);
      RC_ASSERT(context.leaf == last.leaf_serial);
    }
  }
}

RC_GTEST_PROP(RegistryProperty, ReportsOnlyWhatIsTrueRepeatsNothingAndStarvesNobody, ()) {
  const auto draws = *rc::gen::resize(600, rc::gen::arbitrary<std::vector<uint32_t>>());
  World world;
  for (const uint32_t draw : draws) {
    world.Step(draw);
    world.CheckReports();
  }
  world.SettleAndCheckNobodyStarved();
}

}  // namespace
}  // namespace capstan::sds
