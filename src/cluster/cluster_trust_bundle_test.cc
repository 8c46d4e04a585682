// SPDX-License-Identifier: Apache-2.0
// tests/integration/cluster_trust_bundle_test.cc has a real API server.
#include "cluster/cluster_trust_bundle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/retry_after.h"
#include "base/strings.h"
#include "trust/testing.h"

namespace capstan::cluster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using State = ClusterTrustBundle::State;

constexpr absl::Duration kPropagation = absl::Minutes(6);

trust::BundleVersion V(int64_t sequence) {
  return {"lineage", sequence};
}

TEST(ClusterTrustBundleNameTest, SaysWhoseItIs) {
  const auto signer_of = [](std::string_view text) {
    const auto name = ClusterTrustBundleName::Parse(text);
    EXPECT_TRUE(name.ok()) << name.status();
    EXPECT_EQ(name->name(), text);
    return name->signer();
  };
  EXPECT_EQ(signer_of("istio.io:istiod-ca:root-cert"), "istio.io/istiod-ca");
  EXPECT_EQ(signer_of("capstan.dev:workload:roots"), "capstan.dev/workload");
  EXPECT_EQ(signer_of("a.b:c.d:e.f"), "a.b/c.d");
  EXPECT_EQ(signer_of("roots"), "");
  EXPECT_EQ(signer_of("mesh.roots-1"), "");
  EXPECT_EQ(signer_of(std::string(253, 'a')), "");
}

TEST(ClusterTrustBundleNameTest, IsWhatTheApiServerTakes) {
  for (const char* bad : {"", "Roots", "a_b", "-a", "a-", "a..b", ".", "a/b", "a b", ":", "a:b",
                          "a.b:c", "istio.io/istiod-ca:root-cert", "nodomain:ca:root", "a.b::c",
                          ":a.b:c", "a.b:c:", "a.b:c:d:e", "a.b:c:D"}) {
    const absl::Status status = ClusterTrustBundleName::Parse(bad).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << bad;
    EXPECT_THAT(std::string(status.message()), HasSubstr("names no ClusterTrustBundle: write"));
  }
  EXPECT_FALSE(ClusterTrustBundleName::Parse(std::string(254, 'a')).ok());
  EXPECT_FALSE(ClusterTrustBundleName::Parse(absl::StrCat(std::string(64, 'a'), ".b:c:d")).ok());
}

TEST(ClusterTrustBundleTroubleTest, SaysHowTheApiIsTurnedOn) {
  const std::string why = WhyNotFollowed(absl::NotFoundError("404 page not found"));
  EXPECT_THAT(why, HasSubstr("does not serve ClusterTrustBundles"));
  EXPECT_THAT(why, HasSubstr("--feature-gates=ClusterTrustBundle=true"));
  EXPECT_THAT(why,
              HasSubstr("--runtime-config=certificates.k8s.io/v1beta1/clustertrustbundles=true"));
  EXPECT_THAT(why, HasSubstr("404 page not found"));
  EXPECT_EQ(WhyNotFollowed(absl::PermissionDeniedError("no role")), "no role");
}

class ClusterTrustBundleTest : public ::testing::Test {
 protected:
  ClusterTrustBundleTest() {
    a_.Add("rootA");
    both_.Add("rootA");
    both_.Add("rootB");
  }
  struct Roots {
    std::vector<x509::Certificate> roots;
    void Add(const char* name) {
      static const auto& pki = *new std::map<std::string, trust::testing::TestPki>{
          {"rootA", trust::testing::TestPki::Make("intermediateA")},
          {"rootB", trust::testing::TestPki::Make("intermediateB")}};
      roots.push_back(pki.at(name).root.certificate);
    }
    trust::Bundle bundle() const { return trust::Bundle::Of(roots); }
    std::string pem() const { return bundle().ToPem(); }
  };
  void Holds(const std::string& pem, const std::string& version = "1") {
    machine_.Seen(version, pem, now_);
  }
  void Want(int64_t sequence, const Roots& roots) {
    machine_.Want(V(sequence), roots.bundle(), now_);
  }
  // "create" or "@version", which bundle, and what it repairs; "" for nothing.
  std::string Take() {
    const ClusterTrustBundle::Next next = machine_.Take(now_);
    if (!next.write.has_value()) {
      return next.at == absl::InfiniteDuration()
                 ? ""
                 : absl::StrCat("in ", absl::FormatDuration(next.at - now_));
    }
    const ClusterTrustBundle::Write& write = *next.write;
    return absl::StrCat(
        write.resource_version.empty() ? "create" : absl::StrCat("@", write.resource_version), " ",
        write.pem == a_.pem()      ? "A"
        : write.pem == both_.pem() ? "A+B"
                                   : write.pem,
        write.repairs.empty() ? "" : absl::StrCat(": ", write.repairs));
  }
  std::vector<std::string> Lacking(int64_t sequence) {
    std::vector<std::string> names;
    for (const rotation::Holder& holder : machine_.Lacking(V(sequence), now_)) {
      EXPECT_EQ(holder.kind, rotation::Holder::Kind::kBootstrap);
      names.push_back(holder.name);
      why_ = holder.why;
    }
    return names;
  }

  Roots a_, both_;
  ClusterTrustBundle machine_{*ClusterTrustBundleName::Parse("capstan.dev:workload:roots"),
                              kPropagation};
  absl::Duration now_ = absl::Hours(1);
  std::string why_;
};

TEST_F(ClusterTrustBundleTest, NothingIsWrittenBeforeItIsKnownWhetherItIsThere) {
  Want(1, a_);
  EXPECT_EQ(Take(), "");
  EXPECT_THAT(Lacking(1), ElementsAre("cluster-trust-bundle"));
  EXPECT_THAT(why_, HasSubstr("roots is not known yet: the API server has not told of it"));
  machine_.Trouble("no route");
  EXPECT_THAT(Lacking(1), ElementsAre("cluster-trust-bundle"));
  EXPECT_THAT(why_, HasSubstr("is not known yet: no route"));
  EXPECT_TRUE(machine_.Synced());
  EXPECT_EQ(Take(), "create A");
  EXPECT_EQ(Take(), "") << "it is under way";
  EXPECT_THAT(Lacking(1), ElementsAre("cluster-trust-bundle:capstan.dev:workload:roots"));
  EXPECT_THAT(why_, HasSubstr("does not hold bundle 1 yet: it is being written"));
  EXPECT_FALSE(machine_.Synced()) << "said once";
}

TEST_F(ClusterTrustBundleTest, AGateWaitsUntilPodsHaveIt) {
  Holds(a_.pem(), "7");
  machine_.Synced();
  EXPECT_THAT(Lacking(1), ElementsAre("cluster-trust-bundle:capstan.dev:workload:roots"));
  EXPECT_THAT(why_, HasSubstr("is not written for bundle 1 yet"));
  Want(1, a_);
  EXPECT_EQ(Take(), "") << "it is right";
  EXPECT_TRUE(machine_.TakeDone(now_).has_value());
  now_ += kPropagation;
  EXPECT_THAT(Lacking(1), IsEmpty());

  Want(2, both_);
  EXPECT_EQ(Take(), "@7 A+B");
  machine_.Written(now_);
  EXPECT_EQ(Take(), "in 10s") << "the watch is waited for";
  EXPECT_EQ(machine_.state(), State::kBehind);
  now_ += absl::Seconds(2);
  Holds(both_.pem(), "8");
  EXPECT_EQ(machine_.state(), State::kCurrent);
  const auto done = machine_.TakeDone(now_);
  ASSERT_TRUE(done.has_value());
  EXPECT_EQ(done->bundle.sequence, 2);
  EXPECT_EQ(done->took, absl::Seconds(2));
  EXPECT_FALSE(machine_.TakeDone(now_).has_value()) << "said once";
  now_ += absl::Seconds(125);
  EXPECT_THAT(Lacking(2), ElementsAre("cluster-trust-bundle:capstan.dev:workload:roots"));
  EXPECT_THAT(why_, HasSubstr("has held bundle 2 for 2m of the 6m that kubelet takes"));
  now_ += kPropagation;
  EXPECT_THAT(Lacking(2), IsEmpty());
  EXPECT_THAT(Lacking(3), ElementsAre("cluster-trust-bundle:capstan.dev:workload:roots"));

  machine_.Trouble("cut off");
  EXPECT_THAT(Lacking(2), ElementsAre("cluster-trust-bundle"));
  EXPECT_THAT(why_, HasSubstr("cannot be followed: cut off"));
  machine_.Synced();
  EXPECT_THAT(Lacking(2), IsEmpty());
}

TEST_F(ClusterTrustBundleTest, TheSetOfItsCertificatesCountsAndNotItsBytes) {
  const std::string a = both_.roots[0].ToPem();
  const std::string b = both_.roots[1].ToPem();
  Holds(absl::StrCat("text before\n", b, a));
  machine_.Synced();
  Want(1, both_);
  EXPECT_EQ(Take(), "");
  now_ += kPropagation;
  Holds(absl::StrCat(a, "\n", b), "2");
  EXPECT_EQ(Take(), "");
  EXPECT_THAT(Lacking(1), IsEmpty()) << "the same all the while";
  Holds(b, "3");
  EXPECT_EQ(Take(), "@3 A+B: its trustBundle was changed");
}

TEST_F(ClusterTrustBundleTest, WhoFightsOverItIsAnsweredEverMoreSlowly) {
  machine_.Synced();
  Want(1, a_);
  EXPECT_EQ(Take(), "create A");
  machine_.Written(now_);
  Holds(a_.pem());
  machine_.Gone(now_);
  EXPECT_EQ(Take(), "create A: it was deleted");
  machine_.Written(now_);
  Holds(a_.pem());
  std::vector<std::string> waits;
  for (int i = 0; i < 8; ++i) {
    Holds("theirs", "9");
    waits.push_back(Take());
    now_ = machine_.Take(now_).at;
    const std::string write = Take();
    EXPECT_EQ(absl::StrContains(write, "a moment ago: another program writes it too"), i > 0)
        << write;
    machine_.Written(now_);
    Holds(a_.pem(), "10");
  }
  EXPECT_THAT(
      waits, ElementsAre("in 1s", "in 2s", "in 4s", "in 8s", "in 16s", "in 32s", "in 1m", "in 1m"));
  now_ += absl::Minutes(1);
  Holds("theirs", "11");
  EXPECT_EQ(Take(), "@11 A: its trustBundle was changed") << "at once, after a minute of calm";
}

TEST_F(ClusterTrustBundleTest, AWriteThatIsRefusedIsTriedAgain) {
  Holds("theirs", "4");
  machine_.Synced();
  Want(1, a_);
  EXPECT_EQ(Take(), "@4 A");
  EXPECT_TRUE(machine_.Failed(absl::PermissionDeniedError("may not attest"), now_));
  EXPECT_EQ(machine_.state(), State::kFailing);
  Lacking(1);
  EXPECT_THAT(why_, HasSubstr("does not hold bundle 1 yet: may not attest"));
  for (const char* wait : {"in 1s", "in 2s", "in 4s"}) {
    EXPECT_EQ(Take(), wait);
    now_ = machine_.Take(now_).at;
    EXPECT_EQ(Take(), "@4 A");
    EXPECT_FALSE(machine_.Failed(absl::PermissionDeniedError("no"), now_)) << "said before";
  }
  now_ += absl::Seconds(8);
  EXPECT_EQ(Take(), "@4 A");
  EXPECT_FALSE(machine_.Failed(
      WithRetryAfter(absl::ResourceExhaustedError("slowly"), absl::Seconds(77)), now_));
  EXPECT_EQ(Take(), "in 1m17s");
  machine_.Gone(now_);
  EXPECT_EQ(Take(), "create A") << "what stood in the way may be gone";
}

TEST_F(ClusterTrustBundleTest, WhoWasFirstIsLookedAtAgain) {
  Holds("theirs", "4");
  machine_.Synced();
  Want(1, a_);
  EXPECT_EQ(Take(), "@4 A");
  Want(2, both_);
  EXPECT_FALSE(machine_.Failed(absl::AbortedError("conflict"), now_));
  EXPECT_EQ(machine_.state(), State::kBehind);
  EXPECT_EQ(Take(), "in 10s") << "what the watch brings";
  Holds("others", "5");
  EXPECT_EQ(Take(), "@5 A+B");
}

}  // namespace
}  // namespace capstan::cluster
