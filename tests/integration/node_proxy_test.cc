// SPDX-License-Identifier: Apache-2.0
// Node proxies in front of a real API server: they get certificates in the name of pods that run on
// their node, and of no others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>

#include "caller_fixture.h"

namespace capstan::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class NodeProxyTest : public CallerFixture {
 protected:
  NodeProxyTest() {
    for (const char* account : {"ztunnel", "x", "y"}) MakeAccount(account);
    Start(client_.access(), {.node_accounts = {{ns_, "ztunnel"}}});
    token_ = TokenOfProxy("n1");
  }
  Secret TokenOfProxy(const std::string& node) {
    const std::string name = "ztunnel-" + node;
    return TokenOfPod(name, MakePod(name, "ztunnel", node), "istio-ca", "ztunnel");
  }
  Answer As(const std::string& identity) { return Create(token_, "Kubernetes", identity); }
  void ExpectRefused(const Answer& answer, const std::string& why) {
    EXPECT_EQ(answer.code, grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_TRUE(answer.chain.empty());
    EXPECT_THAT(answer.message, AllOf(StartsWith("request impersonation authentication failure: "),
                                      HasSubstr(why)));
  }
  // There is no kubelet to say so.
  void SetPhase(const std::string& pod, const std::string& phase) {
    const auto patched =
        client_.Patch(kube::kPods, {ns_, pod}, {{"status", {{"phase", phase}}}}, "status");
    ASSERT_TRUE(patched.ok()) << patched.status();
  }
  // The answer once it has that code, as a watch lags behind a change.
  Answer Until(grpc::StatusCode code, const std::string& identity) {
    const absl::Duration began = RealClock().Monotonic();
    Answer answer;
    do answer = As(identity);
    while (answer.code != code && RealClock().Monotonic() - began < absl::Seconds(20));
    return answer;
  }
  Secret token_;
};

TEST_F(NodeProxyTest, GetsWhatRunsOnItsNode) {
  MakePod("x-0", "x", "n1");
  const Answer answer = As(IdOf("x"));
  ASSERT_EQ(answer.code, grpc::StatusCode::OK) << answer.message;
  EXPECT_EQ(IdIn(answer), IdOf("x"));
  EXPECT_EQ(answer.chain.back(), plane_->trust()->bundle.ToPem());
  EXPECT_EQ(IdIn(As("")), IdOf("ztunnel")) << "its own";
  EXPECT_EQ(As(IdOf("x")).code, grpc::StatusCode::OK) << "a renewal";
  std::set<std::string> records;
  const auto fleet = plane_->ListFleet();
  for (const auto& workload : fleet.workloads()) {
    const std::string& instance = workload.instance();
    records.insert(absl::StrCat(workload.spiffe_id(), "#", instance.substr(0, instance.find(':'))));
  }
  EXPECT_EQ(records, (std::set<std::string>{IdOf("x") + "#node-proxy", IdOf("ztunnel") + "#pod"}));
}

TEST_F(NodeProxyTest, WhatDoesNotRunThereOrElsewhereIsNotForIt) {
  MakePod("x-0", "x", "n2");
  MakePod("y-0", "y");
  ExpectRefused(As(IdOf("x")), absl::StrCat("no pod of ", ns_, "/x runs on its node, n1"));
  ExpectRefused(As(IdOf("y")), "no pod of");
  ExpectRefused(As(IdOf("nobody")), "no pod of");
  MakePod("x-1", "x", "n1");
  EXPECT_EQ(As(IdOf("x")).code, grpc::StatusCode::OK);
  std::string elsewhere = IdOf("x");
  elsewhere.replace(0, 22, "spiffe://other.example");
  ExpectRefused(As(elsewhere), "the trust domain here is cluster.local");
  ExpectRefused(As("x"), "asks for \"x\"");
  ExpectRefused(As("spiffe://cluster.local/capstan/control-plane"), "/ns/NAMESPACE/sa/ACCOUNT");
}

TEST_F(NodeProxyTest, APodThatHasJustComeIsWaitedForAndOneThatLeftIsNot) {
  for (int i = 0; i < 10; ++i) {
    const std::string name = absl::StrCat("x-", i);
    MakePod(name, "x", "n1");
    EXPECT_EQ(As(IdOf("x")).code, grpc::StatusCode::OK) << "at once";
    ASSERT_TRUE(client_.Delete(kube::kPods, {ns_, name}).ok());
    SetPhase(name, "Succeeded");
    if (i > 0) continue;
    EXPECT_TRUE(Until(grpc::StatusCode::UNAUTHENTICATED, IdOf("x")).chain.empty());
  }
}

TEST_F(NodeProxyTest, ACallerThatIsNotTrustedGetsItsOwnOnly) {
  MakePod("x-0", "x", "n1");
  const std::string uid = MakePod("w-0", "w", "n1");
  ExpectRefused(Create(TokenOfPod("w-0", uid), "Kubernetes", IdOf("x")), "trusted-node-accounts");
  ExpectRefused(Create(TokenOf("ztunnel", "istio-ca"), "Kubernetes", IdOf("x")), "bound to no pod");
  Start(client_.access());
  ExpectRefused(As(IdOf("x")), "no trusted-node-accounts are set here");
}

TEST_F(NodeProxyTest, WhatCannotBeFollowedIsNoReasonToRefuse) {
  const std::string audience = "https://kubernetes.default.svc.cluster.local";
  kube::Access weak = client_.access();
  weak.certificate = weak.key = kube::Material();
  weak.token = kube::Material::OfBytes(std::string(TokenOf("capstand", audience).Reveal()));
  // It may review tokens, and not look at pods.
  for (const Json& object : {Json{{"metadata", {{"name", ns_}}},
                                  {"rules",
                                   {{{"apiGroups", {"authentication.k8s.io"}},
                                     {"resources", {"tokenreviews"}},
                                     {"verbs", {"create"}}}}}}}) {
    const kube::Resource roles{"rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole"};
    ASSERT_TRUE(client_.Create(roles, {}, object).ok());
  }
  const kube::Resource bindings{"rbac.authorization.k8s.io", "v1", "clusterrolebindings",
                                "ClusterRoleBinding"};
  ASSERT_TRUE(
      client_
          .Create(bindings, {},
                  {{"metadata", {{"name", ns_}}},
                   {"roleRef",
                    {{"apiGroup", "rbac.authorization.k8s.io"},
                     {"kind", "ClusterRole"},
                     {"name", ns_}}},
                   {"subjects",
                    {{{"kind", "ServiceAccount"}, {"name", "capstand"}, {"namespace", ns_}}}}})
          .ok());
  MakePod("x-0", "x", "n1");
  std::this_thread::sleep_for(std::chrono::seconds(1));  // bindings take a moment
  Start(weak, {.node_accounts = {{ns_, "ztunnel"}}});
  const Answer answer = As(IdOf("x"));
  EXPECT_EQ(answer.code, grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(answer.message, HasSubstr("pods of cluster \"Kubernetes\" are not known now"));
  EXPECT_THAT(answer.message, HasSubstr("pods is forbidden"));
}

}  // namespace
}  // namespace capstan::server
