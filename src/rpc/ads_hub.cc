// SPDX-License-Identifier: Apache-2.0
#include "rpc/ads_hub.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"

namespace capstan::rpc {

AdsHub::AdsHub(ControlPlane& plane, const Options& options)
    : plane_(plane), options_(options), loop_(RealClock()) {
  loop_.After(options_.tick, [this] { Tick(); });
}

AdsHub::~AdsHub() {
  Stop();
}

absl::StatusOr<std::shared_ptr<AdsStream>> AdsHub::Open(AdsFront front, const std::string& peer) {
  auto stream = std::make_shared<AdsStream>(plane_, *this, front, peer);
  MutexLock lock(mutex_);
  if (ending_) {
    return absl::UnavailableError("the control plane is shutting down: connect again");
  }
  if (streams_.size() >= options_.max_streams) {
    return absl::ResourceExhaustedError(
        absl::StrCat("this control plane serves ", options_.max_streams, " ADS streams, no more"));
  }
  streams_.emplace(stream.get(), stream);
  return stream;
}

void AdsHub::Refresh() {
  std::shared_ptr<const pcds::Resource> now_told = plane_.stock_roots();
  if (now_told == nullptr || now_told == current_) return;
  const bool first = current_ == nullptr;
  current_ = std::move(now_told);
  if (first) return;
  const absl::Duration now = RealClock().Monotonic();
  const double budget = plane_.issue_budget();
  const auto agents = static_cast<int64_t>(subscribed_.size());
  for (const auto& [raw, stream] : subscribed_) {
    stream->due_resource = current_;
    stream->due =
        now + pcds::SlotOf(*current_, stream->identity(), stream->instance(), agents, budget);
  }
}

std::shared_ptr<const pcds::Resource> AdsHub::Subscribed(AdsStream& stream) {
  MutexLock lock(mutex_);
  Refresh();
  subscribed_.emplace(&stream, streams_.at(&stream));
  return current_;
}

void AdsHub::Tick() {
  std::vector<std::pair<std::shared_ptr<AdsStream>, std::shared_ptr<const pcds::Resource>>> due;
  {
    MutexLock lock(mutex_);
    Refresh();
    const absl::Duration now = RealClock().Monotonic();
    for (const auto& [raw, stream] : subscribed_) {
      if (stream->due > now) continue;
      due.emplace_back(stream, std::move(stream->due_resource));
      stream->due = absl::InfiniteDuration();
    }
  }
  for (const auto& [stream, resource] : due) stream->Push(resource);
  loop_.After(options_.tick, [this] { Tick(); });
}

void AdsHub::Gone(AdsStream& stream) {
  std::shared_ptr<AdsStream> last;  // destroyed without the lock
  MutexLock lock(mutex_);
  subscribed_.erase(&stream);
  if (auto found = streams_.find(&stream); found != streams_.end()) {
    last = std::move(found->second);
    streams_.erase(found);
  }
  if (streams_.empty()) emptied_.notify_all();
}

void AdsHub::EndAll() {
  std::vector<std::shared_ptr<AdsStream>> streams;
  {
    MutexLock lock(mutex_);
    ending_ = true;
    for (const auto& [raw, stream] : streams_) streams.push_back(stream);
  }
  for (const std::shared_ptr<AdsStream>& stream : streams) {
    stream->End(absl::UnavailableError("the control plane is shutting down: connect again"));
  }
}

void AdsHub::Stop() {
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

}  // namespace capstan::rpc
