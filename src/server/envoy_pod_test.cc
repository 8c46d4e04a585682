// SPDX-License-Identifier: Apache-2.0
#include "server/envoy_pod.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "authn/test_pki.h"

namespace capstan::server {
namespace {

using authn::testing::At;
using authn::testing::Must;
using authn::testing::TestCa;
using envoy::HeldSecret;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<EnvoyPod> Read(const std::string& annotations, const std::string& status) {
  return EnvoyPodOf(
      Must(ParseJson(
          absl::StrCat(R"({"metadata":{"namespace":"app","name":"httpbin-1","uid":"u-1",)",
                       R"("annotations":{)", annotations,
                       R"(}},"spec":{"serviceAccountName":"httpbin"},"status":{)", status, "}}"),
          "a pod")),
      Must(spiffe::TrustDomain::Parse("cluster.local")));
}

constexpr char kRunning[] = R"("phase":"Running","podIP":"10.0.0.7")";
constexpr char kAdmin[] = R"("capstan.dev/envoy-admin":"15000")";

TEST(EnvoyPodTest, SaysWhereToLookAndWhoseItIs) {
  const EnvoyPod pod = Must(
      Read(absl::StrCat(kAdmin, R"(,"capstan.dev/envoy-probe":"8080,alpn=h2  9090")"), kRunning));
  EXPECT_EQ(pod.key, (fleet::Key{"spiffe://cluster.local/ns/app/sa/httpbin", "pod:u-1", ""}));
  EXPECT_EQ(pod.name, "app/httpbin-1");
  EXPECT_EQ(pod.admin, "10.0.0.7:15000");
  EXPECT_THAT(pod.probes, ElementsAre(probe::ProbeTarget{"10.0.0.7", 8080, "", {"h2"}},
                                      probe::ProbeTarget{"10.0.0.7", 9090, "", {}}));
  EXPECT_EQ(Must(Read(kAdmin, R"("podIP":"fd00::7")")).admin, "[fd00::7]:15000");
  const EnvoyPod probed = Must(Read(R"("capstan.dev/envoy-probe":"8080")", kRunning));
  EXPECT_EQ(probed.admin, "");
}

TEST(EnvoyPodTest, OneThatDoesNotRunIsPassedOver) {
  EXPECT_TRUE(absl::IsNotFound(Read(kAdmin, R"("phase":"Pending")").status()));
  EXPECT_TRUE(absl::IsNotFound(Read(kAdmin, R"("phase":"Failed","podIP":"10.0.0.7")").status()));
}

TEST(EnvoyPodTest, WhatCannotBeUsedIsSaid) {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"", "neither of the annotations"},
      {R"("capstan.dev/envoy-admin":"0")", "capstan.dev/envoy-admin: \"0\" is no port"},
      {R"("capstan.dev/envoy-admin":"evil.example:80")", "is no port"},
      {R"("capstan.dev/envoy-probe":"8080,sni=")", "capstan.dev/envoy-probe"},
      {R"("capstan.dev/envoy-probe":"8080,evil.example:443")", "at the pod's own address"},
  };
  for (const auto& [annotations, why] : wrong) {
    const absl::Status status = Read(annotations, kRunning).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << annotations;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  }
}

TEST(EnvoyPodTest, HoldingsAreTheTwoSecretsOfIstio) {
  const TestCa ca(At("2026-03-01T12:00:00Z"), "Root CA", true);
  HeldSecret leaf{.name = "default",
                  .type = HeldSecret::Type::kCertificateChain,
                  .certificates = {ca.issuer()}};
  HeldSecret roots{.name = "ROOTCA",
                   .type = HeldSecret::Type::kTrustBundle,
                   .certificates = ca.bundle().roots()};
  const EnvoyHoldings holdings = Must(HoldingsOf({leaf, roots}));
  EXPECT_EQ(holdings.roots, ca.bundle());
  EXPECT_EQ(LeafOf(holdings.leaf).serial, ca.issuer().serial().ToHex());

  EXPECT_THAT(std::string(HoldingsOf({leaf}).status().message()),
              HasSubstr("no secret \"ROOTCA\""));
  leaf.state = HeldSecret::State::kWarming;
  EXPECT_THAT(std::string(HoldingsOf({leaf, roots}).status().message()),
              HasSubstr("no secret \"default\""));
  roots.certificates.clear();
  roots.problem = "it is in a file";
  leaf.state = HeldSecret::State::kActive;
  EXPECT_THAT(std::string(HoldingsOf({leaf, roots}).status().message()),
              HasSubstr("it is in a file"));
}

TEST(EnvoyPodTest, ABundleIsKnownByWhatIsInIt) {
  const absl::Time now = At("2026-03-01T12:00:00Z");
  const trust::Bundle a = TestCa(now, "Root CA", true).bundle();
  const trust::Bundle b = TestCa(now, "Root CA", true).bundle();
  KnownBundles known;
  known.Add({"l", 1}, a);
  known.Add({"l", 2}, Union(a, b));
  EXPECT_EQ(known.VersionOf(Union(b, a)), (trust::BundleVersion{"l", 2}));
  EXPECT_EQ(known.VersionOf(a).sequence, 1);
  EXPECT_TRUE(known.VersionOf(b).empty());
  known.Add({"l", 3}, a);  // as after a rotation that was turned back
  EXPECT_EQ(known.VersionOf(a).sequence, 3);
}

}  // namespace
}  // namespace capstan::server
