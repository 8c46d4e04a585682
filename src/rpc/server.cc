// SPDX-License-Identifier: Apache-2.0
#include "rpc/server.h"

#include <grpc/support/time.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "rpc/ads_hub.h"
#include "rpc/ads_service.h"
#include "rpc/ca_service.h"
#include "rpc/control_service.h"
#include "rpc/fleet_service.h"
#include "rpc/library_log.h"
#include "rpc/listen_address.h"
#include "rpc/server_credentials.h"
#include "rpc/trust_hub.h"
#include "rpc/unix_listener.h"

namespace capstan::rpc {
namespace {

constexpr int kMaxMessageBytes = 4 << 20;  // of any method; each method takes less
constexpr int kMaxOperatorMessageBytes = 64 << 10;
constexpr int kMaxMetadataBytes = 16 << 10;  // a Kubernetes token is 1 to 2 KiB
constexpr int kMaxStreamsPerConnection = 256;
constexpr int kHandshakeMilliseconds = 20'000;
constexpr int kKeepaliveMilliseconds = 30'000;
constexpr int kKeepaliveTimeoutMilliseconds = 10'000;
// The pings of stock agents (grpc-go's 15 s minimum) are no abuse.
constexpr int kLeastPingIntervalMilliseconds = 15'000;
// Of a connection without a call. An agent's has its trust stream; others come again.
constexpr int kIdleMilliseconds = 300'000;
constexpr int kShutdownSeconds = 2;

// As many connections as the system lets us have: this gRPC gives its listener up for good when
// accept(2) runs out of descriptors, and the usual soft limit of 1024 is reached by a thousand
// agents.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) {
    return;
  }
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    log::Warn("the limit of open files stays low", {{"why", std::strerror(errno)}});
  }
}

// What both servers have in common: no client makes them hold more than this.
void Bound(grpc::ServerBuilder& builder, int max_message_bytes) {
  builder.SetMaxReceiveMessageSize(max_message_bytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  // The size of a message is checked before it is decompressed: a small one could become gigabytes.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
}

void KeepConnectionsAlive(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kLeastPingIntervalMilliseconds);
}

class GrpcServer final : public Server {
 public:
  GrpcServer(const ServerOptions& options, ControlPlane& plane, Clock& clock)
      : options_(options),
        authenticator_(plane),
        hub_(plane, clock, {.max_streams = options.max_trust_streams}),
        ads_hub_(plane, {.max_streams = options.max_trust_streams}),
        ca_(plane, authenticator_),
        ads_(authenticator_, ads_hub_),
        fleet_(plane, authenticator_, hub_, clock),
        control_(plane),
        credentials_(ReloadingServerCredentials(plane)) {}
  ~GrpcServer() override { Shutdown(); }

  absl::Status Listen() {
    CAPSTAN_RETURN_IF_ERROR(ListenForWorkloads());
    return options_.operator_socket.empty() ? absl::OkStatus() : ListenForOperator();
  }

  int port() const override { return port_; }
  size_t trust_streams() const override { return hub_.open_streams(); }

  void Shutdown() override {
    std::lock_guard lock(shutdown_);
    if (std::exchange(shut_down_, true)) {
      return;
    }
    hub_.EndAll();
    ads_hub_.EndAll();
    operator_listener_ = nullptr;
    ShutDown(operator_);
    ShutDown(workloads_);
    hub_.Stop();
    ads_hub_.Stop();
  }

 private:
  absl::Status ListenForWorkloads() {
    CAPSTAN_RETURN_IF_ERROR(CheckListenAddress(options_.listen));
    grpc::ServerBuilder builder;
    Bound(builder, kMaxMessageBytes);
    KeepConnectionsAlive(builder);
    grpc::ResourceQuota quota("capstand");
    builder.SetResourceQuota(quota.Resize(options_.max_memory_bytes));
    builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMilliseconds);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kIdleMilliseconds);
    // Two servers on one port would each get half of the connections.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddListeningPort(options_.listen, credentials_, &port_);
    builder.RegisterService(&ca_);
    builder.RegisterService(&fleet_);
    builder.RegisterService(&ads_);
    workloads_ = builder.BuildAndStart();
    if (workloads_ == nullptr || port_ == 0) {
      return absl::InternalError(absl::StrCat(
          "cannot serve on ", options_.listen,
          ": gRPC refused the serving certificate or its key, or the address was taken meanwhile"));
    }
    return absl::OkStatus();
  }

  absl::Status ListenForOperator() {
    grpc::ServerBuilder builder;
    Bound(builder, kMaxOperatorMessageBytes);
    builder.RegisterService(&control_);
    operator_ = builder.BuildAndStart();
    if (operator_ == nullptr) {
      return absl::InternalError("gRPC refused to serve the operator's calls");
    }
    CAPSTAN_ASSIGN_OR_RETURN(
        operator_listener_,
        UnixListener::Listen(options_.operator_socket,
                             [this](int fd, const ucred& peer) { AcceptOperator(fd, peer); }));
    return absl::OkStatus();
  }

  // The folder's mode keeps others out already; this holds where somebody widened it.
  void AcceptOperator(int fd, const ucred& peer) {
    if (peer.uid != 0 && peer.uid != ::geteuid()) {
      log::Warn("operator connection refused",
                {{"uid", peer.uid}, {"pid", peer.pid}, {"why", "neither root nor our own user"}});
      ::close(fd);
      return;
    }
    grpc::AddInsecureChannelFromFd(operator_.get(), fd);
  }

  static void ShutDown(const std::unique_ptr<grpc::Server>& server) {
    if (server != nullptr) {
      server->Shutdown(gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                    gpr_time_from_seconds(kShutdownSeconds, GPR_TIMESPAN)));
    }
  }

  const ServerOptions options_;
  CallAuthenticator authenticator_;
  TrustHub hub_;
  AdsHub ads_hub_;
  CaService ca_;
  AdsService ads_;
  FleetService fleet_;
  ControlService control_;
  const std::shared_ptr<grpc::ServerCredentials> credentials_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> workloads_;
  std::unique_ptr<grpc::Server> operator_;
  std::unique_ptr<UnixListener> operator_listener_;
  std::mutex shutdown_;
  bool shut_down_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options,
                                                      ControlPlane& plane, Clock& clock) {
  RouteLibraryLogs();
  RaiseDescriptorLimit();
  if (plane.serving() == nullptr) {
    return absl::FailedPreconditionError("the control plane has no serving certificate yet");
  }
  auto server = std::make_unique<GrpcServer>(options, plane, clock);
  CAPSTAN_RETURN_IF_ERROR(server->Listen());
  return server;
}

}  // namespace capstan::rpc
