// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/statusor.h"
#include "rpc/control_plane.h"
#include "security/v1alpha1/ca.pb.h"

namespace capstan::rpc {

// The largest IstioCertificateRequest that is read: a PEM CSR of 64 KiB, and room for its metadata.
inline constexpr size_t kMaxCaRequestBytes = 128 << 10;

// What a request of Istio's certificate service asks for; `instance` and `for_agent` travel as
// metadata of the call and are left alone. InvalidArgument: no CSR, or one that is too large.
absl::StatusOr<IssueRequest> ReadCaRequest(const istio::v1::auth::IstioCertificateRequest& request);

}  // namespace capstan::rpc
