// SPDX-License-Identifier: Apache-2.0
// Between ADS messages and the values of pcds/. Total: whatever came over the wire has a value.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include "absl/status/statusor.h"
#include "pcds/stream.h"

namespace capstan::rpc {

// The two services of ADS, state of the world and delta (xDS protocol).
enum class AdsFront { kStateOfTheWorld, kDelta };

// The errors of Parse().
absl::StatusOr<pcds::Request> ReadAdsRequest(AdsFront front, const grpc::ByteBuffer& bytes);
grpc::ByteBuffer WriteAdsResponse(AdsFront front, const pcds::Response& response);

}  // namespace capstan::rpc
