// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "capstan/fleet/v1/fleet.grpc.pb.h"
#include "rpc/call_authenticator.h"
#include "rpc/history_method.h"
#include "rpc/trust_hub.h"

namespace capstan::rpc {

// Opens trust streams, and gives probe certificates, to callers that show a certificate. A join
// token gets neither (PermissionDenied): it is good for one certificate. Gives the trust history to
// anybody.
class FleetService final
    : public fleet::v1::FleetService::WithRawCallbackMethod_GetTrustHistory<
          fleet::v1::FleetService::WithRawCallbackMethod_CreateProbeCertificate<
              fleet::v1::FleetService::WithRawCallbackMethod_Trust<
                  fleet::v1::FleetService::Service>>> {
 public:
  FleetService(ControlPlane& plane, CallAuthenticator& authenticator, TrustHub& hub, Clock& clock)
      : plane_(plane), authenticator_(authenticator), hub_(hub), history_(plane, clock) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Trust(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* GetTrustHistory(grpc::CallbackServerContext* context,
                                            const grpc::ByteBuffer* request,
                                            grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* CreateProbeCertificate(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* request,
                                                   grpc::ByteBuffer* response) override;

 private:
  absl::StatusOr<CallAuthenticator::Call> Authenticate(const grpc::CallbackServerContext& context,
                                                       std::string_view what);
  absl::StatusOr<std::shared_ptr<TrustStream>> Open(grpc::CallbackServerContext& context);
  absl::StatusOr<grpc::ByteBuffer> CreateProbe(const grpc::CallbackServerContext& context,
                                               const grpc::ByteBuffer& bytes);

  ControlPlane& plane_;
  CallAuthenticator& authenticator_;
  TrustHub& hub_;
  HistoryMethod history_;
};

}  // namespace capstan::rpc
