// SPDX-License-Identifier: Apache-2.0
#include "rpc/ads_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "authn/service_account.h"
#include "base/log.h"
#include "base/status.h"
#include "rpc/status.h"

namespace capstan::rpc {
namespace {

// Responses that wait for the one before them: an agent asks for two or three types.
constexpr size_t kMostWaiting = 16;

}  // namespace

void AdsStream::Authenticated(const absl::StatusOr<authn::Caller>& caller) {
  if (!caller.ok()) {
    log::Info("ADS stream refused", {{"peer", peer_},
                                     {"code", absl::StatusCodeToString(caller.status().code())},
                                     {"why", caller.status().message()}});
    return End(caller.status());
  }
  caller_ = *caller;
  identity_ = caller_->id.ToString();
  if (caller_->proof == authn::Caller::Proof::kServiceAccount) {
    instance_ = authn::InstanceOf(*caller_);
  }
  MutexLock lock(mutex_);
  if (!end_.has_value()) StartRead(&incoming_);
}

void AdsStream::OnReadDone(bool ok) {
  if (!ok) return End(absl::OkStatus());
  const absl::Status handled = Handle(incoming_);
  incoming_.Clear();
  MutexLock lock(mutex_);
  if (!handled.ok()) return EndLocked(handled);
  if (!end_.has_value()) StartRead(&incoming_);
}

absl::Status AdsStream::Handle(const grpc::ByteBuffer& bytes) {
  CAPSTAN_ASSIGN_OR_RETURN(const pcds::Request request, ReadAdsRequest(front_, bytes));
  bool joins = false;
  {
    MutexLock lock(mutex_);
    const bool before = machine_.subscribed();
    for (const pcds::Response& response : machine_.Requested(request)) {
      if (outgoing_.size() >= kMostWaiting) {
        return absl::ResourceExhaustedError("an ADS stream that asks and does not read");
      }
      Send(WriteAdsResponse(front_, response));
    }
    joins = !before && machine_.subscribed();
  }
  if (joins) return Join();
  return request.type_url == pcds::kProxyConfigType ? Report() : absl::OkStatus();
}

// Only whoever shows a pod's token, and is told the whole bundle here, speaks for a workload; who
// shows a certificate, as agents outside of Kubernetes do, gets the roots.
absl::Status AdsStream::Join() {
  const std::shared_ptr<const pcds::Resource> told = set_.Subscribed(*this);
  const bool speaks =
      caller_->proof == authn::Caller::Proof::kServiceAccount && (told == nullptr || told->whole);
  if (speaks) {
    CAPSTAN_ASSIGN_OR_RETURN(generation_, plane_.StockConnected(*caller_, instance_));
  }
  Push(told);
  return Report();
}

absl::Status AdsStream::Report() {
  if (!generation_.has_value()) return absl::OkStatus();
  StockReport report;
  {
    MutexLock lock(mutex_);
    report.node_id = machine_.node_id();
    report.refusal = machine_.refusal();
    if (machine_.acknowledged() != nullptr) report.bundle = machine_.acknowledged()->bundle;
  }
  return plane_.StockReported(*caller_, instance_, *generation_, report);
}

void AdsStream::Push(const std::shared_ptr<const pcds::Resource>& resource) {
  MutexLock lock(mutex_);
  if (end_.has_value() || resource == nullptr) return;
  if (const auto response = machine_.Push(resource)) {
    Send(WriteAdsResponse(front_, *response));
  }
}

void AdsStream::Send(grpc::ByteBuffer bytes) {
  if (end_.has_value()) return;
  outgoing_.push_back(std::move(bytes));
  if (outgoing_.size() == 1) StartWrite(&outgoing_.front());
}

void AdsStream::OnWriteDone(bool ok) {
  MutexLock lock(mutex_);
  outgoing_.pop_front();
  if (end_.has_value()) {
    if (!std::exchange(finished_, true)) Finish(ToGrpc(*end_));
  } else if (!ok) {
    EndLocked(absl::UnavailableError("the stream broke"));
  } else if (!outgoing_.empty()) {
    StartWrite(&outgoing_.front());
  }
}

void AdsStream::End(const absl::Status& status) {
  MutexLock lock(mutex_);
  EndLocked(status);
}

void AdsStream::EndLocked(const absl::Status& status) {
  if (end_.has_value()) return;
  end_ = status;
  const bool writing = !outgoing_.empty();
  if (outgoing_.size() > 1) outgoing_.resize(1);
  if (!writing) {
    finished_ = true;
    Finish(ToGrpc(status));
  }
}

void AdsStream::OnCancel() {
  End(absl::CancelledError("the agent went away"));
}

void AdsStream::OnDone() {
  const std::shared_ptr<AdsStream> self = shared_from_this();
  if (generation_.has_value()) plane_.Disconnected(*caller_, instance_, *generation_);
  set_.Gone(*this);
}

}  // namespace capstan::rpc
