// SPDX-License-Identifier: Apache-2.0
#include "rpc/ca_client.h"

#include <grpc/support/time.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/retry_after.h"
#include "base/status.h"
#include "capstan/fleet/v1/fleet.grpc.pb.h"
#include "rpc/status.h"
#include "security/v1alpha1/ca.grpc.pb.h"

namespace capstan::rpc {
namespace {

struct Call {
  grpc::ClientContext context;
};

struct CertificateCall : Call {
  std::unique_ptr<istio::v1::auth::IstioCertificateService::Stub> stub;
  istio::v1::auth::IstioCertificateRequest request;
  istio::v1::auth::IstioCertificateResponse response;
};

constexpr char kRetryAfter[] = "capstan-retry-after-ms";
constexpr int64_t kLongestRetryAfterMs = 3'600'000;

// With the time to come back, where the control plane gave one that makes sense.
absl::Status FailureOf(const Call& call, const grpc::Status& status) {
  const auto& trailing = call.context.GetServerTrailingMetadata();
  const auto found = trailing.find(kRetryAfter);
  int64_t milliseconds = 0;
  if (found == trailing.end() ||
      !absl::SimpleAtoi(absl::string_view(found->second.data(), found->second.size()),
                        &milliseconds) ||
      milliseconds < 0 || milliseconds > kLongestRetryAfterMs) {
    return FromGrpc(status);
  }
  return WithRetryAfter(FromGrpc(status), absl::Milliseconds(milliseconds));
}

struct ProbeCall : Call {
  std::unique_ptr<fleet::v1::FleetService::Stub> stub;
  fleet::v1::ProbeCertificateRequest request;
  fleet::v1::ProbeCertificateResponse response;
};

// A span, not a moment: the deadline must not move with the wall clock.
void EndAfter(absl::Duration timeout, Call& call) {
  call.context.set_deadline(gpr_time_from_millis(absl::ToInt64Milliseconds(timeout), GPR_TIMESPAN));
}

template <typename Call>
absl::StatusOr<std::vector<std::string>> AnswerOf(const Call& call, const grpc::Status& status) {
  if (!status.ok()) {
    return FailureOf(call, status);
  }
  return std::vector<std::string>(call.response.cert_chain().begin(),
                                  call.response.cert_chain().end());
}

// Ends a call where its answer is taken, not on the thread of gRPC's that brings it: with the call
// may go the last reference to a channel that was replaced meanwhile, and that may join this
// thread.
template <typename EndedCall, typename CallSet>
void HandOver(std::shared_ptr<EndedCall> call, const grpc::Status& status, Executor& executor,
              lifecycle::CaClient::Callback done, CallSet& calls) {
  EndedCall* ended = call.get();
  absl::StatusOr<std::vector<std::string>> answer = AnswerOf(*call, status);
  executor.Post([call = std::move(call), done = std::move(done), answer = std::move(answer)] {
    done(answer);
  });
  calls.Remove(ended);  // the executor may be gone from here on
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

// Without a channel nothing is called, and `done` hears of it.
bool GrpcCaClient::CanCall(const Callback& done) {
  if (channel_) return true;
  executor_.Post(
      [done] { done(absl::UnavailableError("there is no connection to the control plane yet")); });
  return false;
}

void GrpcCaClient::CreateCertificate(const Request& request, Callback done) {
  if (!CanCall(done)) return;
  const bool for_agent = request.purpose == lifecycle::Purpose::kCredential;
  auto call = std::make_shared<CertificateCall>();
  EndAfter(request.timeout, *call);
  call->context.AddMetadata("capstan-instance", instance_);
  call->context.AddMetadata("capstan-purpose", for_agent ? "agent" : "workload");
  call->context.AddMetadata("capstan-replaces",
                            request.replaces.empty() ? "none" : request.replaces);
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
       done = std::move(done)](const grpc::Status& status) mutable {
        HandOver(std::move(call), status, executor, std::move(done), *calls);
      });
}

void GrpcCaClient::CreateProbeCertificate(const ProbeRequest& request, Callback done) {
  if (!CanCall(done)) return;
  auto call = std::make_shared<ProbeCall>();
  EndAfter(request.timeout, *call);
  call->request.set_csr_pem(request.csr_pem);
  call->request.set_authority_id(request.authority_id);
  call->stub = fleet::v1::FleetService::NewStub(channel_);
  calls_->Add(call.get());
  call->stub->async()->CreateProbeCertificate(
      &call->context, &call->request, &call->response,
      [call, calls = calls_, &executor = executor_,
       done = std::move(done)](const grpc::Status& status) mutable {
        HandOver(std::move(call), status, executor, std::move(done), *calls);
      });
}

}  // namespace capstan::rpc
