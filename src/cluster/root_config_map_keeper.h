// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/json.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "cluster/bootstrap_places.h"
#include "cluster/root_config_maps.h"
#include "kube/client.h"
#include "kube/watch.h"
#include "rpc/control_plane.h"

namespace capstan::cluster {

// Whether a Namespace, as it is, is to have the ConfigMap.
bool WantsRootConfigMap(const Json& ns);
// A ConfigMap as RootConfigMaps sees it.
RootConfigMaps::Map RootConfigMapOf(const Json& map, RootConfigMaps::Writer writer);

// Keeps the ConfigMap istio-ca-root-cert of every namespace at the trust bundle, or looks at what
// istiod writes there: drives RootConfigMaps. Watches tell the machine on their own threads; writes
// block a loop of its own.
class RootConfigMapKeeper final : public BootstrapPlaces {
 public:
  // All that is passed by reference outlives it. Begins at once; until `plane` has a bundle nothing
  // is written.
  RootConfigMapKeeper(kube::Client& client, rpc::ControlPlane& plane, Clock& clock,
                      Metrics& metrics, absl::Duration propagation,
                      RootConfigMaps::Writer writer = RootConfigMaps::Writer::kUs);
  // Waits for the write that is under way.
  ~RootConfigMapKeeper() override;

  std::vector<rotation::Holder> Lacking(const rotation::Gate& gate, absl::Duration now) override;

 private:
  kube::Watch::Handler NamespaceHandler();
  kube::Watch::Handler MapHandler();
  // Any thread.
  void Tell(const std::function<void(RootConfigMaps&, absl::Duration now)>& event);
  void Synced(RootConfigMaps::Watched what);
  void Trouble(RootConfigMaps::Watched what, const absl::Status& why);
  void Poke();
  // The loop's.
  void TakeBundle();
  void Work();
  void Perform(const RootConfigMaps::Write& write);
  void Say(const RootConfigMaps::Write& write, const absl::Status& status,
           RootConfigMaps::News news);
  void ShowCounts();

  kube::Client& client_;
  rpc::ControlPlane& plane_;
  Clock& clock_;
  const RootConfigMaps::Writer writer_;
  Mutex mutex_;
  RootConfigMaps machine_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> poked_ = false;
  EventLoop loop_;
  // The loop's.
  Timer timer_;
  GaugeSet gauges_;
  absl::Duration shown_at_ = -absl::InfiniteDuration();
  bool server_fails_ = false;
  std::array<bool, 2> troubled_ = {};  // each its watch's
  std::shared_ptr<void> subscription_;
  std::unique_ptr<kube::Watch> namespaces_;
  std::unique_ptr<kube::Watch> maps_;
};

}  // namespace capstan::cluster
