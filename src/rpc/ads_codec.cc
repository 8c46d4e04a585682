// SPDX-License-Identifier: Apache-2.0
#include "rpc/ads_codec.h"

#include <string>

#include "base/status.h"
#include "envoy/service/discovery/v3/discovery.pb.h"
#include "mesh/v1alpha1/proxy.pb.h"
#include "rpc/messages.h"

namespace capstan::rpc {
namespace {

namespace discovery = ::envoy::service::discovery::v3;

// An Envoy's first message carries its whole node metadata.
constexpr size_t kMaxAdsRequestBytes = 256 << 10;
constexpr size_t kMaxText = 1024;

template <typename Message>
absl::StatusOr<pcds::Request> Read(const grpc::ByteBuffer& bytes) {
  Message message;
  CAPSTAN_RETURN_IF_ERROR(Parse(bytes, kMaxAdsRequestBytes, message));
  pcds::Request request;
  request.type_url = message.type_url();
  request.nonce = message.response_nonce();
  request.node_id = message.node().id().substr(0, kMaxText);
  if (message.has_error_detail()) {
    request.refusal = message.error_detail().message().substr(0, kMaxText);
    if (request.refusal.empty()) request.refusal = "refused without a reason";
  }
  return request;
}

void Pack(const pcds::Resource& resource, google::protobuf::Any& any) {
  istio::mesh::v1alpha1::ProxyConfig config;
  for (const std::string& root : resource.roots) config.add_ca_certificates_pem(root);
  any.set_type_url(pcds::kProxyConfigType);
  any.set_value(config.SerializeAsString());
}

}  // namespace

absl::StatusOr<pcds::Request> ReadAdsRequest(AdsFront front, const grpc::ByteBuffer& bytes) {
  return front == AdsFront::kDelta ? Read<discovery::DeltaDiscoveryRequest>(bytes)
                                   : Read<discovery::DiscoveryRequest>(bytes);
}

grpc::ByteBuffer WriteAdsResponse(AdsFront front, const pcds::Response& response) {
  if (front == AdsFront::kDelta) {
    discovery::DeltaDiscoveryResponse message;
    message.set_type_url(response.type_url);
    message.set_system_version_info(response.version);
    message.set_nonce(response.nonce);
    if (response.resource != nullptr) {
      discovery::Resource& added = *message.add_resources();
      added.set_version(response.version);
      Pack(*response.resource, *added.mutable_resource());
    }
    return Serialize(message);
  }
  discovery::DiscoveryResponse message;
  message.set_type_url(response.type_url);
  message.set_version_info(response.version);
  message.set_nonce(response.nonce);
  if (response.resource != nullptr) Pack(*response.resource, *message.add_resources());
  return Serialize(message);
}

}  // namespace capstan::rpc
