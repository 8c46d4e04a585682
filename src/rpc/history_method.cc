// SPDX-License-Identifier: Apache-2.0
#include "rpc/history_method.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "rpc/messages.h"

namespace capstan::rpc {
namespace {

constexpr size_t kMaxRequestBytes = 1 << 10;

}  // namespace

bool HistoryMethod::Admit() {
  const absl::Duration now = clock_.Monotonic();
  MutexLock lock(mutex_);
  allowance_ = std::min(kBurst, allowance_ + kPerSecond * absl::ToDoubleSeconds(now - refilled_));
  refilled_ = now;
  if (allowance_ < 1) return false;
  allowance_ -= 1;
  return true;
}

absl::StatusOr<grpc::ByteBuffer> HistoryMethod::Serve(const grpc::ByteBuffer& request) {
  if (!Admit()) {
    return absl::ResourceExhaustedError(
        "the trust history is asked for too often at this moment; try again later");
  }
  fleet::v1::GetTrustHistoryRequest message;
  CAPSTAN_RETURN_IF_ERROR(Parse(request, kMaxRequestBytes, message));
  CAPSTAN_ASSIGN_OR_RETURN(
      std::vector<std::string> documents,
      plane_.TrustHistory({message.held().lineage(), message.held().sequence()}));
  fleet::v1::GetTrustHistoryResponse response;
  for (std::string& document : documents) response.add_documents(std::move(document));
  return Serialize(response);
}

}  // namespace capstan::rpc
