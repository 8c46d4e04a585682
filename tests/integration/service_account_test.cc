// SPDX-License-Identifier: Apache-2.0
// capstand's certificate service in front of a real API server, asked as stock Istio agents do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/event_loop.h"
#include "keystore/sealed_keys.h"
#include "kube_fixture.h"
#include "rpc/server_fixture.h"
#include "server/built_in_ca.h"
#include "server/control_plane.h"
#include "server/service_accounts.h"
#include "store/memory_store.h"
#include "x509/verify.h"

namespace capstan::server {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class ServiceAccountTest : public kube::KubeFixture {
 protected:
  ServiceAccountTest() {
    for (const char* name : {"w", "capstand"}) {
      const auto made =
          client_.Create(kube::kServiceAccounts, {ns_, ""}, {{"metadata", {{"name", name}}}});
      EXPECT_TRUE(made.ok()) << made.status();
    }
    Start(client_.access());
  }
  ~ServiceAccountTest() override { Stop(); }

  // A control plane that asks the API server there.
  void Start(const kube::Access& access) {
    Stop();
    std::vector<ServiceAccounts::Cluster> clusters;
    clusters.push_back(ClusterAt(access, {"Kubernetes"}, {"istio-ca"}, RealClock(), metrics_));
    accounts_ = std::make_shared<ServiceAccounts>(domain_, std::move(clusters));
    background_ = std::make_unique<EventLoop>(RealClock());
    ControlPlaneOptions options{
        .trust_domain = domain_,
        .keeper = {.serving_names =
                       NamesFor(domain_, "127.0.0.1:0", "127.0.0.1:0", {"localhost"})}};
    options.service_accounts = accounts_;
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
    if (server_ != nullptr) server_->Shutdown();
    if (background_ != nullptr) background_->Stop();
    server_.reset();
    plane_.reset();
  }

  struct Answer {
    grpc::StatusCode code;
    std::string message;
    std::vector<std::string> chain;
    absl::Duration took;
  };
  Answer Create(const Secret& token, const std::string& cluster = "Kubernetes") {
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
    wanted.sans = {.uris = {Id()}, .critical = true};
    request.set_csr(
        x509::Csr::Create(*x509::PrivateKey::Generate(x509::KeyType::kRsa2048), {}, wanted)
            ->ToPem());
    request.set_validity_duration(86400);
    (*request.mutable_metadata()->mutable_fields())["CertSigner"].set_string_value("");
    istio::v1::auth::IstioCertificateResponse response;
    const absl::Duration began = RealClock().Monotonic();
    const grpc::Status status =
        rpc::testing::CaStub(channel).CreateCertificate(&context, request, &response);
    return {status.error_code(),
            status.error_message(),
            {response.cert_chain().begin(), response.cert_chain().end()},
            RealClock().Monotonic() - began};
  }
  std::string Id() const { return absl::StrCat("spiffe://cluster.local/ns/", ns_, "/sa/w"); }
  std::string MakePod(const std::string& name) {
    const auto pod = client_.Create(
        kube::kPods, {ns_, ""},
        {{"metadata", {{"name", name}}},
         {"spec",
          {{"serviceAccountName", "w"}, {"containers", {{{"name", "c"}, {"image", "none"}}}}}}});
    EXPECT_TRUE(pod.ok()) << pod.status();
    return pod.ok() ? kube::Metadata(*pod, "uid") : "";
  }
  Secret TokenOfPod(const std::string& name, const std::string& uid,
                    const std::string& audience = "istio-ca") {
    return TokenOf("w", audience,
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
  std::shared_ptr<ServiceAccounts> accounts_;
  std::unique_ptr<EventLoop> background_;
  std::unique_ptr<ControlPlane> plane_;
  std::unique_ptr<rpc::Server> server_;
};

TEST_F(ServiceAccountTest, APodsTokenGivesItsCertificate) {
  const std::string uid = MakePod("p");
  const Secret token = TokenOfPod("p", uid);
  const Answer answer = Create(token);
  ASSERT_EQ(answer.code, grpc::StatusCode::OK) << answer.message;
  ASSERT_EQ(answer.chain.size(), 2U) << "leaf and roots: the built-in CA has no intermediate";
  const auto leaf = x509::ParsePemCertificates(answer.chain[0])->front();
  EXPECT_EQ(leaf.SpiffeId()->ToString(), Id());
  EXPECT_EQ(answer.chain.back(), plane_->trust()->bundle.ToPem());
  const auto caller =
      authn::AuthenticateCertificate({leaf}, plane_->trust()->bundle, domain_, RealClock().Now());
  EXPECT_TRUE(caller.ok()) << caller.status();
  EXPECT_EQ(Create(token, "").code, grpc::StatusCode::OK) << "a renewal";
  EXPECT_EQ(Create(TokenOfPod("p", uid)).code, grpc::StatusCode::OK) << "with kubelet's next token";
  const std::string second = MakePod("q");
  EXPECT_EQ(Create(TokenOfPod("q", second)).code, grpc::StatusCode::OK);
  std::set<std::string> instances;
  const auto fleet = plane_->ListFleet();
  for (const auto& workload : fleet.workloads()) instances.insert(workload.instance());
  EXPECT_EQ(instances, (std::set<std::string>{"pod:" + uid, "pod:" + second}));
}

TEST_F(ServiceAccountTest, WhatTheApiServerDoesNotAcceptGivesNothing) {
  const std::string uid = MakePod("p");
  const Secret token = TokenOfPod("p", uid);
  std::string tampered(token.Reveal());
  tampered[tampered.rfind('.') + 5] ^= 1;
  for (const Secret& bad : {TokenOfPod("p", uid, "vault"), Secret(tampered), Secret("a.b.c"),
                            Secret("opaque"), TokenOf("w", "https://kubernetes.default.svc")}) {
    const Answer answer = Create(bad);
    EXPECT_EQ(answer.code, grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_THAT(answer.message, StartsWith("request authenticate failure"));
    EXPECT_THAT(answer.message, ::testing::Not(HasSubstr(std::string(bad.Reveal()))));
  }
  const Answer elsewhere = Create(token, "elsewhere");
  EXPECT_EQ(elsewhere.code, grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Create(token).code, grpc::StatusCode::OK);
}

TEST_F(ServiceAccountTest, ADeletedPodIsRefusedSoon) {
  const Secret token = TokenOfPod("p", MakePod("p"));
  ASSERT_EQ(Create(token).code, grpc::StatusCode::OK);
  ASSERT_TRUE(client_.Delete(kube::kPods, {ns_, "p"}).ok());
  const absl::Duration began = RealClock().Monotonic();
  Answer answer;
  do {
    std::this_thread::sleep_for(std::chrono::milliseconds(250));
    answer = Create(token);
  } while (answer.code == grpc::StatusCode::OK &&
           RealClock().Monotonic() - began < absl::Seconds(40));
  EXPECT_EQ(answer.code, grpc::StatusCode::UNAUTHENTICATED) << answer.message;
  RecordProperty("refused_after", absl::FormatDuration(RealClock().Monotonic() - began));
}

TEST_F(ServiceAccountTest, AnApiServerThatHangsOrIsGoneHoldsNobodyElse) {
  auto relay = std::make_unique<kube::Relay>(ServerPort());
  Start(Through(*relay));
  const std::string uid = MakePod("p");
  ASSERT_EQ(Create(TokenOfPod("p", uid)).code, grpc::StatusCode::OK);
  relay->Freeze();
  const Secret second = TokenOf("w", "istio-ca");
  std::optional<Answer> hung;
  std::thread asking([&] { hung = Create(second); });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  for (int i = 0; i < 5; ++i) {
    const Answer joins = Create(JoinToken());
    EXPECT_EQ(joins.code, grpc::StatusCode::OK) << joins.message;
    EXPECT_LT(joins.took, absl::Seconds(2));
  }
  asking.join();
  EXPECT_EQ(hung->code, grpc::StatusCode::UNAVAILABLE) << hung->message;
  EXPECT_LT(hung->took, absl::Seconds(9));

  relay.reset();
  const Answer gone = Create(TokenOf("w", "istio-ca"));
  EXPECT_EQ(gone.code, grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(gone.message, HasSubstr("the API server of cluster \"Kubernetes\" cannot be asked"));
  EXPECT_EQ(Create(JoinToken()).code, grpc::StatusCode::OK);
}

TEST_F(ServiceAccountTest, WhoMayNotAskSaysSo) {
  const std::string audience = "https://kubernetes.default.svc.cluster.local";
  kube::Access weak = client_.access();
  weak.certificate = weak.key = kube::Material();
  weak.token = kube::Material::OfBytes(std::string(TokenOf("capstand", audience).Reveal()));
  Start(weak);
  const Secret token = TokenOfPod("p", MakePod("p"));
  const Answer forbidden = Create(token);
  EXPECT_EQ(forbidden.code, grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(forbidden.message, HasSubstr("tokenreviews"));
  weak.token = kube::Material::OfBytes("wrong");
  Start(weak);
  EXPECT_EQ(Create(token).code, grpc::StatusCode::UNAVAILABLE)
      << "that is no judgement about the caller's";
}

}  // namespace
}  // namespace capstan::server
