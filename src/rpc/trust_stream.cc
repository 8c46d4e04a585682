// SPDX-License-Identifier: Apache-2.0
#include "rpc/trust_stream.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "rpc/messages.h"
#include "rpc/report_check.h"
#include "rpc/status.h"

namespace capstan::rpc {
namespace {

bool Holds(const trust::Bundle& bundle, const std::string& fingerprint) {
  return std::any_of(
      bundle.roots().begin(), bundle.roots().end(),
      [&](const x509::Certificate& root) { return root.fingerprint() == fingerprint; });
}

}  // namespace

TrustStream::TrustStream(ControlPlane& plane, TrustStreamSet& set, const TrustStreamLimits& limits,
                         grpc::CallbackServerContext& context, authn::Credentials shown,
                         authn::Caller caller, int64_t crl_number, absl::Duration monotonic)
    : plane_(plane),
      set_(set),
      limits_(limits),
      context_(context),
      shown_(std::move(shown)),
      id_(caller.id),
      opened_(monotonic),
      caller_(std::move(caller)),
      crl_number_(crl_number),
      read_credit_(limits.report_burst),
      refilled_(monotonic) {}

void TrustStream::Start() {
  MutexLock lock(mutex_);
  ReadNext();
}

authn::Caller TrustStream::caller() const {
  MutexLock lock(mutex_);
  return caller_;
}

void TrustStream::OnReadDone(bool ok) {
  if (!ok) {  // the agent is done, or the call is gone
    End(absl::OkStatus());
    return;
  }
  absl::Status handled = Handle(incoming_);
  incoming_.Clear();
  MutexLock lock(mutex_);
  if (handled.ok()) {
    ReadNext();
  } else {
    EndLocked(handled);
  }
}

absl::Status TrustStream::Handle(const grpc::ByteBuffer& bytes) {
  fleet::v1::AgentMessage message;
  CAPSTAN_RETURN_IF_ERROR(Parse(bytes, kMaxAgentMessageBytes, message));
  switch (message.message_case()) {
    case fleet::v1::AgentMessage::kHello:
      return HandleHello(message.hello());
    case fleet::v1::AgentMessage::kReport:
      return HandleReport(*message.mutable_report());
    case fleet::v1::AgentMessage::MESSAGE_NOT_SET:
      break;
  }
  // A message of a later version is none of ours to judge, but the first one must be a Hello.
  return generation_.has_value()
             ? absl::OkStatus()
             : absl::InvalidArgumentError("the first message on a trust stream is a Hello");
}

absl::Status TrustStream::HandleHello(const fleet::v1::Hello& hello) {
  if (generation_.has_value()) {
    return absl::InvalidArgumentError("a second Hello on one trust stream");
  }
  CAPSTAN_RETURN_IF_ERROR(CheckHello(hello));
  const authn::Caller who = caller();
  CAPSTAN_ASSIGN_OR_RETURN(const int64_t generation, plane_.Connected(who, hello));
  generation_ = generation;
  instance_ = hello.instance();
  key_ = absl::StrCat(who.id.ToString(), " ", instance_);
  {
    MutexLock lock(mutex_);
    joined_ = true;
  }
  set_.Joined(*this, key_, generation);
  return absl::OkStatus();
}

absl::Status TrustStream::HandleReport(fleet::v1::Report& report) {
  if (!generation_.has_value()) {
    return absl::InvalidArgumentError(
        "a Report before the Hello: the first message on a trust stream is a Hello");
  }
  CAPSTAN_RETURN_IF_ERROR(CheckReport(report));
  return plane_.Reported(caller(), instance_, *generation_, report);
}

void TrustStream::ReadNext() {
  if (end_.has_value()) {
    return;
  }
  if (read_credit_ < 1) {
    read_waits_ = true;
    return;
  }
  read_credit_ -= 1;
  StartRead(&incoming_);
}

void TrustStream::Refill(absl::Duration monotonic) {
  const double earned = absl::ToDoubleSeconds(monotonic - refilled_) * limits_.reports_per_second;
  read_credit_ = std::min(limits_.report_burst, read_credit_ + std::max(earned, 0.0));
  refilled_ = monotonic;
  if (read_waits_ && read_credit_ >= 1) {
    read_waits_ = false;
    ReadNext();
  }
}

void TrustStream::Recheck(const trust::TrustState& trust) {
  {
    MutexLock lock(mutex_);
    if (end_.has_value() ||
        (Holds(trust.bundle, caller_.root_fingerprint) && crl_number_ == trust.crl_number)) {
      return;
    }
  }
  absl::StatusOr<authn::Caller> again = plane_.Authenticate(shown_);
  if (again.ok() && !again->certificate.has_value()) {
    again = absl::UnauthenticatedError("the trust stream needs a certificate");
  }
  MutexLock lock(mutex_);
  if (!again.ok()) {
    EndLocked(again.status());
    return;
  }
  caller_ = *std::move(again);
  crl_number_ = trust.crl_number;
}

void TrustStream::Push(std::shared_ptr<const SerializedUpdate> update) {
  MutexLock lock(mutex_);
  if (!joined_ || end_.has_value() || update->number <= newest_number_) {
    return;
  }
  newest_number_ = update->number;
  next_ = std::move(update);
  if (sending_ == nullptr) {
    WriteNext();
  }
}

void TrustStream::WriteNext() {
  sending_ = std::move(next_);
  next_ = nullptr;
  if (sending_ != nullptr) {
    StartWrite(&sending_->bytes);
  }
}

void TrustStream::OnWriteDone(bool ok) {
  MutexLock lock(mutex_);
  sending_ = nullptr;
  if (end_.has_value()) {
    if (!finished_) {
      finished_ = true;
      Finish(ToGrpc(*end_));
    }
  } else if (!ok) {
    EndLocked(absl::UnavailableError("the stream broke"));
  } else {
    WriteNext();
  }
}

void TrustStream::End(const absl::Status& status) {
  MutexLock lock(mutex_);
  EndLocked(status);
}

void TrustStream::EndLocked(const absl::Status& status) {
  if (end_.has_value()) {
    return;
  }
  end_ = status;
  next_ = nullptr;
  if (sending_ == nullptr) {
    finished_ = true;
    Finish(ToGrpc(status));
  }
}

void TrustStream::Tick(absl::Time now, absl::Duration monotonic) {
  MutexLock lock(mutex_);
  if (done_) {
    return;
  }
  if (end_.has_value()) {
    if (!end_seen_.has_value()) {
      end_seen_ = monotonic;
    } else if (!cut_ && monotonic - *end_seen_ >= limits_.end_within) {
      // The agent does not read: what is under way blocks the status behind it.
      cut_ = true;
      context_.TryCancel();
    }
    return;
  }
  if (now >= caller_.certificate->not_after()) {
    EndLocked(absl::UnauthenticatedError(
        absl::StrCat("the certificate this stream was opened with (serial ",
                     caller_.certificate->serial().ToHex(), ") expired at ",
                     absl::FormatTime(absl::RFC3339_sec, caller_.certificate->not_after(),
                                      absl::UTCTimeZone()))));
  } else if (!joined_ && monotonic - opened_ >= limits_.hello_within) {
    EndLocked(absl::DeadlineExceededError(
        absl::StrCat("no Hello within ", absl::FormatDuration(limits_.hello_within))));
  } else {
    Refill(monotonic);
  }
}

void TrustStream::OnCancel() {
  End(absl::CancelledError("the agent went away"));
}

void TrustStream::OnDone() {
  std::shared_ptr<TrustStream> self = shared_from_this();
  absl::Status ended;
  {
    MutexLock lock(mutex_);
    done_ = true;
    ended = end_.value_or(absl::OkStatus());
  }
  log::Info("trust stream ended", {{"spiffe_id", caller().id.ToString()},
                                   {"instance", instance_},
                                   {"peer", peer()},
                                   {"code", absl::StatusCodeToString(ended.code())},
                                   {"why", ended.message()}});
  if (generation_.has_value()) {
    plane_.Disconnected(caller(), instance_, *generation_);
  }
  set_.Gone(*this, key_);
}

}  // namespace capstan::rpc
