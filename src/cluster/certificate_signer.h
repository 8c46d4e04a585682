// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "cluster/signing_policy.h"
#include "cluster/signing_requests.h"
#include "kube/client.h"
#include "kube/watch.h"
#include "rpc/control_plane.h"

namespace capstan::cluster {

// A Kubernetes signer: answers the approved CertificateSigningRequests of one signer name, with a
// certificate or with the condition Failed. Drives SigningRequests. The watch tells the machine on
// its own thread; answers block a loop of its own.
class CertificateSigner {
 public:
  struct Options {
    std::string signer;  // "capstan.dev/workload"
    spiffe::TrustDomain trust_domain;
    absl::Duration max_ttl;
  };
  // All that is passed by reference outlives it. Begins at once.
  CertificateSigner(kube::Client& client, rpc::ControlPlane& plane, Clock& clock, Metrics& metrics,
                    Options options);
  // Waits for the answer that is under way.
  ~CertificateSigner();

 private:
  kube::Watch::Handler WatchHandler();
  // Any thread.
  void Tell(const std::function<void(SigningRequests&, absl::Duration now)>& event);
  void See(const Json& object);
  void Poke();
  // The loop's.
  void Work();
  void Perform(SigningRequests::Turn turn);
  void Refuse(const SigningRequests::Turn& turn, const Refusal& refusal);
  // False, as for the next: it does not go on now, and the machine was told.
  bool Sign(SigningRequests::Turn& turn, const WantedLeaf& wanted);
  bool Answer(const SigningRequests::Turn& turn, const Json& patch, const std::string& result);
  void Fail(const SigningRequests::Turn& turn, const absl::Status& why);

  kube::Client& client_;
  rpc::ControlPlane& plane_;
  Clock& clock_;
  Metrics& metrics_;
  const Options options_;
  prometheus::Gauge& waiting_;
  Mutex mutex_;
  SigningRequests machine_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> poked_ = false;
  EventLoop loop_;
  // The loop's.
  Timer timer_;
  bool fails_ = false;
  bool troubled_ = false;  // the watch's
  std::unique_ptr<kube::Watch> watch_;
};

}  // namespace capstan::cluster
