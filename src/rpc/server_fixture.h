// SPDX-License-Identifier: Apache-2.0
// A real server on loopback in front of a fake control plane, and clients for it.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "capstan/fleet/v1/fleet.grpc.pb.h"
#include "rpc/fake_control_plane.h"
#include "rpc/server.h"
#include "security/v1alpha1/ca.grpc.pb.h"
#include "x509/csr.h"

namespace capstan::rpc::testing {

using CaStub = istio::v1::auth::IstioCertificateService::Stub;

// One end of a trust stream, driven by the test's own thread.
class StreamClient {
 public:
  explicit StreamClient(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(fleet::v1::FleetService::NewStub(channel)) {
    stream_ = stub_->Trust(&context_);
  }
  ~StreamClient() {
    if (stream_ != nullptr) {
      context_.TryCancel();
      Finish();
    }
  }

  bool Hello(const std::string& instance) {
    fleet::v1::AgentMessage message;
    message.mutable_hello()->set_instance(instance);
    return stream_->Write(message);
  }
  bool Report(const fleet::v1::Report& report) {
    fleet::v1::AgentMessage message;
    *message.mutable_report() = report;
    return stream_->Write(message);
  }
  // The sequence of the next update; nullopt at the end of the stream.
  std::optional<int64_t> Next() {
    fleet::v1::TrustUpdate update;
    if (!stream_->Read(&update)) {
      return std::nullopt;
    }
    return update.bundle().version().sequence();
  }
  void WritesDone() { stream_->WritesDone(); }
  grpc::Status Finish() {
    fleet::v1::TrustUpdate update;
    while (stream_->Read(&update)) {
    }
    grpc::Status status = stream_->Finish();
    stream_ = nullptr;
    return status;
  }

 private:
  std::unique_ptr<fleet::v1::FleetService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<fleet::v1::AgentMessage, fleet::v1::TrustUpdate>>
      stream_;
};

class ServerFixture : public ::testing::Test {
 protected:
  ServerFixture() { Start({.listen = "127.0.0.1:0"}); }
  ~ServerFixture() override { server_->Shutdown(); }

  void Start(const ServerOptions& options) {
    server_ = Must(Server::Start(options, plane_, clock_));
  }

  // A connection of its own: gRPC would otherwise share one between equal channels.
  std::shared_ptr<grpc::Channel> Channel(const std::optional<Leaf>& shown,
                                         grpc::ChannelArguments arguments = {}) {
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs = Union(a_.bundle(), b_.bundle()).ToPem();
    if (shown.has_value()) {
      tls.pem_cert_chain = x509::ToPem(shown->chain);
      tls.pem_private_key = std::string(shown->key.ToPkcs8Pem().Reveal());
    }
    arguments.SetSslTargetNameOverride("localhost");
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()),
                                     grpc::SslCredentials(tls), arguments);
  }
  // A client with a good certificate of `ca`.
  std::shared_ptr<grpc::Channel> ChannelOf(const TestCa& ca) {
    return Channel(ca.Issue(plane_.Valid()));
  }

  static std::string NewCsr() {
    return Must(x509::Csr::Create(Must(x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256)), {},
                                  {}))
        .ToPem();
  }

  const absl::Time started_ = RealClock().Now();
  TestClock clock_{started_};
  const TestCa a_{started_, "Root CA", true};
  const TestCa b_{started_, "Root CA", true};
  FakeControlPlane plane_{clock_, a_};
  std::unique_ptr<Server> server_;
};

}  // namespace capstan::rpc::testing
