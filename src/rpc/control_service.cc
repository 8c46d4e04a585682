// SPDX-License-Identifier: Apache-2.0
#include "rpc/control_service.h"

#include <utility>

#include "rpc/status.h"

namespace capstan::rpc {
namespace {

grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext& context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context.DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

template <typename Response>
grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext& context,
                                 absl::StatusOr<Response> answer, Response& response) {
  const absl::Status status = answer.status();
  if (status.ok()) {
    response = *std::move(answer);
  }
  return Finish(context, status);
}

}  // namespace

grpc::ServerUnaryReactor* ControlService::GetStatus(grpc::CallbackServerContext* context,
                                                    const control::v1::GetStatusRequest*,
                                                    control::v1::Status* response) {
  *response = plane_.GetStatus();
  return Finish(*context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ControlService::ListFleet(grpc::CallbackServerContext* context,
                                                    const control::v1::ListFleetRequest*,
                                                    control::v1::ListFleetResponse* response) {
  *response = plane_.ListFleet();
  return Finish(*context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ControlService::Reload(grpc::CallbackServerContext* context,
                                                 const control::v1::ReloadRequest*,
                                                 control::v1::ReloadResponse* response) {
  return Answer(*context, plane_.Reload(), *response);
}

grpc::ServerUnaryReactor* ControlService::CreateToken(
    grpc::CallbackServerContext* context, const control::v1::CreateTokenRequest* request,
    control::v1::CreateTokenResponse* response) {
  return Answer(*context, plane_.CreateToken(*request), *response);
}

grpc::ServerUnaryReactor* ControlService::GetRotation(grpc::CallbackServerContext* context,
                                                      const control::v1::GetRotationRequest*,
                                                      control::v1::Rotation* response) {
  return Answer(*context, plane_.GetRotation(), *response);
}

grpc::ServerUnaryReactor* ControlService::PlanRotation(
    grpc::CallbackServerContext* context, const control::v1::StartRotationRequest* request,
    control::v1::RotationPlan* response) {
  return Answer(*context, plane_.PlanRotation(*request), *response);
}

grpc::ServerUnaryReactor* ControlService::StartRotation(
    grpc::CallbackServerContext* context, const control::v1::StartRotationRequest* request,
    control::v1::Rotation* response) {
  return Answer(*context, plane_.StartRotation(*request), *response);
}

grpc::ServerUnaryReactor* ControlService::SteerRotation(
    grpc::CallbackServerContext* context, const control::v1::SteerRotationRequest* request,
    control::v1::Rotation* response) {
  return Answer(*context, plane_.SteerRotation(*request), *response);
}

grpc::ServerUnaryReactor* ControlService::ListRotations(
    grpc::CallbackServerContext* context, const control::v1::ListRotationsRequest*,
    control::v1::ListRotationsResponse* response) {
  return Answer(*context, plane_.ListRotations(), *response);
}

}  // namespace capstan::rpc
