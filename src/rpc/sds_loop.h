// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "base/random.h"
#include "rpc/sds_stream.h"
#include "sds/registry.h"

namespace capstan::rpc {

// The thread that decides what SDS streams get: it alone touches the registry and the streams.
// Others hand it events. The queue is bounded by the streams: each has at most one read, one write
// and its end under way; of publications only the last waits.
class SdsLoop final : public SdsStreamEvents {
 public:
  // `clock`, `random` and `metrics` (which may be null) outlive it.
  SdsLoop(sds::Config config, Clock& clock, Random& random, Metrics* metrics);
  // Stops.
  ~SdsLoop() override;

  sds::StreamId NextId() { return ++last_id_; }
  // Before any other event of the stream.
  void Open(sds::StreamId id, std::unique_ptr<SdsStream> stream, sds::Front front,
            const sds::Peer& peer);
  void OnRead(sds::StreamId id, bool ok) override;
  void OnWritten(sds::StreamId id, bool ok) override;
  void OnDone(sds::StreamId id) override;

  void Publish(std::shared_ptr<const sds::Material> material);
  std::vector<sds::ConsumerReport> Consumers() const;
  void OnConsumersChanged(std::function<void()> changed);
  // Ends every stream, and those that open later at once.
  void EndStreams();
  // Waits until every stream is done, which takes their server's shutdown, and ends the thread.
  // Consumers() stays what it was.
  void Stop();

 private:
  struct Opened {
    sds::StreamId id;
    std::unique_ptr<SdsStream> stream;
    sds::Front front;
    sds::Peer peer;
  };
  struct Read {
    sds::StreamId id;
    bool ok;
  };
  struct Written {
    sds::StreamId id;
    bool ok;
  };
  struct Done {
    sds::StreamId id;
  };
  struct EndAll {};
  using Event = std::variant<Opened, Read, Written, Done, EndAll>;
  struct Work {
    std::deque<Event> events;
    std::shared_ptr<const sds::Material> material;
    bool stop = false;
  };

  void Post(Event event);
  void Run();
  Work Wait();
  sds::Moment Now() { return {clock_.Now(), clock_.Monotonic()}; }
  void Handle(Opened& event);
  void Handle(const Read& event);
  void Handle(const Written& event);
  void Handle(const Done& event);
  void Handle(const EndAll& event);
  void Perform(const sds::Actions& actions);
  void Report();

  Clock& clock_;
  Random& random_;
  prometheus::Counter* sent_ = nullptr;
  prometheus::Counter* refused_ = nullptr;
  prometheus::Gauge* consumers_gauge_ = nullptr;
  std::atomic<sds::StreamId> last_id_ = 0;

  // The thread's own.
  sds::Registry registry_;
  std::map<sds::StreamId, std::unique_ptr<SdsStream>> streams_;
  bool ending_ = false;

  mutable absl::Mutex mutex_;
  absl::CondVar posted_;
  Work queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<sds::ConsumerReport> reports_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> changed_ ABSL_GUARDED_BY(mutex_);

  std::thread thread_;  // last: it uses everything above
};

}  // namespace capstan::rpc
