// SPDX-License-Identifier: Apache-2.0
#include "cluster/cluster_trust_bundle_keeper.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/log.h"

namespace capstan::cluster {

ClusterTrustBundleKeeper::ClusterTrustBundleKeeper(kube::Client& client, rpc::ControlPlane& plane,
                                                   Clock& clock, Metrics& metrics,
                                                   ClusterTrustBundleName name,
                                                   absl::Duration propagation)
    : client_(client),
      plane_(plane),
      clock_(clock),
      name_(std::move(name)),
      machine_(name_, propagation),
      loop_(clock),
      timer_(loop_),
      gauges_(metrics.Gauges("capstan_cluster_trust_bundle",
                             "1 for what the ClusterTrustBundle is: current, behind the trust "
                             "bundle, or failing to be written")),
      subscription_(plane.Subscribe([this] { loop_.Post([this] { TakeBundle(); }); })),
      watch_(std::make_unique<kube::Watch>(
          client, clock, kube::kClusterTrustBundles,
          kube::Selection{"", "", absl::StrCat("metadata.name=", name_.name())},
          kube::Watch::Handler{
              [this](const Json& object) {
                Tell([version = kube::Metadata(object, "resourceVersion"),
                      pem = TextAt(object, {"spec", "trustBundle"})](ClusterTrustBundle& machine,
                                                                     absl::Duration now) {
                  machine.Seen(version, pem, now);
                });
              },
              [this](const kube::ObjectName&) {
                Tell([](ClusterTrustBundle& machine, absl::Duration now) { machine.Gone(now); });
              },
              [this] { loop_.Post([this] { Synced(); }); },
              [this](const absl::Status& why) { loop_.Post([this, why] { Trouble(why); }); },
          })) {
  loop_.Post([this] { TakeBundle(); });
}

ClusterTrustBundleKeeper::~ClusterTrustBundleKeeper() {
  subscription_.reset();
  watch_.reset();
  loop_.Stop();
}

void ClusterTrustBundleKeeper::Tell(
    std::function<void(ClusterTrustBundle&, absl::Duration now)> event) {
  loop_.Post([this, event = std::move(event)] {
    {
      MutexLock lock(mutex_);
      event(machine_, clock_.Monotonic());
    }
    Work();
  });
}

void ClusterTrustBundleKeeper::TakeBundle() {
  const std::shared_ptr<const trust::TrustState> trust = plane_.trust();
  if (trust == nullptr) return;
  {
    MutexLock lock(mutex_);
    if (machine_.wanted() == trust->version) return;
    machine_.Want(trust->version, trust->bundle, clock_.Monotonic());
  }
  Work();
}

void ClusterTrustBundleKeeper::Synced() {
  bool first = false;
  {
    MutexLock lock(mutex_);
    first = machine_.Synced();
  }
  if (std::exchange(troubled_, false)) {
    log::Info("the ClusterTrustBundle is followed again", {{"name", name_.name()}});
  } else if (first) {
    log::Info("the ClusterTrustBundle follows the trust bundle", {{"name", name_.name()}});
  }
  Work();
}

void ClusterTrustBundleKeeper::Trouble(const absl::Status& status) {
  const std::string why = WhyNotFollowed(status);
  {
    MutexLock lock(mutex_);
    machine_.Trouble(why);
  }
  if (std::exchange(troubled_, true)) return;
  log::Warn("the ClusterTrustBundle cannot be followed; trying again",
            {{"name", name_.name()}, {"why", why}});
}

std::vector<rotation::Holder> ClusterTrustBundleKeeper::Lacking(const rotation::Gate& gate,
                                                                absl::Duration now) {
  if (!gate.AsksForFirstTrust()) return {};
  MutexLock lock(mutex_);
  return machine_.Lacking(gate.bundle, now);
}

void ClusterTrustBundleKeeper::Work() {
  ClusterTrustBundle::Next next;
  std::optional<ClusterTrustBundle::Done> done;
  ClusterTrustBundle::State state;
  absl::Duration now;
  {
    MutexLock lock(mutex_);
    now = clock_.Monotonic();
    next = machine_.Take(now);
    done = machine_.TakeDone(now);
    state = machine_.state();
  }
  ShowState(state);
  if (done.has_value()) {
    log::Info(absl::StrCat("the ClusterTrustBundle holds bundle ", done->bundle.sequence),
              {{"name", name_.name()},
               {"took", absl::FormatDuration(absl::Trunc(done->took, absl::Milliseconds(10)))}});
  }
  if (next.write.has_value()) return Perform(*next.write);
  if (next.at == absl::InfiniteDuration()) return timer_.Cancel();
  timer_.Set(next.at - now, [this] { Work(); });
}

void ClusterTrustBundleKeeper::Perform(const ClusterTrustBundle::Write& write) {
  Json object = {{"spec", {{"trustBundle", write.pem}}}};
  absl::Status status;
  if (write.resource_version.empty()) {
    object["metadata"]["name"] = name_.name();
    if (!name_.signer().empty()) object["spec"]["signerName"] = name_.signer();
    status = client_.Create(kube::kClusterTrustBundles, {"", name_.name()}, object).status();
  } else {
    object["metadata"]["resourceVersion"] = write.resource_version;
    status = client_.Patch(kube::kClusterTrustBundles, {"", name_.name()}, object).status();
  }
  if (status.ok() && std::exchange(fails_, false)) {
    log::Info("the ClusterTrustBundle is written again", {{"name", name_.name()}});
  }
  if (status.ok() && !write.repairs.empty()) {
    log::Warn("the ClusterTrustBundle was repaired",
              {{"name", name_.name()}, {"why", write.repairs}});
  }
  bool news = false;
  {
    MutexLock lock(mutex_);
    const absl::Duration now = clock_.Monotonic();
    if (status.ok()) {
      machine_.Written(now);
    } else {
      news = machine_.Failed(status, now);
    }
  }
  if (news) {
    fails_ = true;
    log::Error("the ClusterTrustBundle is not written; trying again",
               {{"name", name_.name()}, {"why", status.message()}});
  }
  Work();
}

void ClusterTrustBundleKeeper::ShowState(ClusterTrustBundle::State state) {
  using State = ClusterTrustBundle::State;
  const auto is = [&](State that) { return state == that ? 1.0 : 0.0; };
  gauges_.Set({{{{"state", "current"}}, is(State::kCurrent)},
               {{{"state", "behind"}}, is(State::kBehind)},
               {{{"state", "failing"}}, is(State::kFailing)}});
}

}  // namespace capstan::cluster
