// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/mutex.h"
#include "rpc/control_plane.h"
#include "rpc/trust_stream.h"

namespace capstan::rpc {

// Every open trust stream. One thread carries changes to all of them (one serialization, shared)
// and wakes them for what time decides; a change that comes while another is carried is carried
// once.
class TrustHub final : public TrustStreamSet {
 public:
  struct Options {
    size_t max_streams = 20000;
    absl::Duration tick = absl::Milliseconds(500);
    TrustStreamLimits stream;
  };

  // `clock` says when certificates expire. `plane` and `clock` outlive this object.
  TrustHub(ControlPlane& plane, Clock& clock, const Options& options);
  ~TrustHub() override;

  // A stream whose caller showed this certificate. ResourceExhausted: there are too many.
  // Unavailable: shutting down.
  absl::StatusOr<std::shared_ptr<TrustStream>> Open(grpc::CallbackServerContext& context,
                                                    authn::Credentials shown, authn::Caller caller,
                                                    int64_t crl_number);

  // Ends every stream with Unavailable and opens no more; returns at once.
  void EndAll();
  // After EndAll: waits until the last stream is gone and stops the thread. gRPC must be running,
  // or have shut down.
  void Stop();

  size_t open_streams() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Joined(TrustStream& stream, const std::string& key, int64_t generation) override;
  void Gone(TrustStream& stream, const std::string& key) override;

  void ScheduleCarry();
  void Carry();
  void Tick();
  std::shared_ptr<const SerializedUpdate> NewestFor(const spiffe::SpiffeId& id)
      ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<std::shared_ptr<TrustStream>> Streams() const ABSL_LOCKS_EXCLUDED(mutex_);

  struct Serialized {
    std::shared_ptr<const fleet::v1::TrustUpdate> source;
    std::shared_ptr<const SerializedUpdate> update;
  };
  struct Member {
    TrustStream* stream;
    int64_t generation;
  };

  ControlPlane& plane_;
  Clock& clock_;
  const Options options_;

  // Never held while a stream is called.
  mutable Mutex mutex_;
  std::condition_variable_any emptied_;
  std::map<TrustStream*, std::shared_ptr<TrustStream>> streams_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Member> joined_ ABSL_GUARDED_BY(mutex_);  // by identity and instance
  // The latest that were sent, the newest first: one for everybody, and one for a canary.
  std::array<Serialized, 2> newest_ ABSL_GUARDED_BY(mutex_);
  int64_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;

  std::atomic<bool> carry_scheduled_{false};
  EventLoop loop_;
  std::shared_ptr<void> subscription_;
};

}  // namespace capstan::rpc
