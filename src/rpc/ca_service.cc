// SPDX-License-Identifier: Apache-2.0
#include "rpc/ca_service.h"

#include <optional>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/retry_after.h"
#include "base/status.h"
#include "rpc/ca_request.h"
#include "rpc/call_credentials.h"
#include "rpc/messages.h"
#include "rpc/status.h"

namespace capstan::rpc {
namespace {

constexpr char kInstance[] = "capstan-instance";
constexpr char kPurpose[] = "capstan-purpose";
constexpr char kReplaces[] = "capstan-replaces";
constexpr char kRetryAfter[] = "capstan-retry-after-ms";
constexpr char kImpersonationFailed[] = "request impersonation authentication failure";

// The reason behind istiod's words, which clients and dashboards know.
absl::Status InIstiodsWords(const absl::Status& status) {
  std::string_view message = Std(status.message());
  if (status.code() == absl::StatusCode::kUnauthenticated) {
    return Annotate(status, "request authenticate failure");
  }
  if (status.code() == absl::StatusCode::kInvalidArgument &&
      !absl::StartsWith(message, "CSR signing error")) {
    return absl::InvalidArgumentError(absl::StrCat("CSR signing error (", message, ")"));
  }
  return status;
}

absl::StatusOr<bool> IsForAgent(const grpc::CallbackServerContext& context) {
  CAPSTAN_ASSIGN_OR_RETURN(std::optional<std::string> purpose, NameInMetadata(context, kPurpose));
  if (!purpose.has_value() || *purpose == "workload") {
    return false;
  }
  if (*purpose == "agent") {
    return true;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("metadata \"", kPurpose, "\" is neither \"workload\" nor \"agent\""));
}

absl::StatusOr<IssueRequest> ReadRequest(const grpc::CallbackServerContext& context,
                                         const grpc::ByteBuffer& bytes) {
  istio::v1::auth::IstioCertificateRequest message;
  CAPSTAN_RETURN_IF_ERROR(Parse(bytes, kMaxCaRequestBytes, message));
  CAPSTAN_ASSIGN_OR_RETURN(IssueRequest request, ReadCaRequest(message));
  CAPSTAN_ASSIGN_OR_RETURN(request.for_agent, IsForAgent(context));
  CAPSTAN_ASSIGN_OR_RETURN(std::optional<std::string> instance, NameInMetadata(context, kInstance));
  request.instance = std::move(instance).value_or("");
  CAPSTAN_ASSIGN_OR_RETURN(request.replaces, NameInMetadata(context, kReplaces));
  if (request.replaces == "none") {
    request.replaces = "";
  }
  return request;
}

}  // namespace

absl::StatusOr<grpc::ByteBuffer> CaService::Issue(const authn::Caller& caller,
                                                  const IssueRequest& request) {
  absl::StatusOr<IssueResponse> issued = plane_.Issue(caller, request);
  if (!issued.ok()) {
    return InIstiodsWords(issued.status());
  }
  istio::v1::auth::IstioCertificateResponse response;
  for (std::string& element : issued->chain) {
    response.add_cert_chain(std::move(element));
  }
  return Serialize(response);
}

void CaService::Create(const grpc::CallbackServerContext& context,
                       const absl::StatusOr<authn::Caller>& caller, const grpc::ByteBuffer& bytes,
                       const Created& created) {
  if (!caller.ok()) return created(InIstiodsWords(caller.status()));
  const absl::StatusOr<IssueRequest> request = ReadRequest(context, bytes);
  if (!request.ok()) return created(request.status());
  if (request->impersonated.empty()) return created(Issue(*caller, *request));
  plane_.Impersonate(*caller, request->impersonated,
                     [this, request, created](const absl::StatusOr<authn::Caller>& as) {
                       if (as.ok()) return created(Issue(*as, *request));
                       created(absl::IsUnauthenticated(as.status())
                                   ? Annotate(as.status(), kImpersonationFailed)
                                   : as.status());
                     });
}

// gRPC keeps context, request and response until Finish(), also where the caller has hung up: who
// is waited for may take its time.
grpc::ServerUnaryReactor* CaService::CreateCertificate(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request,
                                                       grpc::ByteBuffer* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const Created created = [context, response, reactor](absl::StatusOr<grpc::ByteBuffer> answer) {
    const absl::Status status = answer.status();
    if (status.ok()) {
      *response = *std::move(answer);
    } else if (const std::optional<absl::Duration> after = RetryAfterOf(status)) {
      context->AddTrailingMetadata(kRetryAfter, absl::StrCat(absl::ToInt64Milliseconds(*after)));
    } else {
      log::Info("certificate refused", {{"peer", context->peer()},
                                        {"code", absl::StatusCodeToString(status.code())},
                                        {"why", status.message()}});
    }
    reactor->Finish(ToGrpc(status));
  };
  authenticator_.AuthenticateForCertificate(
      *context, IsForAgent(*context).value_or(false),
      [this, context, request, created](const absl::StatusOr<authn::Caller>& caller) {
        Create(*context, caller, *request, created);
      });
  return reactor;
}

}  // namespace capstan::rpc
