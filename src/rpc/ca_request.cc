// SPDX-License-Identifier: Apache-2.0
#include "rpc/ca_request.h"

#include "absl/status/status.h"
#include "base/strings.h"

namespace capstan::rpc {
namespace {

constexpr size_t kMaxCsrBytes = 64 << 10;
// What a node proxy sets to obtain a certificate for a pod of its node. To ignore it would answer
// with a certificate for another identity than was asked for.
constexpr char kImpersonated[] = "ImpersonatedIdentity";

}  // namespace

absl::StatusOr<IssueRequest> ReadCaRequest(
    const istio::v1::auth::IstioCertificateRequest& request) {
  const auto& metadata = request.metadata().fields();
  if (auto found = metadata.find(kImpersonated);
      found != metadata.end() && !found->second.string_value().empty()) {
    return absl::UnauthenticatedError(
        "request impersonation authentication failure: a caller obtains its own identity only");
  }
  if (request.csr().empty()) {
    return absl::InvalidArgumentError("CSR signing error (the request holds no CSR)");
  }
  if (request.csr().size() > kMaxCsrBytes) {
    return absl::InvalidArgumentError(absl::StrCat("CSR signing error (a CSR of ",
                                                   request.csr().size(), " bytes; at most ",
                                                   kMaxCsrBytes, " are taken)"));
  }
  return IssueRequest{.csr = request.csr(), .ttl = absl::Seconds(request.validity_duration())};
}

}  // namespace capstan::rpc
