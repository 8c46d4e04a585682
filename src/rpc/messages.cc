// SPDX-License-Identifier: Apache-2.0
#include "rpc/messages.h"

#include <vector>

#include "base/strings.h"

namespace capstan::rpc {

grpc::ByteBuffer Serialize(const google::protobuf::MessageLite& message) {
  grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

absl::Status Parse(const grpc::ByteBuffer& bytes, size_t max_bytes,
                   google::protobuf::MessageLite& message) {
  const size_t size = bytes.Length();
  if (size > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a message of ", size, " bytes; at most ", max_bytes, " are taken"));
  }
  std::vector<grpc::Slice> slices;
  std::string flat;
  flat.reserve(size);
  if (size > 0) {
    if (grpc::Status status = bytes.Dump(&slices); !status.ok()) {
      return absl::InvalidArgumentError("the message cannot be decompressed");
    }
    for (const grpc::Slice& slice : slices) {
      flat.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
  }
  if (!message.ParseFromString(flat)) {
    return absl::InvalidArgumentError(absl::StrCat("the message is not a ", message.GetTypeName()));
  }
  return absl::OkStatus();
}

}  // namespace capstan::rpc
