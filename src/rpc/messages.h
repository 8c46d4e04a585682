// SPDX-License-Identifier: Apache-2.0
// Messages as bytes: methods that take them raw can refuse the too large and the malformed with a
// status of their own, and send one serialization to many streams.
#pragma once

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace capstan::rpc {

grpc::ByteBuffer Serialize(const google::protobuf::MessageLite& message);

// InvalidArgument: not a message of this type. ResourceExhausted: more than `max_bytes`, unread.
absl::Status Parse(const grpc::ByteBuffer& bytes, size_t max_bytes,
                   google::protobuf::MessageLite& message);

}  // namespace capstan::rpc
