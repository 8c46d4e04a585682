// SPDX-License-Identifier: Apache-2.0
// Between xDS messages and the values of sds/. Total: whatever came over the wire has a value.
#pragma once

#include "envoy/service/discovery/v3/discovery.pb.h"
#include "sds/events.h"

namespace capstan::rpc {

sds::Request FromWire(const envoy::service::discovery::v3::DiscoveryRequest& request);
sds::Request FromWire(const envoy::service::discovery::v3::DeltaDiscoveryRequest& request);

void ToWire(const sds::Response& response, envoy::service::discovery::v3::DiscoveryResponse& wire);
void ToWire(const sds::Response& response,
            envoy::service::discovery::v3::DeltaDiscoveryResponse& wire);

}  // namespace capstan::rpc
