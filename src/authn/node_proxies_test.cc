// SPDX-License-Identifier: Apache-2.0
// Who may ask in whose name, as an API server that says what it was told to tells of the pods;
// tests/integration/node_proxy_test.cc asks a real one.
#include "authn/node_proxies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <latch>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "authn/service_account.h"
#include "base/http_server.h"

namespace capstan::authn {
namespace {

using ::testing::HasSubstr;

constexpr char kHttpbin[] = "spiffe://cluster.local/ns/app/sa/httpbin";

std::string Pod(const std::string& ns, const std::string& account, const std::string& node) {
  return absl::StrCat(R"({"metadata":{"namespace":")", ns, R"(","name":")", account,
                      R"(-0","uid":"u-)", account,
                      R"(","resourceVersion":"3"},"spec":{"serviceAccountName":")", account,
                      R"(","nodeName":")", node, R"("}})");
}

class NodeProxiesTest : public ::testing::Test {
 protected:
  NodeProxiesTest()
      : server_(*HttpServer::Start("127.0.0.1:0", {{"/api/v1/pods", [this] { return Next(); }}})) {}
  ~NodeProxiesTest() override { proxies_.reset(); }

  // The answer to the list, and to each watch that follows; then what is watched stays silent.
  void Follow(std::deque<HttpResponse> answers,
              absl::Duration stale = NodePodWatch::Options().stale) {
    {
      absl::MutexLock lock(&mutex_);
      answers_ = std::move(answers);
    }
    NodePodWatch::Options options;
    options.patience = absl::Milliseconds(1500);
    options.stale = stale;
    NodeProxies::Clusters clusters;
    clusters.emplace("Kubernetes",
                     std::make_unique<NodePodWatch>(
                         "Kubernetes",
                         kube::Access{.server = absl::StrCat("http://127.0.0.1:", server_->port())},
                         RealClock(), options));
    proxies_ = std::make_unique<NodeProxies>(
        domain_, std::vector<kube::ObjectName>{{"istio-system", "ztunnel"}}, std::move(clusters),
        metrics_);
  }
  static HttpResponse ListOf(const std::string& pods) {
    return {.body = R"({"metadata":{"resourceVersion":"5"},"items":[)" + pods + "]}"};
  }
  Caller CallerOf(const std::string& ns, const std::string& account) {
    Caller caller = *authn::CallerOf({ns, account, account + "-0", "u-" + account, ""}, domain_,
                                     std::string(32, 'h'));
    caller.cluster = "Kubernetes";
    return caller;
  }
  absl::StatusOr<Caller> Ask(const Caller& caller, const std::string& identity = kHttpbin) {
    absl::StatusOr<Caller> answer = absl::UnknownError("");
    std::latch done(1);
    proxies_->Impersonate(caller, identity, [&](absl::StatusOr<Caller> told) {
      answer = std::move(told);
      done.count_down();
    });
    done.wait();
    return answer;
  }
  void ExpectRefused(const absl::Status& answer, const std::string& why) {
    EXPECT_TRUE(absl::IsUnauthenticated(answer)) << answer;
    EXPECT_THAT(std::string(answer.message()), HasSubstr(why));
  }

  const spiffe::TrustDomain domain_ = *spiffe::TrustDomain::Parse("cluster.local");
  const Caller ztunnel_ = CallerOf("istio-system", "ztunnel");
  const std::string proxy_ = Pod("istio-system", "ztunnel", "n1");
  Metrics metrics_;
  std::unique_ptr<NodeProxies> proxies_;

 private:
  HttpResponse Next() {
    absl::MutexLock lock(&mutex_);
    if (answers_.empty()) return {.body = ""};
    HttpResponse next = answers_.front();
    answers_.pop_front();
    return next;
  }
  absl::Mutex mutex_;
  std::deque<HttpResponse> answers_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(NodeProxiesTest, ANodeProxyIsWhoRunsOnItsNode) {
  Follow({ListOf(absl::StrCat(proxy_, ",", Pod("app", "httpbin", "n1")))});
  const auto as = Ask(ztunnel_);
  ASSERT_TRUE(as.ok()) << as.status();
  EXPECT_EQ(as->id.ToString(), kHttpbin);
  EXPECT_EQ(as->node_proxy, "spiffe://cluster.local/ns/istio-system/sa/ztunnel");
  EXPECT_EQ(InstanceOf(*as), "node-proxy:u-ztunnel");
  EXPECT_THAT(metrics_.Text(), HasSubstr("capstan_impersonations_total{result=\"allowed\"} 1"));
}

TEST_F(NodeProxiesTest, WhoMayNotIsToldWhy) {
  Follow({ListOf(absl::StrCat(proxy_, ",", Pod("app", "httpbin", "n1")))});
  ExpectRefused(Ask(CallerOf("app", "httpbin")).status(), "trusted-node-accounts");
  Caller caller = ztunnel_;
  caller.proof = Caller::Proof::kCertificate;
  ExpectRefused(Ask(caller).status(), "trusted-node-accounts");
  caller = ztunnel_;
  caller.pod_uid.clear();
  ExpectRefused(Ask(caller).status(), "bound to no pod");
  caller = ztunnel_;
  caller.cluster = "";
  ExpectRefused(Ask(caller).status(), "the pods of its cluster are not known here");
  ExpectRefused(Ask(ztunnel_, "spiffe://other.td/ns/app/sa/httpbin").status(),
                "\"spiffe://other.td/ns/app/sa/httpbin\": the trust domain here is cluster.local");
  for (const char* id : {"httpbin", "spiffe://cluster.local/ns/app/sa/httpbin/x",
                         "spiffe://cluster.local/ns/app", "spiffe://cluster.local/capstan/probe"}) {
    ExpectRefused(Ask(ztunnel_, id).status(), id);
  }
  EXPECT_THAT(metrics_.Text(), HasSubstr("capstan_impersonations_total{result=\"refused\"} 9"));
}

TEST_F(NodeProxiesTest, APodWhoseEventIsOnItsWayIsWaitedFor) {
  Follow({ListOf(proxy_),
          {.body = ""},  // a watch that ends; the next one is a second later
          {.body = R"({"type":"ADDED","object":)" + Pod("app", "httpbin", "n1") + "}\n"}});
  EXPECT_TRUE(Ask(ztunnel_).ok());
  ExpectRefused(Ask(ztunnel_, "spiffe://cluster.local/ns/app/sa/sleep").status(),
                "no pod of app/sleep runs on its node, n1");
}

TEST_F(NodeProxiesTest, WhileThePodsAreNotKnownNobodyIsRefusedForThat) {
  Follow({{.status = 403, .body = R"({"message":"pods is forbidden"})"},
          {.status = 403, .body = R"({"message":"pods is forbidden"})"},
          {.status = 403, .body = R"({"message":"pods is forbidden"})"},
          {.status = 403, .body = R"({"message":"pods is forbidden"})"}});
  const absl::Status answer = Ask(ztunnel_).status();
  EXPECT_TRUE(absl::IsUnavailable(answer)) << answer;
  EXPECT_THAT(std::string(answer.message()), HasSubstr("pods is forbidden"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("capstan_impersonations_total{result=\"unknown\"} 1"));
}

TEST_F(NodeProxiesTest, WhatWasToldIsGoodForAWhile) {
  const auto list = ListOf(absl::StrCat(proxy_, ",", Pod("app", "httpbin", "n1")));
  std::deque<HttpResponse> answers(20, {.status = 500});
  answers.push_front(list);
  Follow(answers);
  EXPECT_TRUE(Ask(ztunnel_).ok());
  const absl::Status other = Ask(ztunnel_, "spiffe://cluster.local/ns/app/sa/sleep").status();
  EXPECT_TRUE(absl::IsUnavailable(other)) << "it may have come meanwhile: " << other;
  EXPECT_TRUE(Ask(ztunnel_).ok());
  Follow(answers, absl::ZeroDuration());
  absl::Status old;
  const absl::Duration began = RealClock().Monotonic();
  do old = Ask(ztunnel_).status();
  while (old.ok() && RealClock().Monotonic() - began < absl::Seconds(10));
  EXPECT_TRUE(absl::IsUnavailable(old)) << old;
}

TEST_F(NodeProxiesTest, NobodyWaitsForAStop) {
  Follow({ListOf(proxy_)});
  std::latch done(1);
  proxies_->Impersonate(ztunnel_, kHttpbin, [&](const absl::StatusOr<Caller>& told) {
    EXPECT_TRUE(absl::IsUnavailable(told.status())) << told.status();
    done.count_down();
  });
  proxies_->Stop();
  done.wait();
  EXPECT_TRUE(absl::IsUnavailable(Ask(ztunnel_).status()));
}

}  // namespace
}  // namespace capstan::authn
