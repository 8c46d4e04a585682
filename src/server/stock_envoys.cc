// SPDX-License-Identifier: Apache-2.0
#include "server/stock_envoys.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/strings.h"
#include "server/messages.h"
#include "x509/handshake.h"

namespace capstan::server {
namespace {

// What follows a change of trust comes by way of the agent.
constexpr absl::Duration kSettle = absl::Seconds(1);
// An Envoy's secrets are some 10 kB; nobody but its pod's owner says how much there is.
constexpr size_t kMostBytes = 1 << 20;

}  // namespace

StockEnvoys::StockEnvoys(kube::Client& client, ControlPlane& plane, Clock& clock, Metrics& metrics,
                         Options options)
    : plane_(plane),
      clock_(clock),
      options_(std::move(options)),
      blocking_{std::make_unique<EventLoop>(clock), std::make_unique<EventLoop>(clock),
                std::make_unique<EventLoop>(clock), std::make_unique<EventLoop>(clock)},
      loop_(clock),
      gauges_(metrics.Gauges("capstan_stock_envoys",
                             "Envoys of stock agents that are looked at: read, or not to be read")),
      subscription_(plane.Subscribe([this] { loop_.Post([this] { TakeChange(); }); })),
      watch_(std::make_unique<kube::Watch>(client, clock, kube::kPods,
                                           kube::Selection{"", kEnvoyLabel, ""}, WatchHandler())) {
  loop_.Post([this] { TakeChange(); });
}

StockEnvoys::~StockEnvoys() {
  subscription_.reset();
  watch_.reset();
  for (const auto& loop : blocking_) loop->Stop();
  loop_.Stop();
}

kube::Watch::Handler StockEnvoys::WatchHandler() {
  return {
      [this](const Json& object) { loop_.Post([this, object] { See(object); }); },
      [this](const kube::ObjectName& name) {
        loop_.Post([this, name] {
          refused_.erase(name);
          Forget(name);
        });
      },
      [this] {
        if (std::exchange(troubled_, false)) log::Info("pods with Envoys are followed again");
      },
      [this](const absl::Status& why) {
        if (std::exchange(troubled_, true)) return;
        log::Warn("pods with Envoys cannot be followed; trying again", {{"why", why.message()}});
      },
  };
}

void StockEnvoys::See(const Json& object) {
  const kube::ObjectName name = kube::NameOf(object);
  absl::StatusOr<EnvoyPod> pod = EnvoyPodOf(object, options_.trust_domain);
  if (!pod.ok()) {
    Forget(name);
    if (absl::IsNotFound(pod.status())) return;
    std::string& said = refused_[name];
    if (said == Std(pod.status().message())) return;
    said = std::string(pod.status().message());
    log::Warn("a pod's Envoy is not looked at",
              {{"pod", kube::ToString(name)}, {"why", pod.status().message()}});
    return;
  }
  refused_.erase(name);
  const auto known = envoys_.find(name);
  if (known != envoys_.end() && known->second.pod == *pod) return;
  Forget(name);
  Begin(name, *std::move(pod));
}

void StockEnvoys::Forget(const kube::ObjectName& name) {
  const auto known = envoys_.find(name);
  if (known == envoys_.end()) return;
  plane_.Saw(known->second.pod.key, std::nullopt);
  envoys_.erase(known);
  ShowCounts();
}

void StockEnvoys::Begin(const kube::ObjectName& name, EnvoyPod pod) {
  Watched& watched = envoys_[name];
  watched.pod = std::move(pod);
  watched.next = std::make_unique<Timer>(loop_);
  if (!watched.pod.admin.empty()) {
    watched.admin.emplace(watched.pod.admin, envoy::AdminOptions{.max_bytes = kMostBytes});
  }
  if (!watched.pod.probes.empty()) {
    watched.prober.emplace(
        probe::Prober::Options{.seed = watched.pod.key.instance,
                               .trust_domain = options_.trust_domain,
                               .targets = watched.pod.probes,
                               .policy = {}},
        probe::Prober::Ports{.executor = loop_,
                             .blocking = BlockingFor(name),
                             .clock = clock_,
                             .obtain =
                                 [this](const rpc::GrpcCaClient::ProbeRequest& request,
                                        const rpc::GrpcCaClient::Callback& done) {
                                   loop_.Post([this, request, done] {
                                     done(plane_.SignProbe("a stock agent's Envoy", request.csr_pem,
                                                           request.authority_id));
                                   });
                                 },
                             .handshake = x509::Handshake,
                             .changed =
                                 [this, name] {
                                   if (const auto here = envoys_.find(name);
                                       here != envoys_.end()) {
                                     Tell(here->second);
                                   }
                                 }});
    TellProber(watched);
  }
  Look(name);
}

// What is trusted or asked for is another; each is looked at within an interval.
void StockEnvoys::TakeChange() {
  const std::shared_ptr<const trust::TrustState> trust = plane_.trust();
  if (trust == nullptr) return;
  bundles_.Add(trust->version, trust->bundle);
  const absl::Duration step =
      Interval() / std::max<int64_t>(static_cast<int64_t>(envoys_.size()), 1);
  absl::Duration due = kSettle;
  for (auto& [name, watched] : envoys_) {
    TellProber(watched);
    watched.next->Set(due, [this, name = name] { Look(name); });
    due += step;
  }
}

absl::Duration StockEnvoys::Interval(int failures) const {
  const std::optional<RotationView> rotation = plane_.keeper().rotation();
  const bool busy = rotation.has_value() && !rotation->record.finished();
  const absl::Duration again =
      failures == 0
          ? options_.quiet
          : std::min(options_.busy * (int64_t{1} << std::min(failures - 1, 10)), options_.quiet);
  return std::max(busy ? options_.busy : again,
                  absl::Seconds(static_cast<double>(envoys_.size()) / options_.most_per_second));
}

EventLoop& StockEnvoys::BlockingFor(const kube::ObjectName& name) {
  return *blocking_[std::hash<std::string>()(kube::ToString(name)) % blocking_.size()];
}

void StockEnvoys::Look(const kube::ObjectName& name) {
  Watched& watched = envoys_.at(name);
  if (!watched.admin.has_value() || std::exchange(watched.looking, true)) return;
  BlockingFor(name).Post([this, name, key = watched.pod.key, admin = *watched.admin] {
    absl::StatusOr<EnvoyHoldings> holdings = [&]() -> absl::StatusOr<EnvoyHoldings> {
      auto held = admin.Secrets();
      if (!held.ok()) return held.status();
      return HoldingsOf(*held);
    }();
    loop_.Post([this, name, key, holdings = std::move(holdings)] { Take(name, key, holdings); });
  });
}

void StockEnvoys::Take(const kube::ObjectName& name, const fleet::Key& key,
                       const absl::StatusOr<EnvoyHoldings>& holdings) {
  const auto known = envoys_.find(name);
  if (known == envoys_.end() || known->second.pod.key != key) return;
  Watched& watched = known->second;
  watched.looking = false;
  const bool failed = watched.failures > 0;
  const bool news = !std::exchange(watched.looked_at, true) || failed == holdings.ok();
  watched.failures = holdings.ok() ? 0 : watched.failures + 1;
  watched.next->Set(Interval(watched.failures), [this, name] { Look(name); });
  if (news) ShowCounts();
  if (!holdings.ok()) {
    if (news) {
      log::Warn("a stock agent's Envoy cannot be read; what was read of it last stays",
                {{"pod", watched.pod.name},
                 {"admin", watched.pod.admin},
                 {"why", holdings.status().message()}});
    }
    // It answers, and holds nothing any more: it began anew.
    const bool empty = absl::IsFailedPrecondition(holdings.status());
    if (empty && watched.sighting.envoy.has_value()) Note(watched, {}, {});
    return;
  }
  if (news) {
    log::Info("a stock agent's Envoy is read",
              {{"pod", watched.pod.name}, {"admin", watched.pod.admin}});
  }
  Note(watched, bundles_.VersionOf(holdings->roots), LeafOf(holdings->leaf));
}

void StockEnvoys::Note(Watched& watched, trust::BundleVersion bundle, fleet::Leaf shown) {
  fleet::Consumer envoy{.id = "envoy",
                        .kind = fleet::ConsumerKind::kEnvoy,
                        .node_id = watched.pod.name,
                        .connected = true,
                        .acknowledged_bundle = std::move(bundle),
                        .acknowledged_leaf_serial = shown.serial};
  const std::optional<fleet::Consumer>& before = watched.sighting.envoy;
  const bool same = before.has_value() &&
                    before->acknowledged_bundle == envoy.acknowledged_bundle &&
                    before->acknowledged_leaf_serial == envoy.acknowledged_leaf_serial;
  envoy.acknowledged_at = same ? before->acknowledged_at : clock_.Now();
  watched.sighting.envoy = std::move(envoy);
  watched.sighting.shown = std::move(shown);
  TellProber(watched);
  Tell(watched);
}

void StockEnvoys::TellProber(Watched& watched) {
  const std::shared_ptr<const trust::TrustState> trust = plane_.trust();
  const std::shared_ptr<const fleet::v1::TrustUpdate> update = plane_.update();
  if (!watched.prober.has_value() || trust == nullptr || update == nullptr) return;
  watched.prober->OnTrust(trust->bundle, trust->version);
  probe::ProbedConsumer consumer{.id = "envoy"};
  if (watched.sighting.envoy.has_value()) {
    consumer.bundle = watched.sighting.envoy->acknowledged_bundle;
    consumer.leaf_serial = watched.sighting.shown.serial;
  }
  watched.prober->OnConsumers({consumer});
  if (const auto probing = probe::ProbingOf(update->probing()); probing.ok()) {
    watched.prober->OnProbing(*probing);
  }
}

void StockEnvoys::Tell(const Watched& watched) {
  fleet::Sighting sighting = watched.sighting;
  if (watched.prober.has_value()) {
    for (const fleet::v1::ProbeResult& result : watched.prober->results()) {
      sighting.probes.push_back(ProbeOf(result));
    }
  }
  plane_.Saw(watched.pod.key, std::move(sighting));
}

void StockEnvoys::ShowCounts() {
  int64_t read = 0;
  int64_t unread = 0;
  for (const auto& [name, watched] : envoys_) {
    if (watched.admin.has_value() && watched.looked_at) ++(watched.failures == 0 ? read : unread);
  }
  gauges_.Set({{{{"state", "read"}}, static_cast<double>(read)},
               {{{"state", "unread"}}, static_cast<double>(unread)}});
}

}  // namespace capstan::server
