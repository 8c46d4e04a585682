// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/json.h"
#include "base/mutex.h"
#include "cluster/bootstrap_places.h"
#include "kube/client.h"
#include "kube/watch.h"
#include "server/ca_secret.h"
#include "server/control_plane.h"
#include "trust/ca_set.h"
#include "x509/certificate.h"

namespace capstan::server {

// What is to become of the Secret that istiod takes.
enum class SecretTask {
  kNothing,  // it shows what is in force
  kClaim,    // it does, by somebody else's hand: so that it is no wish any more once that changes
  kShow,     // it is to show what is in force
  kLeave,    // somebody wrote what was not taken over
};

// `held`: the set that it holds; nullopt: none that is usable. `ours`: IsOurs(). `desired`: the
// digest of the last wish that was taken over.
SecretTask TaskFor(const std::optional<trust::CaSet>& held, bool ours, const trust::CaSet& in_force,
                   const std::string& desired);

// In Istio's layout. Its root-cert.pem says with its bytes who signs, and is never of the bytes
// `before`: stock agents ask for a certificate when the bytes change, and only then.
trust::CaFiles FilesForIstiod(const trust::CaSet& in_force, const trust::TrustState& trust,
                              const std::string& before);

// Keeps the Secret from which a live istiod takes its CA at what is in force, step by step as a
// rotation goes, so that istiod's own certificate, the roots it tells agents (PCDS) and those in
// its ConfigMaps go with it; and keeps gates shut until istiod is there.
class IstiodKeeper final : public cluster::BootstrapPlaces {
 public:
  struct Options {
    std::string address;         // of istiod, "HOST:PORT"
    absl::Duration propagation;  // in which kubelet brings a Secret that changed to its pod
  };
  // All that is passed by reference outlives it.
  IstiodKeeper(kube::Client& client, CaSecret& secret, ControlPlane& plane, Clock& clock,
               Options options);
  ~IstiodKeeper() override;

  std::vector<rotation::Holder> Lacking(const rotation::Gate& gate, absl::Duration now) override;

 private:
  struct Shown {
    int64_t sequence = 0;  // of the bundle
    int64_t issuer_epoch = 0;
    absl::Duration since;  // monotonic
  };
  void See(std::optional<Json> secret);
  void Trouble(const absl::Status& why);
  // The loop's.
  void Work();
  absl::Status Keep();
  void Say(const absl::Status& why);
  void LookAtIstiod();
  std::string WhyNotShown(const rotation::Gate& gate, absl::Duration now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string WhyNotMoved(const rotation::Gate& gate) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  CaSecret& secret_;
  ControlPlane& plane_;
  Clock& clock_;
  const Options options_;
  mutable Mutex mutex_;
  std::optional<Shown> shown_ ABSL_GUARDED_BY(mutex_);
  std::string trouble_ ABSL_GUARDED_BY(mutex_) = "it has not been looked at yet";
  absl::StatusOr<std::vector<x509::Certificate>> served_ ABSL_GUARDED_BY(mutex_);
  EventLoop loop_;
  // The loop's.
  Timer retry_;
  Timer look_;
  std::optional<Json> present_;
  absl::Duration present_since_;
  std::shared_ptr<void> subscription_;
  std::unique_ptr<kube::Watch> watch_;
};

}  // namespace capstan::server
