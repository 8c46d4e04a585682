// SPDX-License-Identifier: Apache-2.0
#include "rpc/status.h"

#include <string>

#include "base/strings.h"

namespace capstan::rpc {
namespace {

constexpr size_t kMaxMessageBytes = 2048;

// Not in the middle of a UTF-8 sequence: grpc-message is UTF-8.
std::string Cut(std::string_view text) {
  if (text.size() <= kMaxMessageBytes) {
    return std::string(text);
  }
  size_t end = kMaxMessageBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
    --end;
  }
  return absl::StrCat(text.substr(0, end), "…");
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) {
    return grpc::Status::OK;
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), Cut(Std(status.message())));
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) {
    return absl::OkStatus();
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace capstan::rpc
