// SPDX-License-Identifier: Apache-2.0
#include "rpc/sds_codec.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "envoy/extensions/transport_sockets/tls/v3/secret.pb.h"

namespace capstan::rpc {
namespace {

namespace discovery = envoy::service::discovery::v3;
namespace tls = envoy::extensions::transport_sockets::tls::v3;

std::string ErrorText(const google::rpc::Status& error) {
  return error.message().empty() ? absl::StrCat("code ", error.code()) : error.message();
}

// What both fronts' requests have in common.
template <typename Wire>
sds::Request Common(const Wire& wire) {
  sds::Request request;
  if (wire.has_node()) {
    request.node_id = wire.node().id();
  }
  request.type_url = wire.type_url();
  request.nonce = wire.response_nonce();
  if (wire.has_error_detail()) {
    request.error = ErrorText(wire.error_detail());
  }
  return request;
}

tls::Secret SecretOf(const sds::Resource& resource) {
  tls::Secret secret;
  secret.set_name(resource.name);
  const sds::Edition& edition = resource.edition;
  if (edition.kind == sds::Kind::kTrust) {
    auto* context = secret.mutable_validation_context();
    context->mutable_trusted_ca()->set_inline_bytes(sds::RootsPem(edition));
    if (!edition.material->crls_pem.empty()) {
      context->mutable_crl()->set_inline_bytes(edition.material->crls_pem);
    }
  } else {
    auto* certificate = secret.mutable_tls_certificate();
    certificate->mutable_certificate_chain()->set_inline_bytes(sds::ChainPem(edition));
    certificate->mutable_private_key()->set_inline_bytes(
        std::string(edition.material->key_pem.Reveal()));
  }
  return secret;
}

// The same bytes for the same secret: a proto without maps is serialized in one way.
void Pack(const sds::Resource& resource, google::protobuf::Any& any) {
  any.set_type_url(std::string(sds::kSecretType));
  SecretOf(resource).SerializeToString(any.mutable_value());
}

}  // namespace

sds::Request FromWire(const discovery::DiscoveryRequest& wire) {
  sds::Request request = Common(wire);
  request.names.assign(wire.resource_names().begin(), wire.resource_names().end());
  request.held_version = wire.version_info();
  return request;
}

sds::Request FromWire(const discovery::DeltaDiscoveryRequest& wire) {
  sds::Request request = Common(wire);
  request.names.assign(wire.resource_names_subscribe().begin(),
                       wire.resource_names_subscribe().end());
  request.unsubscribe.assign(wire.resource_names_unsubscribe().begin(),
                             wire.resource_names_unsubscribe().end());
  if (!wire.initial_resource_versions().empty()) {
    request.held_version = wire.initial_resource_versions().begin()->second;
  }
  return request;
}

void ToWire(const sds::Response& response, discovery::DiscoveryResponse& wire) {
  wire.Clear();
  wire.set_version_info(response.version);
  wire.set_type_url(std::string(sds::kSecretType));
  wire.set_nonce(response.nonce);
  for (const sds::Resource& resource : response.resources) {
    Pack(resource, *wire.add_resources());
  }
}

void ToWire(const sds::Response& response, discovery::DeltaDiscoveryResponse& wire) {
  wire.Clear();
  wire.set_system_version_info(response.version);
  wire.set_type_url(std::string(sds::kSecretType));
  wire.set_nonce(response.nonce);
  for (const sds::Resource& resource : response.resources) {
    auto* added = wire.add_resources();
    added->set_name(resource.name);
    added->set_version(resource.edition.stamp);
    Pack(resource, *added->mutable_resource());
  }
  for (const std::string& name : response.removed) {
    wire.add_removed_resources(name);
  }
}

}  // namespace capstan::rpc
