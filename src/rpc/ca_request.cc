// SPDX-License-Identifier: Apache-2.0
#include "rpc/ca_request.h"

#include "absl/status/status.h"
#include "base/strings.h"

namespace capstan::rpc {
namespace {

constexpr size_t kMaxCsrBytes = 64 << 10;
// What a node proxy sets to obtain a certificate for a pod of its node.
constexpr char kImpersonated[] = "ImpersonatedIdentity";

}  // namespace

absl::StatusOr<IssueRequest> ReadCaRequest(
    const istio::v1::auth::IstioCertificateRequest& request) {
  if (request.csr().empty()) {
    return absl::InvalidArgumentError("CSR signing error (the request holds no CSR)");
  }
  if (request.csr().size() > kMaxCsrBytes) {
    return absl::InvalidArgumentError(absl::StrCat("CSR signing error (a CSR of ",
                                                   request.csr().size(), " bytes; at most ",
                                                   kMaxCsrBytes, " are taken)"));
  }
  IssueRequest read{.csr = request.csr(), .ttl = absl::Seconds(request.validity_duration())};
  const auto& metadata = request.metadata().fields();
  if (const auto found = metadata.find(kImpersonated); found != metadata.end()) {
    read.impersonated = found->second.string_value();
  }
  return read;
}

}  // namespace capstan::rpc
