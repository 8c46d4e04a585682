// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace capstan::rpc {

// The two kinds of status number their codes alike. A message that crosses the wire is cut at 2
// KiB: it may quote the caller, and trailers larger than a client takes would hide the code as
// well.
grpc::Status ToGrpc(const absl::Status& status);

absl::Status FromGrpc(const grpc::Status& status);

}  // namespace capstan::rpc
