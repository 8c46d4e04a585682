// SPDX-License-Identifier: Apache-2.0
#include "rpc/trust_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "capstan/fleet/v1/fleet.grpc.pb.h"
#include "rpc/call_credentials.h"
#include "rpc/status.h"
#include "rpc/stream_retry.h"

namespace capstan::rpc {

// How many streams gRPC is not done with.
class TrustClient::Live {
 public:
  void Add(int n) {
    absl::MutexLock lock(&mutex_);
    count_ += n;
  }
  void WaitForNone() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](int* count) { return *count == 0; }, &count_));
  }

 private:
  absl::Mutex mutex_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
};

// One stream. gRPC's threads only post; everything else happens in tasks of the executor. A hold
// keeps gRPC from finishing while tasks may still start operations. Tasks and gRPC share the
// ownership.
class TrustClient::Stream final
    : public grpc::ClientBidiReactor<fleet::v1::AgentMessage, fleet::v1::TrustUpdate>,
      public std::enable_shared_from_this<Stream> {
 public:
  Stream(TrustClient& owner, const std::shared_ptr<grpc::Channel>& channel)
      : executor_(owner.executor_),
        live_(owner.live_),
        owner_(&owner),
        stub_(fleet::v1::FleetService::NewStub(channel)) {}

  void Begin(const fleet::v1::Hello& hello) {
    live_->Add(1);
    self_ = shared_from_this();
    stub_->async()->Trust(&context_, this);
    AddHold();
    *outgoing_.mutable_hello() = hello;
    writing_ = true;
    StartWrite(&outgoing_);
    StartRead(&incoming_);
    StartCall();
  }

  // False: the message before is still on its way.
  bool Send(fleet::v1::Report report) {
    if (writing_ || !held_) return false;
    *outgoing_.mutable_report() = std::move(report);
    writing_ = true;
    StartWrite(&outgoing_);
    return true;
  }

  // After the first update.
  std::vector<x509::Certificate> ServerChain() const {
    return PeerChainOf(*context_.auth_context()).value_or(std::vector<x509::Certificate>());
  }

  // The owner hears nothing from here on.
  void Detach() {
    owner_ = nullptr;
    context_.TryCancel();
    Release();
  }

  void OnReadDone(bool ok) override {
    executor_.Post([self = shared_from_this(), ok] { self->Read(ok); });
  }
  void OnWriteDone(bool ok) override {
    executor_.Post([self = shared_from_this(), ok] { self->Wrote(ok); });
  }
  void OnDone(const grpc::Status& status) override {
    std::shared_ptr<Stream> self = std::move(self_);
    executor_.Post([self, end = FromGrpc(status)] { self->Ended(end); });
    live_->Add(-1);  // the executor may be gone from here on
  }

 private:
  void Read(bool ok) {
    if (!ok) return Release();
    if (owner_ != nullptr) owner_->OnUpdate(incoming_);
    // The owner may have let go of this stream while it took the update.
    if (owner_ != nullptr && held_) StartRead(&incoming_);
  }
  void Wrote(bool ok) {
    writing_ = false;
    if (ok && owner_ != nullptr) owner_->OnWritten();
  }
  void Ended(const absl::Status& status) {
    if (owner_ != nullptr) std::exchange(owner_, nullptr)->OnEnded(status);
  }
  void Release() {
    if (std::exchange(held_, false)) RemoveHold();
  }

  Executor& executor_;
  const std::shared_ptr<Live> live_;
  TrustClient* owner_;
  std::shared_ptr<Stream> self_;
  grpc::ClientContext context_;
  const std::unique_ptr<fleet::v1::FleetService::Stub> stub_;
  fleet::v1::AgentMessage outgoing_;
  fleet::v1::TrustUpdate incoming_;
  bool writing_ = false;
  bool held_ = true;
};

TrustClient::TrustClient(Executor& executor, Clock& clock, Options options, Callbacks callbacks)
    : executor_(executor),
      clock_(clock),
      options_(std::move(options)),
      callbacks_(std::move(callbacks)),
      live_(std::make_shared<Live>()),
      retry_(executor),
      report_(executor) {}

TrustClient::~TrustClient() {
  Drop();
  live_->WaitForNone();
}

void TrustClient::Connect(std::shared_ptr<grpc::Channel> channel) {
  channel_ = std::move(channel);
  Drop();
  Open();
}

void TrustClient::Drop() {
  if (stream_ != nullptr) std::exchange(stream_, nullptr)->Detach();
  connected_ = false;
  retry_.Cancel();
  report_.Cancel();
}

void TrustClient::Open() {
  fleet::v1::Hello hello;
  hello.set_instance(options_.instance);
  *hello.mutable_bundle() = callbacks_.held();
  hello.set_version(options_.program_version);
  const auto stream = std::make_shared<Stream>(*this, channel_);
  stream_ = stream.get();
  stream->Begin(hello);
  ReportSoon();
}

void TrustClient::OnUpdate(const fleet::v1::TrustUpdate& update) {
  ended_ = 0;
  if (!std::exchange(connected_, true)) callbacks_.connected();
  callbacks_.update(update);
}

void TrustClient::OnEnded(const absl::Status& status) {
  stream_ = nullptr;
  connected_ = false;
  report_.Cancel();
  const absl::Duration delay = StreamRetry(options_.instance, ++ended_);
  retry_.Set(delay, [this] { Open(); });
  callbacks_.ended(status, delay);
}

std::vector<x509::Certificate> TrustClient::ServerChain() const {
  return connected_ ? stream_->ServerChain() : std::vector<x509::Certificate>();
}

void TrustClient::ReportSoon() {
  if (stream_ == nullptr) return;  // Open() reports
  const absl::Duration since = clock_.Monotonic() - last_report_;
  report_.Set(std::max(options_.report_spacing - since, absl::ZeroDuration()),
              [this] { SendReport(); });
}

void TrustClient::SendReport() {
  if (stream_ == nullptr) return;
  if (!stream_->Send(callbacks_.report())) {
    unsent_ = true;
    return;
  }
  unsent_ = false;
  last_report_ = clock_.Monotonic();
  report_.Set(options_.heartbeat, [this] { SendReport(); });
}

void TrustClient::OnWritten() {
  if (unsent_) ReportSoon();
}

}  // namespace capstan::rpc
