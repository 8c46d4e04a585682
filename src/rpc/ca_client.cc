// SPDX-License-Identifier: Apache-2.0
#include "rpc/ca_client.h"

#include <grpc/support/time.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/status.h"
#include "rpc/status.h"
#include "security/v1alpha1/ca.grpc.pb.h"

namespace capstan::rpc {
namespace {

struct Call {
  grpc::ClientContext context;
  std::unique_ptr<istio::v1::auth::IstioCertificateService::Stub> stub;
  istio::v1::auth::IstioCertificateRequest request;
  istio::v1::auth::IstioCertificateResponse response;
};

absl::StatusOr<std::vector<std::string>> AnswerOf(const Call& call, const grpc::Status& status) {
  if (!status.ok()) {
    return FromGrpc(status);
  }
  return std::vector<std::string>(call.response.cert_chain().begin(),
                                  call.response.cert_chain().end());
}

}  // namespace

// The calls under way, so that none outlives the client unnoticed.
class GrpcCaClient::Calls {
 public:
  void Add(Call* call) {
    absl::MutexLock lock(&mutex_);
    calls_.insert(call);
  }
  void Remove(Call* call) {
    absl::MutexLock lock(&mutex_);
    calls_.erase(call);
  }
  void CancelAndWait() {
    absl::MutexLock lock(&mutex_);
    for (Call* call : calls_) call->context.TryCancel();
    mutex_.Await(absl::Condition(
        +[](std::set<Call*>* calls) { return calls->empty(); }, &calls_));
  }

 private:
  absl::Mutex mutex_;
  std::set<Call*> calls_ ABSL_GUARDED_BY(mutex_);
};

GrpcCaClient::GrpcCaClient(Executor& executor, std::string instance)
    : executor_(executor), instance_(std::move(instance)), calls_(std::make_shared<Calls>()) {}

GrpcCaClient::~GrpcCaClient() {
  calls_->CancelAndWait();
}

void GrpcCaClient::CreateCertificate(const Request& request, Callback done) {
  if (!channel_) {
    executor_.Post([done = std::move(done)] {
      done(absl::UnavailableError("there is no connection to the control plane yet"));
    });
    return;
  }
  const bool for_agent = request.purpose == lifecycle::Purpose::kCredential;
  auto call = std::make_shared<Call>();
  // A span, not a moment: the deadline must not move with the wall clock.
  call->context.set_deadline(
      gpr_time_from_millis(absl::ToInt64Milliseconds(request.timeout), GPR_TIMESPAN));
  call->context.AddMetadata("capstan-instance", instance_);
  call->context.AddMetadata("capstan-purpose", for_agent ? "agent" : "workload");
  if (for_agent && token_) {
    call->context.AddMetadata("authorization", absl::StrCat("Bearer ", token_->Reveal()));
  }
  call->request.set_csr(request.csr_pem);
  call->request.set_validity_duration(absl::ToInt64Seconds(request.ttl));
  call->stub = istio::v1::auth::IstioCertificateService::NewStub(channel_);
  calls_->Add(call.get());
  call->stub->async()->CreateCertificate(
      &call->context, &call->request, &call->response,
      [call, calls = calls_, &executor = executor_,
       done = std::move(done)](const grpc::Status& status) {
        executor.Post([done, answer = AnswerOf(*call, status)] { done(answer); });
        calls->Remove(call.get());  // the executor may be gone from here on
      });
}

}  // namespace capstan::rpc
