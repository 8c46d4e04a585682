// SPDX-License-Identifier: Apache-2.0
#include "rpc/control_client.h"

#include <grpc/support/time.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/status.h"
#include "capstan/control/v1/control.grpc.pb.h"
#include "rpc/status.h"

namespace capstan::rpc {
namespace {

using Stub = control::v1::ControlService::Stub;

// A fleet of a hundred thousand workloads fits.
constexpr int kMaxAnswerBytes = 256 << 20;

// Why nothing answers, which gRPC's own message does not say in words an operator can act on.
absl::Status Diagnose(const std::string& socket) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return ErrnoError(errno, socket);
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket.data(), socket.size());
  const bool connected =
      ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  const int error = errno;
  ::close(fd);
  if (connected) {
    return absl::UnavailableError(absl::StrCat(
        socket, ": something listens but does not answer as capstand does; is this its socket?"));
  }
  switch (error) {
    case ENOENT:
      return absl::UnavailableError(absl::StrCat(
          socket,
          ": no capstand listens here (no such socket). Start capstand, or name its socket with "
          "--socket or CAPSTAN_SOCKET (STATE_DIR/capstand.sock)"));
    case ECONNREFUSED:
      return absl::UnavailableError(absl::StrCat(
          socket, ": the capstand that made this socket is not running. Start it again"));
    case EACCES:
      return absl::PermissionDeniedError(absl::StrCat(
          socket, ": you may not open this socket; use the user that runs capstand, or root"));
    default:
      return ErrnoError(error, socket);
  }
}

class Client final : public ControlClient {
 public:
  Client(std::string socket, absl::Duration timeout)
      : socket_(std::move(socket)), timeout_(timeout) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetMaxReceiveMessageSize(kMaxAnswerBytes);
    stub_ = control::v1::ControlService::NewStub(grpc::CreateCustomChannel(
        absl::StrCat("unix:", socket_), grpc::InsecureChannelCredentials(), arguments));
  }

  absl::StatusOr<control::v1::Status> GetStatus() override {
    return Call<control::v1::Status>(&Stub::GetStatus, control::v1::GetStatusRequest());
  }
  absl::StatusOr<control::v1::ListFleetResponse> ListFleet() override {
    return Call<control::v1::ListFleetResponse>(&Stub::ListFleet, control::v1::ListFleetRequest());
  }
  absl::StatusOr<control::v1::ReloadResponse> Reload() override {
    return Call<control::v1::ReloadResponse>(&Stub::Reload, control::v1::ReloadRequest());
  }
  absl::StatusOr<control::v1::CreateTokenResponse> CreateToken(
      const control::v1::CreateTokenRequest& request) override {
    return Call<control::v1::CreateTokenResponse>(&Stub::CreateToken, request);
  }
  absl::StatusOr<control::v1::Rotation> GetRotation() override {
    return Call<control::v1::Rotation>(&Stub::GetRotation, control::v1::GetRotationRequest());
  }
  absl::StatusOr<control::v1::RotationPlan> PlanRotation(
      const control::v1::StartRotationRequest& request) override {
    return Call<control::v1::RotationPlan>(&Stub::PlanRotation, request, Patience());
  }
  absl::StatusOr<control::v1::Rotation> StartRotation(
      const control::v1::StartRotationRequest& request) override {
    return Call<control::v1::Rotation>(&Stub::StartRotation, request, Patience());
  }
  absl::StatusOr<control::v1::Rotation> SteerRotation(
      const control::v1::SteerRotationRequest& request) override {
    return Call<control::v1::Rotation>(&Stub::SteerRotation, request);
  }
  absl::StatusOr<control::v1::ListRotationsResponse> ListRotations() override {
    return Call<control::v1::ListRotationsResponse>(&Stub::ListRotations,
                                                    control::v1::ListRotationsRequest());
  }

 private:
  absl::Duration Patience() const { return std::max(timeout_, kPatience); }

  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request) {
    return Call<Response>(method, request, timeout_);
  }
  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request, absl::Duration timeout) {
    grpc::ClientContext context;
    context.set_deadline(
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                     gpr_time_from_millis(absl::ToInt64Milliseconds(timeout), GPR_TIMESPAN)));
    Response response;
    const grpc::Status status = (stub_.get()->*method)(&context, request, &response);
    if (status.ok()) {
      return response;
    }
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
      return Diagnose(socket_);
    }
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      return absl::DeadlineExceededError(absl::StrCat(socket_, ": capstand did not answer within ",
                                                      absl::FormatDuration(timeout)));
    }
    return FromGrpc(status);
  }

  const std::string socket_;
  const absl::Duration timeout_;
  std::unique_ptr<Stub> stub_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ControlClient>> ControlClient::Create(const std::string& socket,
                                                                     absl::Duration timeout) {
  constexpr size_t kMaxPath = sizeof(sockaddr_un{}.sun_path) - 1;
  if (socket.empty() || socket.size() > kMaxPath) {
    return absl::InvalidArgumentError(absl::StrCat("socket path \"", socket, "\": ", socket.size(),
                                                   " bytes; a socket's path has 1 to ", kMaxPath));
  }
  return std::make_unique<Client>(socket, timeout);
}

}  // namespace capstan::rpc
