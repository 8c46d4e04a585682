// SPDX-License-Identifier: Apache-2.0
#include "rpc/fleet_service.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "rpc/messages.h"
#include "rpc/refused_stream.h"
#include "rpc/status.h"

namespace capstan::rpc {
namespace {

// A PEM CSR of 64 KiB, the most that is read as one, and room for the rest.
constexpr size_t kMaxProbeRequestBytes = 80 << 10;

}  // namespace

absl::StatusOr<CallAuthenticator::Call> FleetService::Authenticate(
    const grpc::CallbackServerContext& context, std::string_view what) {
  CAPSTAN_ASSIGN_OR_RETURN(CallAuthenticator::Call call, authenticator_.Authenticate(context));
  if (call.caller.proof != authn::Caller::Proof::kCertificate ||
      !call.caller.certificate.has_value()) {
    return absl::PermissionDeniedError(
        absl::StrCat(what, " needs a client certificate: a join token is good for one only"));
  }
  return call;
}

absl::StatusOr<std::shared_ptr<TrustStream>> FleetService::Open(
    grpc::CallbackServerContext& context) {
  // Read before: a change in between is then noticed when the stream is checked again.
  const int64_t crl_number = plane_.trust()->crl_number;
  CAPSTAN_ASSIGN_OR_RETURN(CallAuthenticator::Call call, Authenticate(context, "the trust stream"));
  return hub_.Open(context, std::move(call.shown), std::move(call.caller), crl_number);
}

absl::StatusOr<grpc::ByteBuffer> FleetService::CreateProbe(
    const grpc::CallbackServerContext& context, const grpc::ByteBuffer& bytes) {
  CAPSTAN_ASSIGN_OR_RETURN(CallAuthenticator::Call call,
                           Authenticate(context, "a probe certificate"));
  fleet::v1::ProbeCertificateRequest request;
  CAPSTAN_RETURN_IF_ERROR(Parse(bytes, kMaxProbeRequestBytes, request));
  if (request.csr_pem().empty()) {
    return absl::InvalidArgumentError("csr_pem is empty: it holds the request to be signed");
  }
  CAPSTAN_ASSIGN_OR_RETURN(
      std::vector<std::string> chain,
      plane_.IssueProbe(call.caller, request.csr_pem(), request.authority_id()));
  fleet::v1::ProbeCertificateResponse response;
  for (std::string& certificate : chain) response.add_cert_chain(std::move(certificate));
  return Serialize(response);
}

grpc::ServerUnaryReactor* FleetService::CreateProbeCertificate(grpc::CallbackServerContext* context,
                                                               const grpc::ByteBuffer* request,
                                                               grpc::ByteBuffer* response) {
  absl::StatusOr<grpc::ByteBuffer> created = CreateProbe(*context, *request);
  const absl::Status status = created.status();
  if (status.ok()) {
    *response = *std::move(created);
  } else {
    log::Info("probe certificate refused", {{"peer", context->peer()},
                                            {"code", absl::StatusCodeToString(status.code())},
                                            {"why", status.message()}});
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* FleetService::Trust(
    grpc::CallbackServerContext* context) {
  absl::StatusOr<std::shared_ptr<TrustStream>> stream = Open(*context);
  if (!stream.ok()) {
    log::Info("trust stream refused", {{"peer", context->peer()},
                                       {"code", absl::StatusCodeToString(stream.status().code())},
                                       {"why", stream.status().message()}});
    return new RefusedStream(stream.status());
  }
  (*stream)->Start();
  return stream->get();  // the hub owns it until OnDone
}

grpc::ServerUnaryReactor* FleetService::GetTrustHistory(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* response) {
  absl::StatusOr<grpc::ByteBuffer> served = history_.Serve(*request);
  const absl::Status status = served.status();
  if (served.ok()) {
    *response = *std::move(served);
  } else {
    log::Debug("no trust history", {{"peer", context->peer()},
                                    {"code", absl::StatusCodeToString(status.code())},
                                    {"why", status.message()}});
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

}  // namespace capstan::rpc
