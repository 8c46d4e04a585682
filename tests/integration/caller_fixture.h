// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "authn/service_accounts.h"
#include "base/event_loop.h"
#include "keystore/sealed_keys.h"
#include "kube_fixture.h"
#include "rpc/server_fixture.h"
#include "server/built_in_ca.h"
#include "server/control_plane.h"
#include "store/memory_store.h"

namespace capstan::server {

// capstand's certificate service in front of a real API server, and a namespace with the service
// accounts `w` and `capstand`.
class CallerFixture : public kube::KubeFixture {
 protected:
  // What a control plane is told beside the access to the API server.
  struct Told {
    authn::TokenVerification verification = authn::TokenVerification::kReview;
    std::vector<kube::ObjectName> node_accounts;
    std::vector<authn::TokenIssuer> issuers;
  };

  CallerFixture() {
    MakeAccount("w");
    MakeAccount("capstand");
  }
  ~CallerFixture() override { Stop(); }

  void MakeAccount(const std::string& name) {
    const auto made =
        client_.Create(kube::kServiceAccounts, {ns_, ""}, {{"metadata", {{"name", name}}}});
    EXPECT_TRUE(made.ok()) << made.status();
  }

  // A control plane that asks the API server there.
  void Start(const kube::Access& access) { Start(access, Told()); }
  void Start(const kube::Access& access, const Told& told) {
    Stop();
    std::vector<authn::ServiceAccounts::Cluster> clusters;
    clusters.push_back(authn::ClusterAt(access, {"Kubernetes"}, {"istio-ca"}, told.verification,
                                        RealClock(), metrics_));
    accounts_ = std::make_shared<authn::ServiceAccounts>(
        domain_, std::move(clusters),
        authn::IssuersOf(told.issuers, {"istio-ca"}, RealClock(), metrics_));
    background_ = std::make_unique<EventLoop>(RealClock());
    ControlPlaneOptions options{
        .trust_domain = domain_,
        .keeper = {.serving_names =
                       NamesFor(domain_, "127.0.0.1:0", "127.0.0.1:0", {"localhost"})}};
    options.service_accounts = accounts_;
    if (!told.node_accounts.empty()) {
      authn::NodeProxies::Clusters pods;
      pods.emplace("Kubernetes",
                   std::make_unique<authn::NodePodWatch>("Kubernetes", access, RealClock()));
      proxies_ = std::make_shared<authn::NodeProxies>(domain_, told.node_accounts, std::move(pods),
                                                      metrics_);
    }
    options.node_proxies = proxies_;
    plane_ = std::make_unique<ControlPlane>(
        options, store_,
        *keystore::SealedKeys::Open(absl::StrCat(::testing::TempDir(), "/seal-", ns_),
                                    keystore::SealedKeys::IfMissing::kCreate, SystemRandom()),
        RealClock(), SystemRandom(), *background_, metrics_);
    ASSERT_TRUE(plane_->Start().ok());
    if (!plane_->has_ca()) {
      const auto made =
          plane_->Offer(*MakeBuiltInCa(domain_, x509::KeyType::kEcdsaP256, absl::Hours(1000),
                                       SystemRandom(), RealClock().Now()),
                        {.source = "built-in"});
      ASSERT_TRUE(made.ok()) << made.status();
    }
    server_ = *rpc::Server::Start({.listen = "127.0.0.1:0"}, *plane_, RealClock());
  }
  void Stop() {
    if (accounts_ != nullptr) accounts_->Stop();
    if (proxies_ != nullptr) proxies_->Stop();
    if (server_ != nullptr) server_->Shutdown();
    if (background_ != nullptr) background_->Stop();
    server_.reset();
    plane_.reset();
    proxies_.reset();
  }

  struct Answer {
    grpc::StatusCode code;
    std::string message;
    std::vector<std::string> chain;
    absl::Duration took;
  };
  // `impersonated`: in whose name; "": in its own.
  Answer Create(const Secret& token, const std::string& cluster = "Kubernetes",
                const std::string& impersonated = "") {
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs = plane_->trust()->bundle.ToPem();
    grpc::ChannelArguments arguments;
    arguments.SetSslTargetNameOverride("localhost");
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    const auto channel = grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                                   grpc::SslCredentials(tls), arguments);
    grpc::ClientContext context;
    context.AddMetadata("authorization", absl::StrCat("Bearer ", token.Reveal()));
    context.AddMetadata("clusterid", cluster);
    istio::v1::auth::IstioCertificateRequest request;
    x509::Extensions wanted;
    wanted.sans = {.uris = {impersonated.empty() ? Id() : impersonated}, .critical = true};
    request.set_csr(
        x509::Csr::Create(*x509::PrivateKey::Generate(x509::KeyType::kRsa2048), {}, wanted)
            ->ToPem());
    request.set_validity_duration(86400);
    auto& metadata = *request.mutable_metadata()->mutable_fields();
    metadata["CertSigner"].set_string_value("");
    if (!impersonated.empty()) metadata["ImpersonatedIdentity"].set_string_value(impersonated);
    istio::v1::auth::IstioCertificateResponse response;
    const absl::Duration began = RealClock().Monotonic();
    const grpc::Status status =
        rpc::testing::CaStub(channel).CreateCertificate(&context, request, &response);
    return {status.error_code(),
            status.error_message(),
            {response.cert_chain().begin(), response.cert_chain().end()},
            RealClock().Monotonic() - began};
  }
  std::string IdOf(const std::string& account) const {
    return absl::StrCat("spiffe://cluster.local/ns/", ns_, "/sa/", account);
  }
  std::string Id() const { return IdOf("w"); }
  static std::string IdIn(const Answer& answer) {
    return answer.chain.empty()
               ? answer.message
               : x509::ParsePemCertificates(answer.chain[0])->front().SpiffeId()->ToString();
  }
  // Its UID. `node`: where it runs; "": nowhere yet.
  std::string MakePod(const std::string& name, const std::string& account = "w",
                      const std::string& node = "") {
    Json spec = {{"serviceAccountName", account},
                 {"containers", {{{"name", "c"}, {"image", "none"}}}}};
    if (!node.empty()) spec["nodeName"] = node;
    const auto pod =
        client_.Create(kube::kPods, {ns_, ""}, {{"metadata", {{"name", name}}}, {"spec", spec}});
    EXPECT_TRUE(pod.ok()) << pod.status();
    return pod.ok() ? kube::Metadata(*pod, "uid") : "";
  }
  Secret TokenOfPod(const std::string& name, const std::string& uid,
                    const std::string& audience = "istio-ca", const std::string& account = "w") {
    return TokenOf(account, audience,
                   {{"apiVersion", "v1"}, {"kind", "Pod"}, {"name", name}, {"uid", uid}});
  }
  Secret JoinToken() {
    control::v1::CreateTokenRequest request;
    request.set_spiffe_id("spiffe://cluster.local/ns/default/sa/vm");
    return Secret(plane_->CreateToken(request)->token());
  }

  const spiffe::TrustDomain domain_ = *spiffe::TrustDomain::Parse("cluster.local");
  store::MemoryStore store_{"lineage"};
  Metrics metrics_;
  std::shared_ptr<authn::ServiceAccounts> accounts_;
  std::shared_ptr<authn::NodeProxies> proxies_;
  std::unique_ptr<EventLoop> background_;
  std::unique_ptr<ControlPlane> plane_;
  std::unique_ptr<rpc::Server> server_;
};

}  // namespace capstan::server
