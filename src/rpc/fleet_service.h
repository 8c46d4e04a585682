// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "capstan/fleet/v1/fleet.grpc.pb.h"
#include "rpc/call_authenticator.h"
#include "rpc/trust_hub.h"

namespace capstan::rpc {

// Opens trust streams for callers that show a certificate. A join token opens none
// (PermissionDenied): it is good for one certificate.
class FleetService final : public fleet::v1::FleetService::WithRawCallbackMethod_Trust<
                               fleet::v1::FleetService::Service> {
 public:
  FleetService(ControlPlane& plane, CallAuthenticator& authenticator, TrustHub& hub)
      : plane_(plane), authenticator_(authenticator), hub_(hub) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Trust(
      grpc::CallbackServerContext* context) override;

 private:
  absl::StatusOr<std::shared_ptr<TrustStream>> Open(grpc::CallbackServerContext& context);

  ControlPlane& plane_;
  CallAuthenticator& authenticator_;
  TrustHub& hub_;
};

}  // namespace capstan::rpc
