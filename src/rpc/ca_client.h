// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/executor.h"
#include "base/secret.h"
#include "lifecycle/ca_client.h"

namespace grpc {
class Channel;
}

namespace capstan::rpc {

class PendingCalls;

// lifecycle's port over istio.v1.auth.IstioCertificateService, and probe certificates of
// capstan.fleet.v1.FleetService. Used from tasks of the executor, on
// which callbacks run as well.
class GrpcCaClient final : public lifecycle::CaClient {
 public:
  // `instance` names this agent to the control plane.
  GrpcCaClient(Executor& executor, std::string instance);
  // Cancels what is under way and waits until gRPC is done with it; the callbacks are posted.
  ~GrpcCaClient() override;

  // For the calls from now on. Without one they fail as Unavailable.
  void UseChannel(std::shared_ptr<grpc::Channel> channel) { channel_ = std::move(channel); }
  // A join token, sent along when the agent's own credential is asked for.
  void UseToken(std::optional<Secret> token) { token_ = std::move(token); }

  void CreateCertificate(const Request& request, Callback done) override;

  // A certificate to probe consumers with, as CreateCertificate() otherwise.
  struct ProbeRequest {
    std::string csr_pem;
    std::string authority_id;
    absl::Duration timeout;
  };
  void CreateProbeCertificate(const ProbeRequest& request, Callback done);

 private:
  bool CanCall(const Callback& done);

  Executor& executor_;
  const std::string instance_;
  std::shared_ptr<grpc::Channel> channel_;
  std::optional<Secret> token_;
  std::shared_ptr<PendingCalls> calls_;
};

}  // namespace capstan::rpc
