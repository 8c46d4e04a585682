// SPDX-License-Identifier: Apache-2.0
#include "rpc/history_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <utility>

#include "base/status.h"
#include "capstan/fleet/v1/fleet.grpc.pb.h"
#include "rpc/channel_arguments.h"
#include "rpc/pending_calls.h"
#include "rpc/status.h"

namespace capstan::rpc {
namespace {

namespace tls = grpc::experimental;

// Takes any server. Only for the call below.
class AnyServer final : public tls::ExternalCertificateVerifier {
 public:
  bool Verify(tls::TlsCustomVerificationCheckRequest*, std::function<void(grpc::Status)>,
              grpc::Status*) override {
    return true;
  }
  void Cancel(tls::TlsCustomVerificationCheckRequest*) override {}
};

std::shared_ptr<grpc::Channel> UnverifiedChannel(const std::string& address,
                                                 const trust::Bundle& bundle) {
  tls::TlsChannelCredentialsOptions options;
  // gRPC wants roots, and does not use them here.
  options.set_certificate_provider(std::make_shared<tls::StaticDataCertificateProvider>(
      bundle.ToPem(), std::vector<tls::IdentityKeyCertPair>{}));
  options.watch_root_certs();
  options.set_verify_server_certs(false);
  options.set_check_call_host(false);
  options.set_certificate_verifier(tls::ExternalCertificateVerifier::Create<AnyServer>());
  return grpc::CreateCustomChannel(address, tls::TlsCredentials(options), AgentChannelArguments());
}

struct HistoryCall : PendingCall {
  std::unique_ptr<fleet::v1::FleetService::Stub> stub;
  fleet::v1::GetTrustHistoryRequest request;
  fleet::v1::GetTrustHistoryResponse response;
};

absl::StatusOr<std::vector<std::string>> AnswerOf(const HistoryCall& call,
                                                  const grpc::Status& status) {
  if (!status.ok()) return FromGrpc(status);
  return std::vector<std::string>(call.response.documents().begin(),
                                  call.response.documents().end());
}

}  // namespace

HistoryClient::HistoryClient(Executor& executor)
    : executor_(executor), calls_(std::make_shared<PendingCalls>()) {}

HistoryClient::~HistoryClient() {
  calls_->CancelAndWait();
}

void HistoryClient::Fetch(const std::string& address, const trust::BundleVersion& held,
                          const trust::Bundle& bundle, absl::Duration timeout, Callback done) {
  if (absl::Status usable = CheckAddress(address); !usable.ok()) {
    executor_.Post([done = std::move(done), usable] { done(usable); });
    return;
  }
  calls_->CancelAndWait();  // one at a time: the one before is of no interest any more
  channel_ = UnverifiedChannel(address, bundle);
  auto call = std::make_shared<HistoryCall>();
  call->EndAfter(timeout);
  call->request.mutable_held()->set_lineage(held.lineage);
  call->request.mutable_held()->set_sequence(held.sequence);
  call->stub = fleet::v1::FleetService::NewStub(channel_);
  calls_->Add(call.get());
  call->stub->async()->GetTrustHistory(
      &call->context, &call->request, &call->response,
      [call, calls = calls_, &executor = executor_,
       done = std::move(done)](const grpc::Status& status) mutable {
        auto answer = AnswerOf(*call, status);
        calls->HandOver(std::move(call), std::move(answer), executor, std::move(done));
      });
}

}  // namespace capstan::rpc
