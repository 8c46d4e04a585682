// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/json.h"
#include "base/metrics.h"
#include "envoy/admin.h"
#include "kube/client.h"
#include "kube/watch.h"
#include "probe/prober.h"
#include "server/control_plane.h"
#include "server/envoy_pod.h"

namespace capstan::server {

// Looks at the Envoys of stock agents, which say nothing of them: what each holds, by its admin
// interface, and what handshakes with it show. Follows the pods with kEnvoyLabel; what is said of
// them is told the control plane.
class StockEnvoys {
 public:
  struct Options {
    spiffe::TrustDomain trust_domain;
    absl::Duration busy = absl::Seconds(5);   // between two looks at one while a rotation runs
    absl::Duration quiet = absl::Minutes(1);  // and else; who does not answer is tried sooner
    double most_per_second = 50;              // looks at all of them
  };
  // All that is passed by reference outlives it. Begins at once.
  StockEnvoys(kube::Client& client, ControlPlane& plane, Clock& clock, Metrics& metrics,
              Options options);
  // Waits for the looks under way.
  ~StockEnvoys();

 private:
  struct Watched {
    EnvoyPod pod;
    std::optional<envoy::AdminClient> admin;
    std::optional<probe::Prober> prober;
    fleet::Sighting sighting;
    int failures = 0;        // to look, in a row
    bool looked_at = false;  // once at least
    bool looking = false;
    std::unique_ptr<Timer> next;
  };
  kube::Watch::Handler WatchHandler();
  // The loop's.
  void See(const Json& object);
  void Forget(const kube::ObjectName& name);
  void Begin(const kube::ObjectName& name, EnvoyPod pod);
  void TakeChange();
  absl::Duration Interval(int failures = 0) const;
  void Look(const kube::ObjectName& name);
  void Take(const kube::ObjectName& name, const fleet::Key& key,
            const absl::StatusOr<EnvoyHoldings>& holdings);
  void Note(Watched& watched, trust::BundleVersion bundle, fleet::Leaf shown);
  void TellProber(Watched& watched);
  void Tell(const Watched& watched);
  void ShowCounts();
  EventLoop& BlockingFor(const kube::ObjectName& name);

  ControlPlane& plane_;
  Clock& clock_;
  const Options options_;
  bool troubled_ = false;  // the watch's
  std::array<std::unique_ptr<EventLoop>, 4> blocking_;
  EventLoop loop_;
  // The loop's.
  GaugeSet gauges_;
  KnownBundles bundles_;
  std::map<kube::ObjectName, Watched> envoys_;
  std::map<kube::ObjectName, std::string> refused_;  // pods that cannot be looked at, and why
  std::shared_ptr<void> subscription_;
  std::unique_ptr<kube::Watch> watch_;
};

}  // namespace capstan::server
