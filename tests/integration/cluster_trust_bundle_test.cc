// SPDX-License-Identifier: Apache-2.0
// The ClusterTrustBundle of a real API server, written with no more than the role of
// deploy/kubernetes/rbac/cluster-trust-bundle.yaml.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "base/files.h"
#include "cluster/cluster_trust_bundle_keeper.h"
#include "kube_fixture.h"
#include "rpc/fake_control_plane.h"

namespace capstan::server {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kName[] = "istio.io:istiod-ca:root-cert";
constexpr char kUnsigned[] = "capstan-roots";
constexpr absl::Duration kPropagation = absl::Minutes(6);

rotation::Gate GateFor(const trust::BundleVersion& bundle) {
  return {.kind = rotation::GateKind::kTrust, .bundle = bundle};
}

class ClusterTrustBundleTest : public kube::KubeFixture {
 protected:
  ClusterTrustBundleTest() { Allow(); }
  ~ClusterTrustBundleTest() override {
    keeper_.reset();
    Kubectl("delete");
    for (const char* name : {kName, kUnsigned}) {
      client_.Delete(kube::kClusterTrustBundles, {"", name}).IgnoreError();
    }
  }

  // What the file grants, to the account capstand of this test's namespace.
  void Allow() {
    ASSERT_TRUE(
        client_.Create(kube::kServiceAccounts, {ns_, ""}, {{"metadata", {{"name", "capstand"}}}})
            .ok());
    const absl::StatusOr<std::string> text = ReadFile(
        absl::StrCat(CAPSTAN_SOURCE_DIR, "/deploy/kubernetes/rbac/cluster-trust-bundle.yaml"));
    ASSERT_TRUE(text.ok()) << text.status();
    role_ = absl::StrCat(::testing::TempDir(), "/", ns_, ".yaml");
    ASSERT_TRUE(WriteFileAtomically(role_, absl::StrReplaceAll(*text, {{"capstan-system", ns_}}),
                                    0600, Overwrite::kReplace)
                    .ok());
    ASSERT_EQ(Kubectl("apply"), 0);
  }
  int Kubectl(const char* what) {
    return std::system(
        absl::StrCat("\"$KUBELITE\" kubectl ", what, " -f ", role_, " >/dev/null").c_str());
  }
  void Start(const char* name = kName) {
    kube::Access access = client_.access();
    access.certificate = access.key = kube::Material();
    access.token = kube::Material::OfBytes(
        std::string(TokenOf("capstand", "https://kubernetes.default.svc.cluster.local").Reveal()));
    StartWith(access, name);
  }
  void StartWith(const kube::Access& access, const char* name = kName) {
    keeper_.reset();
    weak_ = std::make_unique<kube::Client>(access, RealClock(), Fast());
    metrics_ = std::make_unique<Metrics>();
    keeper_ = std::make_unique<cluster::ClusterTrustBundleKeeper>(
        *weak_, plane_, RealClock(), *metrics_, *cluster::ClusterTrustBundleName::Parse(name),
        kPropagation);
  }
  std::vector<rotation::Holder> Lacking(absl::Duration later) {
    return keeper_->Lacking(GateFor(plane_.trust()->version), RealClock().Monotonic() + later);
  }
  // Whether it holds the bundle within a while, as its own watch sees it.
  bool Current() {
    return Soon([&] { return Lacking(kPropagation).empty(); });
  }
  // Whether a gate waits, for a reason that has these words.
  bool Waits(const std::string& holder, const std::string& words) {
    return Soon([&] {
      const auto lacking = Lacking(kPropagation);
      return lacking.size() == 1 && lacking[0].name == holder &&
             absl::StrContains(lacking[0].why, words);
    });
  }
  static bool Soon(const std::function<bool()>& holds, absl::Duration within = absl::Seconds(20)) {
    const absl::Duration until = RealClock().Monotonic() + within;
    while (!holds()) {
      if (RealClock().Monotonic() > until) return false;
      absl::SleepFor(absl::Milliseconds(10));
    }
    return true;
  }
  Json Object(const char* name = kName) {
    return client_.Get(kube::kClusterTrustBundles, {"", name}).value_or(Json::object());
  }
  std::string Version() { return kube::Metadata(Object(), "resourceVersion"); }
  bool Holds(const trust::Bundle& bundle, const char* name = kName) {
    return Soon([&] { return TextAt(Object(name), {"spec", "trustBundle"}) == bundle.ToPem(); });
  }
  absl::Status Edit(const std::string& pem) {
    return client_
        .Patch(kube::kClusterTrustBundles, {"", kName}, {{"spec", {{"trustBundle", pem}}}})
        .status();
  }

  const rpc::testing::TestCa a_{absl::Now(), "root", false};
  const rpc::testing::TestCa b_{absl::Now(), "root", false};
  rpc::testing::FakeControlPlane plane_{RealClock(), a_};
  std::string role_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<kube::Client> weak_;
  std::unique_ptr<cluster::ClusterTrustBundleKeeper> keeper_;
};

TEST_F(ClusterTrustBundleTest, IsMadeAndFollowsTheBundle) {
  Start();
  ASSERT_TRUE(Current());
  EXPECT_EQ(TextAt(Object(), {"spec", "signerName"}), "istio.io/istiod-ca");
  EXPECT_TRUE(Holds(a_.bundle()));
  EXPECT_TRUE(Soon([&] {
    return absl::StrContains(metrics_->Text(), "capstan_cluster_trust_bundle{state=\"current\"} 1");
  }));
  const trust::Bundle both = trust::Bundle::Of({a_.root(), b_.root()});
  plane_.SetTrust(both);
  ASSERT_TRUE(Current());
  EXPECT_TRUE(Holds(both));
  const auto lacking = Lacking(absl::ZeroDuration());
  ASSERT_EQ(lacking.size(), 1u);
  EXPECT_EQ(lacking[0].name, absl::StrCat("cluster-trust-bundle:", kName));
  EXPECT_THAT(lacking[0].why, HasSubstr("of the 6m that kubelet takes to bring it to its pods"));
  EXPECT_THAT(
      keeper_->Lacking({.kind = rotation::GateKind::kMove, .bundle = plane_.trust()->version},
                       RealClock().Monotonic()),
      IsEmpty());
}

TEST_F(ClusterTrustBundleTest, IsRepaired) {
  Start();
  ASSERT_TRUE(Current());
  ASSERT_TRUE(Edit(b_.bundle().ToPem()).ok());
  EXPECT_TRUE(Holds(a_.bundle())) << "after an edit";
  ASSERT_TRUE(client_.Delete(kube::kClusterTrustBundles, {"", kName}).ok());
  EXPECT_TRUE(Holds(a_.bundle())) << "after a delete";
  ASSERT_TRUE(Current());
}

TEST_F(ClusterTrustBundleTest, WhatIsRightIsLeftAlone) {
  const trust::Bundle both = trust::Bundle::Of({a_.root(), b_.root()});
  plane_.SetTrust(both);
  const auto roots = both.roots();
  const std::string theirs = absl::StrCat(roots[1].ToPem(), "\n", roots[0].ToPem());
  ASSERT_TRUE(
      client_
          .Create(kube::kClusterTrustBundles, {},
                  {{"metadata", {{"name", kName}}},
                   {"spec", {{"signerName", "istio.io/istiod-ca"}, {"trustBundle", theirs}}}})
          .ok());
  const std::string before = Version();
  Start();
  ASSERT_TRUE(Current());
  EXPECT_EQ(Version(), before) << "the same certificates in another order";
  Start();
  ASSERT_TRUE(Current());
  plane_.SetTrust(both);  // another version of the same content
  ASSERT_TRUE(Current());
  EXPECT_EQ(Version(), before);
}

// The role names the one bundle that may be changed; only who may attest writes one of a signer.
// Every service account may read them all (system:cluster-trust-bundle-discovery).
TEST_F(ClusterTrustBundleTest, WhoMayNotWriteSaysSo) {
  Start(kUnsigned);
  ASSERT_TRUE(Current());
  plane_.SetTrust(trust::Bundle::Of({a_.root(), b_.root()}));
  EXPECT_TRUE(Waits(absl::StrCat("cluster-trust-bundle:", kUnsigned), "is forbidden"));
  Start();
  ASSERT_TRUE(Current());
  ASSERT_TRUE(client_
                  .Patch({"rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole"},
                         {"", "capstand-cluster-trust-bundle"},
                         {{"rules",
                           {{{"apiGroups", {"certificates.k8s.io"}},
                             {"resources", {"clustertrustbundles"}},
                             {"verbs", {"list", "watch", "patch", "create"}}}}}})
                  .ok());
  absl::SleepFor(absl::Seconds(1));  // until it is in force
  plane_.SetTrust(b_.bundle());
  EXPECT_TRUE(Waits(absl::StrCat("cluster-trust-bundle:", kName), "not permitted to attest"));
  EXPECT_TRUE(Soon([&] {
    return absl::StrContains(metrics_->Text(), "capstan_cluster_trust_bundle{state=\"failing\"} 1");
  }));
  ASSERT_EQ(Kubectl("apply"), 0);
  EXPECT_TRUE(Current()) << "it goes on by itself";
}

TEST_F(ClusterTrustBundleTest, OneWithoutASignerNeedsNoRightToAttest) {
  StartWith(client_.access(), kUnsigned);
  ASSERT_TRUE(Current());
  EXPECT_EQ(TextAt(Object(kUnsigned), {"spec", "signerName"}), "");
  EXPECT_TRUE(Holds(a_.bundle(), kUnsigned));
}

TEST_F(ClusterTrustBundleTest, AServerThatCannotBeReachedHoldsTheGate) {
  auto relay = std::make_unique<kube::Relay>(ServerPort());
  StartWith(Through(*relay));
  ASSERT_TRUE(Current());
  relay.reset();
  EXPECT_TRUE(Waits("cluster-trust-bundle", "cannot be followed: "));
  keeper_.reset();
}

}  // namespace
}  // namespace capstan::server
