// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "capstan/control/v1/control.grpc.pb.h"
#include "rpc/control_plane.h"

namespace capstan::rpc {

// The operator's calls. Whoever can open the socket may make them: its folder's mode decides.
class ControlService final : public control::v1::ControlService::CallbackService {
 public:
  explicit ControlService(ControlPlane& plane) : plane_(plane) {}

  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const control::v1::GetStatusRequest* request,
                                      control::v1::Status* response) override;
  grpc::ServerUnaryReactor* ListFleet(grpc::CallbackServerContext* context,
                                      const control::v1::ListFleetRequest* request,
                                      control::v1::ListFleetResponse* response) override;
  grpc::ServerUnaryReactor* Reload(grpc::CallbackServerContext* context,
                                   const control::v1::ReloadRequest* request,
                                   control::v1::ReloadResponse* response) override;
  grpc::ServerUnaryReactor* CreateToken(grpc::CallbackServerContext* context,
                                        const control::v1::CreateTokenRequest* request,
                                        control::v1::CreateTokenResponse* response) override;
  grpc::ServerUnaryReactor* GetRotation(grpc::CallbackServerContext* context,
                                        const control::v1::GetRotationRequest* request,
                                        control::v1::Rotation* response) override;
  grpc::ServerUnaryReactor* PlanRotation(grpc::CallbackServerContext* context,
                                         const control::v1::StartRotationRequest* request,
                                         control::v1::RotationPlan* response) override;
  grpc::ServerUnaryReactor* StartRotation(grpc::CallbackServerContext* context,
                                          const control::v1::StartRotationRequest* request,
                                          control::v1::Rotation* response) override;
  grpc::ServerUnaryReactor* SteerRotation(grpc::CallbackServerContext* context,
                                          const control::v1::SteerRotationRequest* request,
                                          control::v1::Rotation* response) override;
  grpc::ServerUnaryReactor* ListRotations(grpc::CallbackServerContext* context,
                                          const control::v1::ListRotationsRequest* request,
                                          control::v1::ListRotationsResponse* response) override;

 private:
  ControlPlane& plane_;
};

}  // namespace capstan::rpc
