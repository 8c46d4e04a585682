// SPDX-License-Identifier: Apache-2.0
#include "authn/node_pods.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "absl/strings/str_cat.h"

namespace capstan::authn {
namespace {

using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);
const NodePods::Pod kProxy{{"istio-system", "ztunnel-1"}, "u-z", "ztunnel", "n1"};
const NodePods::Pod kHttpbin{{"app", "httpbin-1"}, "u-h", "httpbin", "n1"};
const NodePods::Question kQuestion{kProxy.name, "u-z", "ztunnel", {"app", "httpbin"}};

TEST(NodePodsTest, AnAccountsPodRunsOnTheProxysNode) {
  NodePods pods;
  EXPECT_THAT(std::string(pods.Check(kQuestion, kNow).message()),
              HasSubstr("its pod istio-system/ztunnel-1 (uid u-z) runs on no node"));
  pods.Seen(kProxy);
  EXPECT_THAT(std::string(pods.Check(kQuestion, kNow).message()),
              HasSubstr("no pod of app/httpbin runs on its node, n1"));
  pods.Seen(kHttpbin);
  EXPECT_TRUE(pods.Check(kQuestion, kNow).ok());
  pods.Seen(kHttpbin);
  pods.Gone(kHttpbin.name);
  EXPECT_TRUE(absl::IsNotFound(pods.Check(kQuestion, kNow)));
  pods.Gone(kHttpbin.name);
  EXPECT_EQ(pods.size(), 1u);
}

TEST(NodePodsTest, NothingLessThanThatWillDo) {
  for (const auto& [change, what] : std::vector<
           std::pair<std::function<void(NodePods::Pod & proxy, NodePods::Pod & pod)>, std::string>>{
           {[](auto&, auto&pod) { pod.node = "n2"; }, "another node"},
           {[](auto&, auto&pod) { pod.account = "sleep"; }, "another account"},
           {[](auto&, auto&pod) { pod.name.ns = "other"; }, "another namespace"},
           {[](auto&, auto&pod) { pod.end = kNow; }, "its grace is over"},
           {[](auto&proxy, auto&) { proxy.uid = "u-y"; }, "another pod of the proxy's name"},
           {[](auto&proxy, auto&) { proxy.account = "other"; }, "of another account"},
           {[](auto&proxy, auto&) { proxy.node = "n2"; }, "elsewhere itself"},
           {[](auto&proxy, auto&) { proxy.end = kNow; }, "over itself"}}) {
    NodePods::Pod proxy = kProxy, pod = kHttpbin;
    change(proxy, pod);
    NodePods pods;
    pods.Seen(proxy);
    pods.Seen(pod);
    EXPECT_TRUE(absl::IsNotFound(pods.Check(kQuestion, kNow))) << what;
  }
  NodePods pods;
  pods.Seen(kProxy);
  pods.Seen(kHttpbin);
  NodePods::Pod second = kHttpbin;
  second.name.name = "httpbin-2";
  second.end = kNow;
  pods.Seen(second);
  EXPECT_TRUE(pods.Check(kQuestion, kNow).ok()) << "one that ends beside one that runs";
}

TEST(NodePodsTest, APodIsReadAsItRuns) {
  const auto read = [](const std::string& metadata, const std::string& rest) {
    return NodePodOf(
        Json::parse(absl::StrCat(R"({"metadata":{"namespace":"app","name":"httpbin-1","uid":"u-h")",
                                 metadata, "}", rest, "}")));
  };
  const std::string spec = R"(,"spec":{"serviceAccountName":"httpbin","nodeName":"n1"})";
  EXPECT_EQ(read("", spec), kHttpbin);
  EXPECT_EQ(read("", spec + R"(,"status":{"phase":"Running"})"), kHttpbin);
  EXPECT_EQ(read("", spec + R"(,"status":{"phase":"Failed"})"), std::nullopt);
  EXPECT_EQ(read("", spec + R"(,"status":{"phase":"Succeeded"})"), std::nullopt);
  EXPECT_EQ(read("", R"(,"spec":{"serviceAccountName":"httpbin"})"), std::nullopt) << "no node yet";
  EXPECT_EQ(read("", R"(,"spec":7)"), std::nullopt);
  EXPECT_EQ(read("", ""), std::nullopt);
  const auto deleted = read(R"(,"deletionTimestamp":"2027-01-15T08:00:00Z")", spec);
  ASSERT_TRUE(deleted.has_value()) << "its grace period runs";
  EXPECT_EQ(deleted->end, absl::FromUnixSeconds(1'800'000'000) + absl::Minutes(1));
  EXPECT_EQ(read(R"(,"deletionTimestamp":"soon")", spec), std::nullopt);
}

// Whatever is told in whatever order, the answer is that of a look through all pods.
RC_GTEST_PROP(NodePodsTest, AnswersAsALookThroughAllWould, ()) {
  const auto letter = rc::gen::inRange(0, 3);
  std::map<kube::ObjectName, NodePods::Pod> model;
  NodePods pods;
  for (int i = *rc::gen::inRange(0, 40); i > 0; --i) {
    const kube::ObjectName name{absl::StrCat("ns", *letter), absl::StrCat("p", *letter)};
    if (*rc::gen::inRange(0, 3) == 0) {
      model.erase(name);
      pods.Gone(name);
    } else {
      const NodePods::Pod pod{name, absl::StrCat("u", *letter), absl::StrCat("a", *letter),
                              absl::StrCat("n", *letter),
                              *letter == 0 ? kNow : absl::InfiniteFuture()};
      model[name] = pod;
      pods.Seen(pod);
    }
  }
  RC_ASSERT(pods.size() == model.size());
  const NodePods::Question question{{"ns0", "p0"}, "u0", "a0", {absl::StrCat("ns", *letter), "a1"}};
  const auto proxy = model.find(question.pod);
  bool expected = false;
  if (proxy != model.end() && proxy->second.uid == "u0" && proxy->second.account == "a0" &&
      proxy->second.end > kNow) {
    for (const auto& [name, pod] : model) {
      expected = expected || (pod.node == proxy->second.node && name.ns == question.wanted.ns &&
                              pod.account == question.wanted.name && pod.end > kNow);
    }
  }
  RC_ASSERT(pods.Check(question, kNow).ok() == expected);
}

}  // namespace
}  // namespace capstan::authn
