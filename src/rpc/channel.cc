// SPDX-License-Identifier: Apache-2.0
#include "rpc/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "rpc/channel_arguments.h"
#include "x509/verify.h"

namespace capstan::rpc {
namespace {

namespace tls = grpc::experimental;

// Runs after the handshake, in which the server proved that it holds the key of the certificate it
// showed; nothing is sent before it agrees.
class ServerVerifier final : public tls::ExternalCertificateVerifier {
 public:
  ServerVerifier(spiffe::SpiffeId expected, trust::Bundle bundle, Clock& clock)
      : expected_(std::move(expected)), bundle_(std::move(bundle)), clock_(clock) {}

  bool Verify(tls::TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)>,
              grpc::Status* sync_status) override {
    const absl::Status status = Check(*request);
    if (!status.ok()) {
      *sync_status = grpc::Status(grpc::StatusCode::UNAUTHENTICATED, std::string(status.message()));
    }
    return true;
  }
  void Cancel(tls::TlsCustomVerificationCheckRequest*) override {}

 private:
  absl::Status Check(const tls::TlsCustomVerificationCheckRequest& request) const {
    grpc::string_ref pem = request.peer_cert_full_chain();
    if (pem.empty()) pem = request.peer_cert();
    auto chain = x509::ParsePemCertificates(std::string_view(pem.data(), pem.size()));
    if (!chain.ok()) return Annotate(chain.status(), "the server's certificate");
    return CheckServer(*chain, expected_, bundle_, clock_.Now());
  }

  const spiffe::SpiffeId expected_;
  const trust::Bundle bundle_;
  Clock& clock_;
};

std::shared_ptr<grpc::ChannelCredentials> Credentials(const ChannelOptions& options, Clock& clock) {
  std::vector<tls::IdentityKeyCertPair> identity;
  if (options.credential) {
    identity.push_back(
        {std::string(options.credential->key_pem.Reveal()), options.credential->chain_pem});
  }
  tls::TlsChannelCredentialsOptions tls_options;
  tls_options.set_certificate_provider(
      std::make_shared<tls::StaticDataCertificateProvider>(options.bundle.ToPem(), identity));
  tls_options.watch_root_certs();
  if (!identity.empty()) tls_options.watch_identity_key_cert_pairs();
  // The chain is verified by ServerVerifier, the same way as everywhere in this program and with a
  // reason; gRPC's own check would only say that it failed, before ours is asked. Host names are
  // not what we trust.
  tls_options.set_verify_server_certs(false);
  tls_options.set_check_call_host(false);
  tls_options.set_certificate_verifier(tls::ExternalCertificateVerifier::Create<ServerVerifier>(
      options.server_id, options.bundle, clock));
  return tls::TlsCredentials(tls_options);
}

}  // namespace

absl::Status CheckServer(const std::vector<x509::Certificate>& chain,
                         const spiffe::SpiffeId& expected, const trust::Bundle& bundle,
                         absl::Time now) {
  if (chain.empty()) {
    return absl::UnauthenticatedError(
        "the server at the control plane's address shows no certificate");
  }
  const x509::Certificate& leaf = chain.front();
  const auto id = leaf.SpiffeId();
  if (!id.ok() || *id != expected) {
    return absl::UnauthenticatedError(absl::StrCat(
        "the server at the control plane's address is not ", expected.ToString(),
        ": its certificate ",
        id.ok() ? absl::StrCat("is for ", id->ToString())
                : absl::StrCat("(", leaf.Subject().empty() ? "no subject" : leaf.Subject(),
                               ") is no X509-SVID: ", id.status().message())));
  }
  const x509::Verdict verdict =
      x509::VerifySvid(chain, bundle.roots(), now, {.purpose = x509::Purpose::kServer});
  if (!verdict.status.ok()) {
    return absl::UnauthenticatedError(
        absl::StrCat("the server claims to be ", expected.ToString(),
                     ", but its certificate does not verify against the trust bundle: ",
                     verdict.status.message()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const ChannelOptions& options,
                                                           Clock& clock) {
  CAPSTAN_RETURN_IF_ERROR(CheckAddress(options.address));
  if (options.bundle.empty()) {
    return absl::InvalidArgumentError("there is no root to verify the control plane with");
  }
  return grpc::CreateCustomChannel(options.address, Credentials(options, clock),
                                   AgentChannelArguments());
}

}  // namespace capstan::rpc
