// SPDX-License-Identifier: Apache-2.0
#include "cluster/root_config_map_keeper.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/strings.h"
#include "trust/bundle.h"

namespace capstan::cluster {
namespace {

using Watched = RootConfigMaps::Watched;

constexpr std::string_view kKey = "root-cert.pem";
constexpr std::string_view kLabel = "istio.io/config";
// As Istio leaves them out.
constexpr std::array<std::string_view, 3> kLeftOut = {"kube-public", "kube-node-lease",
                                                      "local-path-storage"};

Json Content(const std::string& pem) {
  return {{"metadata", {{"labels", {{kLabel, "true"}}}}}, {"data", {{kKey, pem}}}};
}

std::string_view NameOf(Watched what) {
  return what == Watched::kMaps ? "ConfigMaps" : "namespaces";
}

std::string Took(absl::Duration took) {
  return absl::FormatDuration(absl::Trunc(took, absl::Milliseconds(10)));
}

}  // namespace

bool WantsRootConfigMap(const Json& ns) {
  const std::string name = kube::NameOf(ns).name;
  return std::find(kLeftOut.begin(), kLeftOut.end(), name) == kLeftOut.end() &&
         kube::Metadata(ns, "deletionTimestamp").empty() &&
         TextAt(ns, {"status", "phase"}) != "Terminating";
}

RootConfigMaps::Map RootConfigMapOf(const Json& map, RootConfigMaps::Writer writer) {
  RootConfigMaps::Map seen;
  seen.resource_version = kube::Metadata(map, "resourceVersion");
  std::string pem = TextAt(map, {"data", kKey});
  if (writer == RootConfigMaps::Writer::kIstiod) {
    if (const auto bundle = trust::Bundle::ParsePem(pem); bundle.ok()) pem = bundle->ToPem();
  }
  seen.digest = RootConfigMaps::DigestOf(pem);
  seen.labelled = TextAt(map, {"metadata", "labels", kLabel}) == "true";
  return seen;
}

RootConfigMapKeeper::RootConfigMapKeeper(kube::Client& client, rpc::ControlPlane& plane,
                                         Clock& clock, Metrics& metrics, absl::Duration propagation,
                                         RootConfigMaps::Writer writer)
    : client_(client),
      plane_(plane),
      clock_(clock),
      writer_(writer),
      machine_(propagation, writer),
      loop_(clock),
      timer_(loop_),
      gauges_(metrics.Gauges("capstan_root_config_maps",
                             "ConfigMaps istio-ca-root-cert: current, behind the trust bundle, and "
                             "failing to be written")),
      subscription_(plane.Subscribe([this] { loop_.Post([this] { TakeBundle(); }); })),
      namespaces_(std::make_unique<kube::Watch>(client, clock, kube::kNamespaces, kube::Selection(),
                                                NamespaceHandler())),
      maps_(std::make_unique<kube::Watch>(
          client, clock, kube::kConfigMaps,
          kube::Selection{"", "", absl::StrCat("metadata.name=", kRootConfigMap)}, MapHandler())) {
  loop_.Post([this] { TakeBundle(); });
}

RootConfigMapKeeper::~RootConfigMapKeeper() {
  subscription_.reset();
  namespaces_.reset();
  maps_.reset();
  loop_.Stop();
}

kube::Watch::Handler RootConfigMapKeeper::NamespaceHandler() {
  return {
      [this](const Json& object) {
        Tell([&](RootConfigMaps& machine, absl::Duration) {
          const std::string ns = kube::NameOf(object).name;
          WantsRootConfigMap(object) ? machine.NamespaceSeen(ns) : machine.NamespaceGone(ns);
        });
      },
      [this](const kube::ObjectName& name) {
        Tell([&](RootConfigMaps& machine, absl::Duration) { machine.NamespaceGone(name.name); });
      },
      [this] { Synced(Watched::kNamespaces); },
      [this](const absl::Status& why) { Trouble(Watched::kNamespaces, why); },
  };
}

kube::Watch::Handler RootConfigMapKeeper::MapHandler() {
  return {
      [this](const Json& object) {
        Tell([&](RootConfigMaps& machine, absl::Duration now) {
          machine.MapSeen(kube::NameOf(object).ns, RootConfigMapOf(object, writer_), now);
        });
      },
      [this](const kube::ObjectName& name) {
        Tell([&](RootConfigMaps& machine, absl::Duration now) { machine.MapGone(name.ns, now); });
      },
      [this] { Synced(Watched::kMaps); },
      [this](const absl::Status& why) { Trouble(Watched::kMaps, why); },
  };
}

void RootConfigMapKeeper::Tell(
    const std::function<void(RootConfigMaps&, absl::Duration now)>& event) {
  {
    MutexLock lock(mutex_);
    event(machine_, clock_.Monotonic());
  }
  Poke();
}

void RootConfigMapKeeper::Synced(Watched what) {
  bool first = false;
  RootConfigMaps::Counts counts;
  Tell([&](RootConfigMaps& machine, absl::Duration) {
    first = machine.Synced(what);
    counts = machine.Count();
  });
  if (std::exchange(troubled_[static_cast<size_t>(what)], false)) {
    log::Info(absl::StrCat(NameOf(what), " are followed again"));
  }
  if (!first) return;
  log::Info(absl::StrCat("ConfigMaps ", kRootConfigMap, " follow the trust bundle"),
            {{"namespaces", counts.all()}, {"current", counts.current}, {"behind", counts.behind}});
}

void RootConfigMapKeeper::Trouble(Watched what, const absl::Status& why) {
  Tell([&](RootConfigMaps& machine, absl::Duration) {
    machine.Trouble(what, std::string(why.message()));
  });
  if (std::exchange(troubled_[static_cast<size_t>(what)], true)) return;
  log::Warn(absl::StrCat(NameOf(what), " cannot be followed; trying again"),
            {{"why", why.message()}});
}

std::vector<rotation::Holder> RootConfigMapKeeper::Lacking(const rotation::Gate& gate,
                                                           absl::Duration now) {
  if (!gate.AsksForFirstTrust()) return {};
  MutexLock lock(mutex_);
  return machine_.Lacking(gate.bundle, now);
}

void RootConfigMapKeeper::Poke() {
  if (poked_.exchange(true)) return;
  loop_.Post([this] {
    poked_ = false;
    Work();
  });
}

void RootConfigMapKeeper::TakeBundle() {
  const std::shared_ptr<const trust::TrustState> trust = plane_.trust();
  if (trust == nullptr) return;
  {
    MutexLock lock(mutex_);
    if (machine_.wanted() == trust->version) return;
    machine_.Want(trust->version, trust->bundle.ToPem(), clock_.Monotonic());
  }
  Poke();
}

// One write at a time, so that what is wanted by then is what is written.
void RootConfigMapKeeper::Work() {
  RootConfigMaps::Next next;
  std::optional<RootConfigMaps::Done> done;
  absl::Duration now;
  {
    MutexLock lock(mutex_);
    now = clock_.Monotonic();
    next = machine_.Take(now);
    if (!next.write.has_value()) done = machine_.TakeDone(now);
  }
  // Counting looks at all of them: not for each of thousands of writes.
  if (!next.write.has_value() || now - shown_at_ >= absl::Seconds(1)) {
    shown_at_ = now;
    ShowCounts();
  }
  if (done.has_value()) {
    log::Info(absl::StrCat(done->maps, " ConfigMaps ", kRootConfigMap, " hold bundle ",
                           done->bundle.sequence),
              {{"took", Took(done->took)}});
  }
  if (next.write.has_value()) return Perform(*next.write);
  if (next.at == absl::InfiniteDuration()) return timer_.Cancel();
  timer_.Set(next.at - now, [this] { Poke(); });
}

void RootConfigMapKeeper::Perform(const RootConfigMaps::Write& write) {
  const kube::ObjectName name{write.ns, std::string(kRootConfigMap)};
  Json object = Content(write.pem);
  absl::Status status;
  if (write.resource_version.empty()) {
    object["metadata"]["name"] = name.name;
    status = client_.Create(kube::kConfigMaps, name, object).status();
  } else {
    object["metadata"]["resourceVersion"] = write.resource_version;
    status = client_.Patch(kube::kConfigMaps, name, object).status();
  }
  RootConfigMaps::News news = RootConfigMaps::News::kNothing;
  Tell([&](RootConfigMaps& machine, absl::Duration now) {
    if (status.ok()) {
      machine.Written(write.ns, now);
    } else {
      news = machine.Failed(write.ns, status, now);
    }
  });
  Say(write, status, news);
}

void RootConfigMapKeeper::Say(const RootConfigMaps::Write& write, const absl::Status& status,
                              RootConfigMaps::News news) {
  if (status.ok() && std::exchange(server_fails_, false)) {
    log::Info("ConfigMaps are written again");
  }
  if (status.ok() && !write.repairs.empty()) {
    log::Warn(absl::StrCat("the ConfigMap ", kRootConfigMap, " was repaired"),
              {{"namespace", write.ns}, {"why", write.repairs}});
  }
  switch (news) {
    case RootConfigMaps::News::kNothing:
      return;
    case RootConfigMaps::News::kNamespaceFails:
      log::Error(absl::StrCat("the ConfigMap ", kRootConfigMap, " is not written; trying again"),
                 {{"namespace", write.ns}, {"why", status.message()}});
      return;
    case RootConfigMaps::News::kServerFails:
      server_fails_ = true;
      log::Error("ConfigMaps are not written; trying again", {{"why", status.message()}});
  }
}

void RootConfigMapKeeper::ShowCounts() {
  RootConfigMaps::Counts counts;
  {
    MutexLock lock(mutex_);
    counts = machine_.Count();
  }
  gauges_.Set({{{{"state", "current"}}, static_cast<double>(counts.current)},
               {{{"state", "behind"}}, static_cast<double>(counts.behind)},
               {{{"state", "failing"}}, static_cast<double>(counts.failing)}});
}

}  // namespace capstan::cluster
