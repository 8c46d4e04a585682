// SPDX-License-Identifier: Apache-2.0
// capstand's certificate service in front of a real API server, asked as stock Istio agents do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <thread>

#include "caller_fixture.h"

namespace capstan::server {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class ServiceAccountTest : public CallerFixture {
 protected:
  ServiceAccountTest() { Start(client_.access()); }
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
