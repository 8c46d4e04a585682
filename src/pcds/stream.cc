// SPDX-License-Identifier: Apache-2.0
#include "pcds/stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/jitter.h"
#include "base/strings.h"

namespace capstan::pcds {

std::vector<Response> Stream::Requested(const Request& request) {
  if (node_id_.empty()) node_id_ = request.node_id;
  if (request.type_url == kProxyConfigType) {
    Answered(request);
    return {};
  }
  const bool known = request.type_url == kListenerType || request.type_url == kClusterType;
  if (!known || !request.nonce.empty()) return {};  // not ours, or an answer to an answer
  return {{request.type_url, "0", NextNonce(), nullptr}};
}

void Stream::Answered(const Request& request) {
  subscribed_ = true;
  if (request.nonce.empty() || request.nonce != nonce_) return;  // of an earlier response
  refusal_ = request.refusal;
  if (refusal_.empty()) acknowledged_ = sent_;
}

std::optional<Response> Stream::Push(std::shared_ptr<const Resource> resource) {
  if (!subscribed_) return std::nullopt;
  if (sent_ != nullptr && sent_->roots == resource->roots && sent_->bundle == resource->bundle) {
    return std::nullopt;
  }
  sent_ = std::move(resource);
  nonce_ = NextNonce();
  return Response{kProxyConfigType, sent_->version(), nonce_, sent_};
}

std::string Stream::NextNonce() {
  return absl::StrCat("n", ++nonces_);
}

absl::Duration SlotOf(const Resource& resource, std::string_view identity,
                      std::string_view instance, int64_t agents, double per_second) {
  if (per_second <= 0) return absl::ZeroDuration();
  const absl::Duration window = absl::Seconds(static_cast<double>(agents) / per_second);
  return window * Jitter(absl::StrCat(identity, " ", instance), resource.version());
}

}  // namespace capstan::pcds
