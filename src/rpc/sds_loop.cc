// SPDX-License-Identifier: Apache-2.0
#include "rpc/sds_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "base/log.h"
#include "rpc/status.h"

namespace capstan::rpc {
namespace {

bool Same(const sds::ConsumerReport& a, const sds::ConsumerReport& b) {
  const auto nack = [](const sds::ConsumerReport& report) {
    return report.last_nack.has_value()
               ? std::tuple(report.last_nack->resource, report.last_nack->message,
                            report.last_nack->at)
               : std::tuple(std::string(), std::string(), absl::InfinitePast());
  };
  return std::tie(a.id, a.connected, a.acknowledged_bundle, a.acknowledged_leaf_serial,
                  a.acknowledged_at) == std::tie(b.id, b.connected, b.acknowledged_bundle,
                                                 b.acknowledged_leaf_serial, b.acknowledged_at) &&
         nack(a) == nack(b);
}

}  // namespace

SdsLoop::SdsLoop(sds::Config config, Clock& clock, Random& random, Metrics* metrics)
    : clock_(clock), random_(random), registry_(std::move(config)) {
  if (metrics != nullptr) {
    sent_ = &metrics->Counter("capstan_sds_responses_total", "SDS responses sent to consumers");
    refused_ = &metrics->Counter("capstan_sds_refusals_total",
                                 "SDS responses that a consumer refused (NACK)");
    consumers_gauge_ =
        &metrics->Gauge("capstan_sds_consumers", "Connected processes that take secrets over SDS");
  }
  thread_ = std::thread([this] { Run(); });
}

SdsLoop::~SdsLoop() {
  Stop();
}

void SdsLoop::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    queue_.stop = true;
    posted_.Signal();
  }
  if (thread_.joinable()) {
    thread_.join();
  }
}

void SdsLoop::Open(sds::StreamId id, std::unique_ptr<SdsStream> stream, sds::Front front,
                   const sds::Peer& peer) {
  Post(Opened{id, std::move(stream), front, peer});
}

void SdsLoop::OnRead(sds::StreamId id, bool ok) {
  Post(Read{id, ok});
}

void SdsLoop::OnWritten(sds::StreamId id, bool ok) {
  Post(Written{id, ok});
}

void SdsLoop::OnDone(sds::StreamId id) {
  Post(Done{id});
}

void SdsLoop::EndStreams() {
  Post(EndAll{});
}

void SdsLoop::Post(Event event) {
  absl::MutexLock lock(&mutex_);
  queue_.events.push_back(std::move(event));
  posted_.Signal();
}

void SdsLoop::Publish(std::shared_ptr<const sds::Material> material) {
  absl::MutexLock lock(&mutex_);
  queue_.material = std::move(material);
  posted_.Signal();
}

std::vector<sds::ConsumerReport> SdsLoop::Consumers() const {
  absl::MutexLock lock(&mutex_);
  return reports_;
}

void SdsLoop::OnConsumersChanged(std::function<void()> changed) {
  absl::MutexLock lock(&mutex_);
  changed_ = std::move(changed);
}

SdsLoop::Work SdsLoop::Wait() {
  absl::MutexLock lock(&mutex_);
  while (queue_.events.empty() && queue_.material == nullptr &&
         !(queue_.stop && streams_.empty())) {
    const auto due = registry_.wake_at();
    if (!due.has_value()) {
      posted_.Wait(&mutex_);
    } else if (const absl::Duration left = *due - clock_.Monotonic();
               left <= absl::ZeroDuration() || posted_.WaitWithTimeout(&mutex_, left)) {
      break;
    }
  }
  const bool stop = queue_.stop;
  Work work = std::exchange(queue_, Work{});
  queue_.stop = stop;
  work.stop = stop;
  return work;
}

void SdsLoop::Run() {
  while (true) {
    Work work = Wait();
    // First what was heard, then what is new: a publication is answered for by what comes after it.
    for (Event& event : work.events) {
      std::visit([this](auto& what) { Handle(what); }, event);
    }
    if (work.material != nullptr) {
      Perform(registry_.Published(std::move(work.material), Now()));
    }
    if (const auto due = registry_.wake_at(); due.has_value() && *due <= clock_.Monotonic()) {
      Perform(registry_.Woken(Now()));
    }
    Report();
    if (work.stop && streams_.empty()) {
      return;
    }
  }
}

void SdsLoop::Handle(Opened& event) {
  SdsStream& stream = *streams_.emplace(event.id, std::move(event.stream)).first->second;
  if (ending_) {
    stream.Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the agent is stopping"));
    return;
  }
  std::string tag = absl::BytesToHexString(random_.Bytes(8));
  Perform(registry_.Opened(event.id, event.front, event.peer, tag, Now()));
  stream.Read();
}

void SdsLoop::Handle(const Read& event) {
  SdsStream& stream = *streams_.at(event.id);
  if (!event.ok) {
    // The client closed its side, or is gone. What was written before still goes out.
    Perform(registry_.Closed(event.id, Now()));
    stream.Finish(grpc::Status::OK);
    return;
  }
  const sds::Request request = stream.Request();
  if (request.error.has_value() && refused_ != nullptr) {
    refused_->Increment();
  }
  Perform(registry_.Requested(event.id, request, Now()));
  stream.Read();
}

void SdsLoop::Handle(const Written& event) {
  streams_.at(event.id)->Written();
  if (event.ok) {
    Perform(registry_.Written(event.id, Now()));
  }  // else the pending read fails as well, and that ends it
}

void SdsLoop::Handle(const Done& event) {
  Perform(registry_.Closed(event.id, Now()));
  streams_.erase(event.id);
}

void SdsLoop::Handle(const EndAll&) {
  ending_ = true;
  for (auto& [id, stream] : streams_) {
    stream->Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the agent is stopping"));
  }
}

void SdsLoop::Perform(const sds::Actions& actions) {
  for (const sds::Actions::Note& note : actions.notes) {
    log::Write(
        note.level == sds::Actions::Note::Level::kWarn ? log::Level::kWarn : log::Level::kInfo,
        "sds", {{"consumer", note.consumer}, {"why", note.text}});
  }
  for (const sds::Actions::Send& send : actions.sends) {
    log::Info("sds secrets sent",
              {{"stream", send.stream}, {"version", send.response.version}, {"why", send.why}});
    if (sent_ != nullptr) {
      sent_->Increment();
    }
    streams_.at(send.stream)->Send(send.response);
  }
  for (const sds::Actions::End& end : actions.ends) {
    log::Warn("sds stream ended", {{"stream", end.stream}, {"why", end.status.message()}});
    streams_.at(end.stream)->Finish(ToGrpc(end.status));
  }
}

void SdsLoop::Report() {
  std::vector<sds::ConsumerReport> reports = registry_.Reports();
  std::function<void()> changed;
  {
    absl::MutexLock lock(&mutex_);
    if (std::equal(reports.begin(), reports.end(), reports_.begin(), reports_.end(), Same)) {
      return;
    }
    if (consumers_gauge_ != nullptr) {
      consumers_gauge_->Set(static_cast<double>(std::count_if(
          reports.begin(), reports.end(), [](const auto& r) { return r.connected; })));
    }
    reports_ = std::move(reports);
    changed = changed_;
  }
  if (changed) {
    changed();
  }
}

}  // namespace capstan::rpc
