// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "envoy/service/discovery/v3/ads.grpc.pb.h"
#include "rpc/ads_hub.h"
#include "rpc/call_authenticator.h"

namespace capstan::rpc {

// ADS for stock agents (Istio's pilot-agent, with discoveryAddress set to this control plane): the
// roots they are to trust, as Istio's PCDS gives them, in both variants of xDS.
class AdsService final
    : public envoy::service::discovery::v3::AggregatedDiscoveryService::
          WithRawCallbackMethod_StreamAggregatedResources<
              envoy::service::discovery::v3::AggregatedDiscoveryService::
                  WithRawCallbackMethod_DeltaAggregatedResources<
                      envoy::service::discovery::v3::AggregatedDiscoveryService::Service>> {
 public:
  AdsService(CallAuthenticator& authenticator, AdsHub& hub)
      : authenticator_(authenticator), hub_(hub) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StreamAggregatedResources(
      grpc::CallbackServerContext* context) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* DeltaAggregatedResources(
      grpc::CallbackServerContext* context) override;

 private:
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Open(
      AdsFront front, grpc::CallbackServerContext& context);

  CallAuthenticator& authenticator_;
  AdsHub& hub_;
};

}  // namespace capstan::rpc
