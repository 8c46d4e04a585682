// SPDX-License-Identifier: Apache-2.0
#include "rpc/trust_hub.h"

#include <utility>

#include "base/status.h"
#include "rpc/messages.h"

namespace capstan::rpc {
namespace {

absl::Status ShuttingDown() {
  return absl::UnavailableError("the control plane is shutting down: connect again");
}

}  // namespace

TrustHub::TrustHub(ControlPlane& plane, Clock& clock, const Options& options)
    : plane_(plane), clock_(clock), options_(options), loop_(RealClock()) {
  subscription_ = plane_.Subscribe([this] { ScheduleCarry(); });
  loop_.After(options_.tick, [this] { Tick(); });
}

TrustHub::~TrustHub() {
  Stop();
}

absl::StatusOr<std::shared_ptr<TrustStream>> TrustHub::Open(grpc::CallbackServerContext& context,
                                                            authn::Credentials shown,
                                                            authn::Caller caller,
                                                            int64_t crl_number) {
  auto stream =
      std::make_shared<TrustStream>(plane_, *this, options_.stream, context, std::move(shown),
                                    std::move(caller), crl_number, RealClock().Monotonic());
  MutexLock lock(mutex_);
  if (ending_) {
    return ShuttingDown();
  }
  if (streams_.size() >= options_.max_streams) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "this control plane serves ", options_.max_streams, " trust streams and no more"));
  }
  streams_.emplace(stream.get(), stream);
  return stream;
}

void TrustHub::Joined(TrustStream& stream, const std::string& key, int64_t generation) {
  std::shared_ptr<TrustStream> superseded;
  {
    MutexLock lock(mutex_);
    auto [at, added] = joined_.try_emplace(key, Member{&stream, generation});
    if (!added) {
      // The generation decides, not the order in which two threads come here.
      TrustStream* loser = at->second.generation < generation ? at->second.stream : &stream;
      if (loser != &stream) {
        at->second = Member{&stream, generation};
      }
      if (auto found = streams_.find(loser); found != streams_.end()) {
        superseded = found->second;
      }
    }
  }
  if (superseded != nullptr) {
    superseded->End(
        absl::AbortedError("superseded by a newer trust stream of the same identity and instance"));
  }
  // Trust may have changed between the authentication and this: changes are carried only from now
  // on.
  stream.Recheck(*plane_.trust());
  stream.Push(NewestFor(stream.id()));
}

void TrustHub::Gone(TrustStream& stream, const std::string& key) {
  std::shared_ptr<TrustStream> last;  // destroyed without the lock
  MutexLock lock(mutex_);
  // A superseded stream's place is another's by now.
  if (auto place = joined_.find(key); place != joined_.end() && place->second.stream == &stream) {
    joined_.erase(place);
  }
  if (auto found = streams_.find(&stream); found != streams_.end()) {
    last = std::move(found->second);
    streams_.erase(found);
  }
  if (streams_.empty()) {
    emptied_.notify_all();
  }
}

std::shared_ptr<const SerializedUpdate> TrustHub::NewestFor(const spiffe::SpiffeId& id) {
  MutexLock lock(mutex_);
  // Asked for under the lock: numbers grow in the order in which the updates were current.
  std::shared_ptr<const fleet::v1::TrustUpdate> source = plane_.UpdateFor(id);
  for (const Serialized& known : newest_) {
    if (known.source == source) return known.update;
  }
  auto fresh = std::make_shared<SerializedUpdate>();
  fresh->number = ++last_number_;
  fresh->bytes = Serialize(*source);
  newest_.back() = std::move(newest_.front());
  newest_.front() = {std::move(source), std::move(fresh)};
  return newest_.front().update;
}

std::vector<std::shared_ptr<TrustStream>> TrustHub::Streams() const {
  std::vector<std::shared_ptr<TrustStream>> streams;
  MutexLock lock(mutex_);
  streams.reserve(streams_.size());
  for (const auto& [raw, stream] : streams_) {
    streams.push_back(stream);
  }
  return streams;
}

void TrustHub::ScheduleCarry() {
  if (!carry_scheduled_.exchange(true)) {
    loop_.Post([this] { Carry(); });
  }
}

void TrustHub::Carry() {
  carry_scheduled_ = false;  // before looking: what changes from here on is carried again
  const std::shared_ptr<const trust::TrustState> trust = plane_.trust();
  for (const std::shared_ptr<TrustStream>& stream : Streams()) {
    stream->Recheck(*trust);
    stream->Push(NewestFor(stream->id()));
  }
}

void TrustHub::Tick() {
  const absl::Time now = clock_.Now();
  const absl::Duration monotonic = RealClock().Monotonic();
  for (const std::shared_ptr<TrustStream>& stream : Streams()) {
    stream->Tick(now, monotonic);
  }
  loop_.After(options_.tick, [this] { Tick(); });
}

void TrustHub::EndAll() {
  {
    MutexLock lock(mutex_);
    ending_ = true;
  }
  for (const std::shared_ptr<TrustStream>& stream : Streams()) {
    stream->End(ShuttingDown());
  }
}

void TrustHub::Stop() {
  subscription_ = nullptr;
  {
    MutexLock lock(mutex_);
    ending_ = true;
    emptied_.wait(mutex_, [this] {
      mutex_.AssertHeld();
      return streams_.empty();
    });
  }
  loop_.Stop();
}

size_t TrustHub::open_streams() const {
  MutexLock lock(mutex_);
  return streams_.size();
}

}  // namespace capstan::rpc
