// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "cluster/bootstrap_places.h"
#include "cluster/cluster_trust_bundle.h"
#include "kube/client.h"
#include "kube/watch.h"
#include "rpc/control_plane.h"

namespace capstan::cluster {

// Keeps one ClusterTrustBundle at the trust bundle: drives ClusterTrustBundle, on a loop of its own
// that writes block.
class ClusterTrustBundleKeeper final : public BootstrapPlaces {
 public:
  // All that is passed by reference outlives it. Begins at once; until `plane` has a bundle nothing
  // is written.
  ClusterTrustBundleKeeper(kube::Client& client, rpc::ControlPlane& plane, Clock& clock,
                           Metrics& metrics, ClusterTrustBundleName name,
                           absl::Duration propagation);
  // Waits for the write that is under way.
  ~ClusterTrustBundleKeeper() override;

  std::vector<rotation::Holder> Lacking(const rotation::Gate& gate, absl::Duration now) override;

 private:
  // Any thread: tells the machine, and sees to what follows.
  void Tell(std::function<void(ClusterTrustBundle&, absl::Duration now)> event);
  // The loop's.
  void TakeBundle();
  void Synced();
  void Trouble(const absl::Status& why);
  void Work();
  void Perform(const ClusterTrustBundle::Write& write);
  void ShowState(ClusterTrustBundle::State state);

  kube::Client& client_;
  rpc::ControlPlane& plane_;
  Clock& clock_;
  const ClusterTrustBundleName name_;
  Mutex mutex_;
  ClusterTrustBundle machine_ ABSL_GUARDED_BY(mutex_);
  EventLoop loop_;
  // The loop's.
  Timer timer_;
  GaugeSet gauges_;
  bool troubled_ = false;
  bool fails_ = false;
  std::shared_ptr<void> subscription_;
  std::unique_ptr<kube::Watch> watch_;
};

}  // namespace capstan::cluster
