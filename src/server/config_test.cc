// SPDX-License-Identifier: Apache-2.0
#include "server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/strings.h"
#include "server/host.h"
#include "server/serving.h"

namespace capstan::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<LoadedConfig> Load(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "capstand");
  return LoadConfig(static_cast<int>(arguments.size()), arguments.data(),
                    [](const std::string&) { return std::nullopt; });
}

std::string Refusal(std::vector<const char*> arguments) {
  absl::StatusOr<LoadedConfig> loaded = Load(std::move(arguments));
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(loaded.status().message());
}

TEST(ConfigTest, DefaultsAndWhatFollowsFromThem) {
  Config config = Load({"--state-dir", "/x"})->config;
  EXPECT_EQ(config.socket, "/x/capstand.sock");
  EXPECT_EQ(config.seal_key, "/x/seal.key");
  EXPECT_EQ(config.listen, "0.0.0.0:15012");
  EXPECT_EQ(config.trust_domain, "cluster.local");
  EXPECT_EQ(config.max_ttl, absl::Hours(2160));
  EXPECT_EQ(config.issue_per_second, 0);
  EXPECT_EQ(Load({"--issue-per-second", "0.5"})->config.issue_per_second, 0.5);
}

TEST(ConfigTest, ValuesAreChecked) {
  EXPECT_THAT(Refusal({"--listen", "here"}), HasSubstr("--listen: \"here\" is not HOST:PORT"));
  EXPECT_THAT(Refusal({"--http", "127.0.0.1:70000"}), HasSubstr("--http"));
  EXPECT_THAT(Refusal({"--trust-domain", "Cluster.Local"}), HasSubstr("--trust-domain"));
  EXPECT_THAT(Refusal({"--default-ttl", "2161h"}),
              HasSubstr("--default-ttl: default-ttl (2161h) is longer"));
  EXPECT_THAT(Refusal({"--max-ttl", "1h"}), HasSubstr("--max-ttl"));
  EXPECT_THAT(Refusal({"--built-in-ca-key-type", "ed25519"}), HasSubstr("--built-in-ca-key-type"));
  EXPECT_THAT(Refusal({"--wait-for-cacerts"}), HasSubstr("without cacerts"));
  EXPECT_THAT(Refusal({"--cacert", "/x"}), HasSubstr("did you mean --cacerts?"));
  EXPECT_THAT(Refusal({"--log-level", "loud"}), HasSubstr("--log-level"));
  for (const char* bad : {"-1", "many", "inf", "nan", "2e6", ""}) {
    EXPECT_THAT(Refusal({"--issue-per-second", bad}), HasSubstr("--issue-per-second")) << bad;
  }
}

TEST(ConfigTest, ServiceAccountsNeedAnApiServer) {
  const std::string admin = absl::StrCat(::testing::TempDir(), "/admin.yaml");
  std::ofstream(admin) << "current-context: a\n"
                          "contexts: [{name: a, context: {cluster: c, user: u}}]\n"
                          "clusters: [{name: c, cluster: {server: 'https://10.0.0.1:6443'}}]\n"
                          "users: [{name: u, user: {token: t}}]\n";
  const std::string remote = absl::StrCat("west=", admin, "#a");
  const auto loaded =
      Load({"--state-dir", "/x", "--service-accounts", "--kubeconfig", admin.c_str(),
            "--remote-clusters", remote.c_str(), "--cluster-id", "Kubernetes,east"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Config& config = loaded->config;
  EXPECT_EQ(config.kube->server, "https://10.0.0.1:6443");
  EXPECT_THAT(config.token_audiences, ElementsAre("istio-ca"));
  EXPECT_THAT(config.cluster_id, ElementsAre("Kubernetes", "east"));
  ASSERT_EQ(config.remote_access.size(), 1U);
  EXPECT_EQ(config.remote_access[0].server, "https://10.0.0.1:6443");

  EXPECT_FALSE(Load({"--state-dir", "/x"})->config.kube.has_value());
  const absl::Status alone = Load({"--state-dir", "/x", "--service-accounts"}).status();
  EXPECT_THAT(std::string(alone.message()),
              HasSubstr("--service-accounts: service-accounts true needs a Kubernetes API server"));
  EXPECT_THAT(Refusal({"--remote-clusters", remote.c_str()}),
              HasSubstr("for nothing without service-accounts"));
  EXPECT_THAT(
      Refusal({"--service-accounts", "--cluster-id", "west", "--remote-clusters", remote.c_str()}),
      HasSubstr("\"west\", which is named already"));
  EXPECT_THAT(Refusal({"--token-audiences", ""}), HasSubstr("token-audiences is empty"));
  EXPECT_THAT(Refusal({"--remote-clusters", "west"}), HasSubstr("NAME=KUBECONFIG"));

  EXPECT_EQ(config.token_verification, authn::TokenVerification::kReview);
  const Config offline =
      Load({"--service-accounts", "--kubeconfig", admin.c_str(), "--token-verification", "offline"})
          ->config;
  EXPECT_EQ(offline.token_verification, authn::TokenVerification::kOffline);
  EXPECT_THAT(Refusal({"--token-verification", "never"}), HasSubstr("neither review nor offline"));
  const auto issuers = Load({"--token-issuers", "https://i audience=x"});
  ASSERT_TRUE(issuers.ok()) << "without any API server: " << issuers.status();
  EXPECT_THAT(issuers->config.token_issuers,
              ElementsAre(authn::TokenIssuer{"https://i", {"x"}, "", ""}));
  EXPECT_THAT(Refusal({"--token-issuers", "i"}), HasSubstr("is not a URL with https"));

  const Config nodes = Load({"--service-accounts", "--kubeconfig", admin.c_str(),
                             "--trusted-node-accounts", "istio-system/ztunnel, a/b"})
                           ->config;
  EXPECT_THAT(nodes.trusted_node_accounts,
              ElementsAre(kube::ObjectName{"istio-system", "ztunnel"}, kube::ObjectName{"a", "b"}));
  EXPECT_THAT(Refusal({"--trusted-node-accounts", "a/b"}),
              HasSubstr("for nothing without service-accounts"));
  for (const char* bad : {"ztunnel", "/a", "a/", "a/b/c"}) {
    EXPECT_THAT(Refusal({"--trusted-node-accounts", bad}), HasSubstr("is not NAMESPACE/ACCOUNT"));
  }
}

TEST(ConfigTest, HowARotationIsWalked) {
  Config config = Load({"--state-dir", "/x"})->config;
  EXPECT_FALSE(config.rotation.immediate);
  EXPECT_EQ(config.rotation.absent_deadline, absl::InfiniteDuration());
  EXPECT_EQ(config.foreign_leaf_ttl, std::nullopt);
  config = Load({"--reload", "immediate", "--rotation-absent", "36h", "--foreign-leaf-ttl", "0s",
                 "--retired-key-retention", "keep", "--rotation-soak", "1m"})
               ->config;
  EXPECT_TRUE(config.rotation.immediate);
  EXPECT_EQ(config.rotation.absent_deadline, absl::Hours(36));
  EXPECT_EQ(config.rotation.soak, absl::Minutes(1));
  EXPECT_EQ(config.foreign_leaf_ttl, absl::ZeroDuration());
  EXPECT_EQ(config.retired_key_retention, absl::InfiniteDuration());
  config =
      Load({"--foreign-signers", "west=aabbccdd", "--foreign-signers", "east=11223344"})->config;
  EXPECT_EQ(config.foreign_signers.size(), 2u);
  EXPECT_THAT(Refusal({"--foreign-signers", "west"}), HasSubstr("NAME=FINGERPRINT"));
  EXPECT_THAT(Refusal({"--reload", "now"}), HasSubstr("neither gated nor immediate"));
  EXPECT_THAT(Refusal({"--rotation-absent", "later"}), HasSubstr("nor wait"));
  EXPECT_THAT(Load({"--print-config"})->output, HasSubstr("rotation-absent: wait"));
}

TEST(ConfigTest, ConfigMapsNeedAnApiServer) {
  EXPECT_FALSE(Load({})->config.root_config_maps);
  EXPECT_THAT(std::string(Load({"--read-stock-envoys"}).status().message()),
              HasSubstr("read-stock-envoys true needs a Kubernetes API"));
  EXPECT_THAT(std::string(Load({"--root-config-maps"}).status().message()),
              HasSubstr("--root-config-maps: root-config-maps true needs a Kubernetes API"));
  const std::string file = absl::StrCat(::testing::TempDir(), "/kubeconfig");
  ASSERT_TRUE(WriteFileAtomically(file,
                                  "current-context: c\n"
                                  "contexts: [{name: c, context: {cluster: k, user: u}}]\n"
                                  "clusters: [{name: k, cluster: {server: 'https://k:6443', "
                                  "certificate-authority-data: QQ==}}]\n"
                                  "users: [{name: u, user: {token: t}}]\n",
                                  0600, Overwrite::kReplace)
                  .ok());
  const Config config =
      Load({"--root-config-maps", "--kubeconfig", file.c_str(), "--config-map-propagation", "0s"})
          ->config;
  ASSERT_TRUE(config.kube.has_value());
  EXPECT_EQ(config.kube->server, "https://k:6443");
  EXPECT_EQ(config.config_map_propagation, absl::ZeroDuration());
  EXPECT_EQ(Load({})->config.config_map_propagation, absl::Seconds(90));
}

TEST(ConfigTest, AClusterTrustBundleHasANameOfItsSigner) {
  EXPECT_FALSE(Load({})->config.cluster_trust_bundle.has_value());
  EXPECT_EQ(Load({})->config.cluster_trust_bundle_propagation, absl::Minutes(6));
  EXPECT_THAT(
      std::string(
          Load({"--cluster-trust-bundle", "istio.io:istiod-ca:root-cert"}).status().message()),
      HasSubstr("cluster-trust-bundle istio.io:istiod-ca:root-cert needs a Kubernetes API server"));
  EXPECT_THAT(Load({"--print-config", "--cluster-trust-bundle", "a.b:c:d"})->output,
              HasSubstr("cluster-trust-bundle: a.b:c:d"));
  for (const char* bad : {"a:b", "A", "istio.io/istiod-ca:root-cert", "a.b:c:d:e"}) {
    EXPECT_THAT(Refusal({"--cluster-trust-bundle", bad}), HasSubstr("names no ClusterTrustBundle"))
        << bad;
  }
  EXPECT_THAT(Refusal({"--cluster-trust-bundle", "kubernetes.io:kube-apiserver-serving:x"}),
              HasSubstr("Kubernetes' own"));
}

TEST(ConfigTest, ASignerHasANameOfADomain) {
  EXPECT_EQ(Load({})->config.certificate_signer, "");
  EXPECT_THAT(
      std::string(Load({"--certificate-signer", "capstan.dev/workload"}).status().message()),
      HasSubstr("certificate-signer capstan.dev/workload needs a Kubernetes API server"));
  EXPECT_THAT(Load({"--print-config", "--certificate-signer", "capstan.dev/workload"})->output,
              HasSubstr("certificate-signer: capstan.dev/workload"));
  for (const char* bad : {"workload", "capstan.dev/", "/workload", "a/b/c", "a/b,c=d"}) {
    EXPECT_THAT(Refusal({"--certificate-signer", bad}), HasSubstr("is no signer name")) << bad;
  }
  for (const char* bad : {"kubernetes.io/kube-apiserver-client", "x.kubernetes.io/y"}) {
    EXPECT_THAT(Refusal({"--certificate-signer", bad}), HasSubstr("Kubernetes' own")) << bad;
  }
}

TEST(ConfigTest, ALeaseNeedsAnApiServer) {
  EXPECT_FALSE(Load({})->config.lease.has_value());
  EXPECT_FALSE(Load({"--lease", ""})->config.lease.has_value());
  EXPECT_EQ(Load({})->config.lease_duration, absl::Seconds(15));
  EXPECT_THAT(std::string(Load({"--lease", "capstan-system/capstand"}).status().message()),
              HasSubstr("lease capstan-system/capstand needs a Kubernetes API server"));
  EXPECT_THAT(Refusal({"--lease", "capstand"}), HasSubstr("names no Lease"));
  EXPECT_THAT(Refusal({"--lease-duration", "1s"}), HasSubstr("--lease-duration"));
}

TEST(ConfigTest, WhatIsRotatedByTheClock) {
  Config config = Load({})->config;
  EXPECT_FALSE(config.timer.on());
  EXPECT_EQ(config.timer.mode, rotation::TimerMode::kRotate);
  const LoadedConfig loaded =
      *Load({"--rotate-root-at", "0.66", "--rotate-intermediate-at", "0.5", "--intermediate-ttl",
             "2160h", "--maintenance-window", "Sat,Sun 02:00-06:00 UTC", "--maintenance-window",
             "22:00-02:00 UTC", "--rotation-timer", "announce", "--print-config"});
  config = loaded.config;
  EXPECT_TRUE(config.timer.on());
  EXPECT_EQ(config.timer.root_at, 0.66);
  EXPECT_EQ(config.timer.intermediate_ttl, absl::Hours(2160));
  EXPECT_EQ(rotation::ToString(config.timer.windows), "Sat,Sun 02:00-06:00 UTC,22:00-02:00 UTC");
  EXPECT_THAT(loaded.output, HasSubstr("Sat,Sun 02:00-06:00 UTC,22:00-02:00 UTC"));
  EXPECT_THAT(Refusal({"--rotate-root-at", "1"}), HasSubstr("--rotate-root-at"));
  EXPECT_THAT(Refusal({"--rotate-root-at", "-0.1"}), HasSubstr("not a part of a life"));
  EXPECT_THAT(Refusal({"--rotate-root-at", "nan"}), HasSubstr("not a part of a life"));
  EXPECT_THAT(Refusal({"--rotation-timer", "on"}), HasSubstr("neither off nor announce"));
  EXPECT_THAT(Refusal({"--maintenance-window", "Sat 02:00-06:00"}), HasSubstr("UTC"));
  EXPECT_THAT(Refusal({"--rotate-root-att", "0.5"}), HasSubstr("did you mean --rotate-root-at?"));
  EXPECT_THAT(Refusal({"--rotate-intermediate-at", "0.5"}), HasSubstr("needs intermediate-ttl"));
  EXPECT_THAT(Refusal({"--intermediate-ttl", "0s"}), HasSubstr("shorter than 1s"));
  // Where the intermediates come from elsewhere, so do their lives.
  EXPECT_TRUE(Load({"--rotate-intermediate-at", "0.5", "--cacerts", "/x"}).ok());
}

TEST(ConfigTest, PrintsWhatIsInForce) {
  LoadedConfig loaded = *Load({"--print-config", "--state-dir", "/x", "--log-format", "json"});
  EXPECT_EQ(loaded.todo, Settings::Todo::kPrintConfig);
  EXPECT_THAT(loaded.output, HasSubstr("socket: /x/capstand.sock"));
  EXPECT_THAT(loaded.output, HasSubstr("log-format: json  # --log-format"));
}

TEST(HostTest, SplitsHostAndPort) {
  EXPECT_EQ(HostOf("ca.example:15012"), "ca.example");
  EXPECT_EQ(HostOf("[::1]:15012"), "::1");
  EXPECT_EQ(HostOf("::1"), "::1");
  EXPECT_EQ(*PortOf("[::1]:15012"), 15012);
  for (const char* bad : {"ca.example", "::1", "host:", "host:x", "host:-1", "host:65536", ""}) {
    EXPECT_FALSE(PortOf(bad).ok()) << bad;
  }
}

TEST(ServingNamesTest, HoldTheHostsClientsUse) {
  spiffe::TrustDomain domain = *spiffe::TrustDomain::Parse("td");
  ServingNames names =
      NamesFor(domain, "0.0.0.0:15012", "10.1.2.3:15012", {"more.example", "localhost"});
  EXPECT_EQ(names.id.ToString(), "spiffe://td/capstan/control-plane");
  EXPECT_THAT(names.dns, ElementsAre("istiod.istio-system.svc", "localhost", "more.example"));
  EXPECT_THAT(names.ips, ElementsAre("127.0.0.1", "::1", "10.1.2.3"));
}

}  // namespace
}  // namespace capstan::server
