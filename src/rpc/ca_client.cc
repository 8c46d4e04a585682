// SPDX-License-Identifier: Apache-2.0
#include "rpc/ca_client.h"

#include <grpcpp/channel.h>

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/retry_after.h"
#include "base/status.h"
#include "capstan/fleet/v1/fleet.grpc.pb.h"
#include "rpc/pending_calls.h"
#include "rpc/status.h"
#include "security/v1alpha1/ca.grpc.pb.h"

namespace capstan::rpc {
namespace {

struct CertificateCall : PendingCall {
  std::unique_ptr<istio::v1::auth::IstioCertificateService::Stub> stub;
  istio::v1::auth::IstioCertificateRequest request;
  istio::v1::auth::IstioCertificateResponse response;
};

constexpr char kRetryAfter[] = "capstan-retry-after-ms";
constexpr int64_t kLongestRetryAfterMs = 3'600'000;

// With the time to come back, where the control plane gave one that makes sense.
absl::Status FailureOf(const PendingCall& call, const grpc::Status& status) {
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

struct ProbeCall : PendingCall {
  std::unique_ptr<fleet::v1::FleetService::Stub> stub;
  fleet::v1::ProbeCertificateRequest request;
  fleet::v1::ProbeCertificateResponse response;
};

template <typename Call>
absl::StatusOr<std::vector<std::string>> AnswerOf(const Call& call, const grpc::Status& status) {
  if (!status.ok()) {
    return FailureOf(call, status);
  }
  return std::vector<std::string>(call.response.cert_chain().begin(),
                                  call.response.cert_chain().end());
}

}  // namespace

GrpcCaClient::GrpcCaClient(Executor& executor, std::string instance)
    : executor_(executor),
      instance_(std::move(instance)),
      calls_(std::make_shared<PendingCalls>()) {}

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
  call->EndAfter(request.timeout);
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
        auto answer = AnswerOf(*call, status);
        calls->HandOver(std::move(call), std::move(answer), executor, std::move(done));
      });
}

void GrpcCaClient::CreateProbeCertificate(const ProbeRequest& request, Callback done) {
  if (!CanCall(done)) return;
  auto call = std::make_shared<ProbeCall>();
  call->EndAfter(request.timeout);
  call->request.set_csr_pem(request.csr_pem);
  call->request.set_authority_id(request.authority_id);
  call->stub = fleet::v1::FleetService::NewStub(channel_);
  calls_->Add(call.get());
  call->stub->async()->CreateProbeCertificate(
      &call->context, &call->request, &call->response,
      [call, calls = calls_, &executor = executor_,
       done = std::move(done)](const grpc::Status& status) mutable {
        auto answer = AnswerOf(*call, status);
        calls->HandOver(std::move(call), std::move(answer), executor, std::move(done));
      });
}

}  // namespace capstan::rpc
