// SPDX-License-Identifier: Apache-2.0
#include "rpc/sds_server.h"

#include <grpc/support/time.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "base/files.h"
#include "base/log.h"
#include "base/status.h"
#include "envoy/service/secret/v3/sds.grpc.pb.h"
#include "rpc/sds_codec.h"
#include "rpc/sds_loop.h"
#include "rpc/status.h"
#include "rpc/unix_listener.h"
#include "sds/stream.h"

namespace capstan::rpc {
namespace {

namespace discovery = envoy::service::discovery::v3;
using SecretService = envoy::service::secret::v3::SecretDiscoveryService;

// Envoy sends its node's metadata with the first request, which Istio fills generously.
constexpr int kMaxRequestBytes = 1 << 20;
constexpr int kShutdownSeconds = 1;

// When a process started, in clock ticks since boot: field 22 of /proc/PID/stat, counted after the
// name, which may hold anything. With the id it names a process for good; 0 where it cannot be
// read.
uint64_t StartOf(int64_t pid) {
  const auto stat = ReadFile(absl::StrCat("/proc/", pid, "/stat"));
  if (!stat.ok()) {
    return 0;
  }
  const size_t name_end = stat->rfind(')');
  if (name_end == std::string::npos) {
    return 0;
  }
  const std::vector<std::string> fields =
      absl::StrSplit(stat->substr(name_end + 1), ' ', absl::SkipEmpty());
  constexpr size_t kStartAfterName = 19;
  uint64_t started = 0;
  return fields.size() > kStartAfterName && absl::SimpleAtoi(fields[kStartAfterName], &started)
             ? started
             : 0;
}

// Who is at the other end of which descriptor. gRPC names a connection made from a descriptor
// "fd:N"; a number is used again only after gRPC closed it, so at worst a call that is dead already
// is taken for one of the next connection, and ends unheard.
class Peers {
 public:
  void Add(int fd, const ucred& peer) {
    sds::Peer known{.pid = peer.pid, .started = StartOf(peer.pid)};
    absl::MutexLock lock(&mutex_);
    known.connection = ++connections_;
    by_fd_[fd] = known;
  }
  std::optional<sds::Peer> Find(const std::string& grpc_name) const {
    const std::vector<std::string> parts = absl::StrSplit(grpc_name, ':');
    int fd = -1;
    if (parts.size() != 2 || parts[0] != "fd" || !absl::SimpleAtoi(parts[1], &fd)) {
      return std::nullopt;
    }
    absl::MutexLock lock(&mutex_);
    const auto found = by_fd_.find(fd);
    return found == by_fd_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  mutable absl::Mutex mutex_;
  uint64_t connections_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int, sds::Peer> by_fd_ ABSL_GUARDED_BY(mutex_);
};

// What FetchSecrets answers from: the latest material, under a version that changes with its
// content.
class Latest {
 public:
  explicit Latest(std::string tag) : tag_(std::move(tag)) {}
  void Set(std::shared_ptr<const sds::Material> material) {
    absl::MutexLock lock(&mutex_);
    if (material_ == nullptr || !sds::SameContent(sds::Kind::kTrust, *material_, *material) ||
        !sds::SameContent(sds::Kind::kLeaf, *material_, *material)) {
      ++version_;
    }
    material_ = std::move(material);
  }
  // Null before the first material.
  std::shared_ptr<const sds::Material> Get(std::string& version) const {
    absl::MutexLock lock(&mutex_);
    version = absl::StrCat(tag_, ".", version_);
    return material_;
  }

 private:
  const std::string tag_;
  mutable absl::Mutex mutex_;
  uint64_t version_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<const sds::Material> material_ ABSL_GUARDED_BY(mutex_);
};

class Service final : public SecretService::CallbackService {
 public:
  Service(SdsLoop& loop, const Peers& peers, const Latest& latest, const spiffe::SpiffeId& id)
      : loop_(loop), peers_(peers), latest_(latest), names_(id) {}

  grpc::ServerBidiReactor<discovery::DiscoveryRequest, discovery::DiscoveryResponse>* StreamSecrets(
      grpc::CallbackServerContext* context) override {
    return Open<discovery::DiscoveryRequest, discovery::DiscoveryResponse>(
        *context, sds::Front::kStateOfTheWorld);
  }

  grpc::ServerBidiReactor<discovery::DeltaDiscoveryRequest, discovery::DeltaDiscoveryResponse>*
  DeltaSecrets(grpc::CallbackServerContext* context) override {
    return Open<discovery::DeltaDiscoveryRequest, discovery::DeltaDiscoveryResponse>(
        *context, sds::Front::kDelta);
  }

  grpc::ServerUnaryReactor* FetchSecrets(grpc::CallbackServerContext* context,
                                         const discovery::DiscoveryRequest* request,
                                         discovery::DiscoveryResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpc(Fetch(FromWire(*request), *response)));
    return reactor;
  }

 private:
  template <typename WireRequest, typename WireResponse>
  SdsReactor<WireRequest, WireResponse>* Open(grpc::CallbackServerContext& context,
                                              sds::Front front) {
    const sds::StreamId id = loop_.NextId();
    auto stream = std::make_unique<SdsReactor<WireRequest, WireResponse>>(id, loop_);
    auto* reactor = stream.get();
    // A connection that is not known is a consumer of its own.
    const sds::Peer stranger{.connection = ~id};
    loop_.Open(id, std::move(stream), front, peers_.Find(context.peer()).value_or(stranger));
    return reactor;
  }

  // One answer from what there is: not a consumer, and nothing it gets counts.
  absl::Status Fetch(const sds::Request& request, discovery::DiscoveryResponse& wire) const {
    sds::Stream stream(sds::Front::kStateOfTheWorld, "fetch");
    CAPSTAN_RETURN_IF_ERROR(stream.Check(request, sds::Limits{}));
    std::string version;
    const std::shared_ptr<const sds::Material> material = latest_.Get(version);
    if (material == nullptr) {
      return absl::UnavailableError("this agent has no trust and no certificate yet");
    }
    stream.Apply(request, names_);
    const sds::Edition trust{.kind = sds::Kind::kTrust, .number = 1, .material = material};
    const sds::Edition leaf{.kind = sds::Kind::kLeaf, .number = 1, .material = material};
    sds::Response response =
        stream.Answer(&trust, sds::HasLeaf(*material) ? &leaf : nullptr).value_or(sds::Response{});
    response.version = version;
    response.nonce.clear();
    ToWire(response, wire);
    return absl::OkStatus();
  }

  SdsLoop& loop_;
  const Peers& peers_;
  const Latest& latest_;
  const sds::Names names_;
};

sds::Config ConfigOf(const SdsServer::Options& options) {
  return {.id = options.id,
          .first_retry = options.first_retry,
          .hold_leaf = options.hold_leaf,
          .forget = options.forget};
}

}  // namespace

class SdsServer::Impl {
 public:
  Impl(Options options, Clock& clock, Random& random)
      : options_(std::move(options)),
        latest_(absl::BytesToHexString(random.Bytes(8))),
        loop_(ConfigOf(options_), clock, random, options_.metrics),
        service_(loop_, peers_, latest_, options_.id) {}

  absl::Status Start() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) {
      return absl::InternalError("gRPC refuses to start the SDS server");
    }
    auto listener = UnixListener::Listen(options_.socket_path,
                                         [this](int fd, const ucred& peer) { Accept(fd, peer); });
    if (!listener.ok()) {
      return Annotate(listener.status(), "SDS socket");
    }
    listener_ = *std::move(listener);
    return absl::OkStatus();
  }

  void Stop() {
    absl::MutexLock lock(&stopping_);
    if (stopped_) {
      return;
    }
    stopped_ = true;
    listener_.reset();
    loop_.EndStreams();
    if (server_ != nullptr) {
      server_->Shutdown(gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                     gpr_time_from_seconds(kShutdownSeconds, GPR_TIMESPAN)));
    }
    loop_.Stop();
  }

  void Publish(std::shared_ptr<const sds::Material> material) {
    if (absl::Status status = Check(material.get()); !status.ok()) {
      log::Error("sds material is refused", {{"why", status.message()}});
      return;
    }
    latest_.Set(material);
    loop_.Publish(std::move(material));
  }

  std::vector<sds::ConsumerReport> Consumers() const { return loop_.Consumers(); }

  void OnConsumersChanged(std::function<void()> changed) {
    loop_.OnConsumersChanged(std::move(changed));
  }

 private:
  absl::Status Check(const sds::Material* material) const {
    if (material == nullptr) {
      return absl::InvalidArgumentError("there is none");
    }
    if (material->id != options_.id) {
      return absl::InvalidArgumentError(absl::StrCat(
          "it is of ", material->id.ToString(), "; this server is of ", options_.id.ToString()));
    }
    if (material->roots_pem.empty()) {
      return absl::InvalidArgumentError("it has no root, and Envoy refuses an empty bundle");
    }
    return absl::OkStatus();
  }

  void Accept(int fd, const ucred& peer) {
    const bool welcome = peer.uid == ::geteuid() || peer.uid == 0 ||
                         std::find(options_.peer_uids.begin(), options_.peer_uids.end(),
                                   peer.uid) != options_.peer_uids.end();
    if (!welcome) {
      log::Warn("sds connection refused", {{"uid", peer.uid}, {"pid", peer.pid}});
      ::close(fd);
      return;
    }
    peers_.Add(fd, peer);
    grpc::AddInsecureChannelFromFd(server_.get(), fd);
  }

  const Options options_;
  Peers peers_;
  Latest latest_;
  absl::Mutex stopping_;
  bool stopped_ ABSL_GUARDED_BY(stopping_) = false;
  SdsLoop loop_;
  Service service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<UnixListener> listener_;
};

absl::StatusOr<std::unique_ptr<SdsServer>> SdsServer::Start(Options options, Clock& clock,
                                                            Random& random) {
  auto impl = std::make_unique<Impl>(std::move(options), clock, random);
  if (absl::Status status = impl->Start(); !status.ok()) {
    impl->Stop();
    return status;
  }
  return std::unique_ptr<SdsServer>(new SdsServer(std::move(impl)));
}

SdsServer::SdsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

SdsServer::~SdsServer() {
  Stop();
}

void SdsServer::Publish(std::shared_ptr<const sds::Material> material) {
  impl_->Publish(std::move(material));
}

std::vector<sds::ConsumerReport> SdsServer::Consumers() const {
  return impl_->Consumers();
}

void SdsServer::OnConsumersChanged(std::function<void()> changed) {
  impl_->OnConsumersChanged(std::move(changed));
}

void SdsServer::Stop() {
  impl_->Stop();
}

}  // namespace capstan::rpc
