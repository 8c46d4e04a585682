// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/mutex.h"
#include "rpc/ads_stream.h"
#include "rpc/control_plane.h"

namespace capstan::rpc {

// Every open ADS stream. One thread sends each change of the roots, or of the issuer, to every
// agent at its own time (pcds::SlotOf): a stock agent asks for a certificate whenever it is told
// something, so that all at once would be a stampede. What another change overtakes is not sent.
class AdsHub final : public AdsStreamSet {
 public:
  struct Options {
    size_t max_streams = 20000;
    absl::Duration tick = absl::Milliseconds(100);
  };
  // `plane` outlives it.
  AdsHub(ControlPlane& plane, const Options& options);
  ~AdsHub() override;

  // ResourceExhausted: there are too many. Unavailable: shutting down.
  absl::StatusOr<std::shared_ptr<AdsStream>> Open(AdsFront front, const std::string& peer);
  // Ends every stream with Unavailable and opens no more; returns at once.
  void EndAll();
  // After EndAll: waits until the last stream is gone and stops the thread.
  void Stop();

 private:
  std::shared_ptr<const pcds::Resource> Subscribed(AdsStream& stream) override;
  void Gone(AdsStream& stream) override;
  // What is to be sent by now, where that changed since it was asked last.
  void Refresh() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Tick();

  ControlPlane& plane_;
  const Options options_;
  // Never held while a stream is called.
  Mutex mutex_;
  std::condition_variable_any emptied_;
  std::map<AdsStream*, std::shared_ptr<AdsStream>> streams_ ABSL_GUARDED_BY(mutex_);
  std::map<AdsStream*, std::shared_ptr<AdsStream>> subscribed_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const pcds::Resource> current_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  EventLoop loop_;
};

}  // namespace capstan::rpc
