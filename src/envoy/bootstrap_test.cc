// SPDX-License-Identifier: Apache-2.0
#include "envoy/bootstrap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"

namespace capstan::envoy {
namespace {

using Json = nlohmann::json;

SidecarOptions Sleep() {
  return {.workload = "sleep",
          .trust_domain = "cluster.local",
          .sds_socket = "/run/capstan/sds.sock",
          .admin_port = 15000,
          .inbound_port = 15006,
          .application_port = 8000,
          .probe_port = 15007,
          .outbound_port = 15001,
          .peer_port = 25006,
          .peer_workload = "httpbin"};
}

// Every value under `key`, wherever it is.
void Find(const Json& json, const std::string& key, std::vector<Json>& found) {
  for (auto it = json.begin(); it != json.end(); ++it) {
    if (json.is_object() && it.key() == key) found.push_back(*it);
    if (it->is_structured()) Find(*it, key, found);
  }
}

std::vector<Json> All(const Json& json, const std::string& key) {
  std::vector<Json> found;
  Find(json, key, found);
  return found;
}

TEST(SidecarBootstrap, OpensNoPortBeforeItsSecretsAreThere) {
  std::vector<Json> timeouts = All(Json::parse(SidecarBootstrap(Sleep())), "initial_fetch_timeout");
  EXPECT_EQ(timeouts.size(), 6u);  // leaf and trust of two listeners and a cluster
  for (const Json& timeout : timeouts) EXPECT_EQ(timeout, "0s");
}

TEST(SidecarBootstrap, MatchesAUriSanOnBothSides) {
  Json bootstrap = Json::parse(SidecarBootstrap(Sleep()));
  std::vector<Json> contexts = All(bootstrap, "default_validation_context");
  ASSERT_EQ(contexts.size(), 3u);
  std::vector<std::string> matchers;
  for (const Json& context : contexts) {
    ASSERT_EQ(context["match_typed_subject_alt_names"].size(), 1u);
    EXPECT_EQ(context["match_typed_subject_alt_names"][0]["san_type"], "URI");
    matchers.push_back(context["match_typed_subject_alt_names"][0]["matcher"].dump());
  }
  EXPECT_THAT(matchers, ::testing::UnorderedElementsAre(
                            R"({"prefix":"spiffe://cluster.local/"})",
                            R"({"prefix":"spiffe://cluster.local/"})",
                            R"({"exact":"spiffe://cluster.local/ns/httpbin/sa/httpbin"})"));
}

TEST(SidecarBootstrap, NeverRetries) {
  Json bootstrap = Json::parse(SidecarBootstrap(Sleep()));
  for (const char* key : {"retry_policy", "num_retries", "retry_policy_typed_config"}) {
    EXPECT_THAT(All(bootstrap, key), ::testing::IsEmpty()) << key;
  }
}

TEST(SidecarBootstrap, EnvoyAcceptsIt) {
  const char* tools = std::getenv("CAPSTAN_TOOLS_DIR");
  std::string envoy = absl::StrCat(
      tools != nullptr ? tools : absl::StrCat(CAPSTAN_SOURCE_DIR, "/build/tools"), "/envoy");
  if (access(envoy.c_str(), X_OK) != 0) GTEST_SKIP() << "no Envoy at " << envoy;
  SidecarOptions httpbin{.workload = "httpbin",
                         .trust_domain = "cluster.local",
                         .sds_socket = "/run/capstan/sds.sock",
                         .admin_port = 15000,
                         .inbound_port = 15006};
  for (const SidecarOptions& options : {Sleep(), httpbin}) {
    std::string config = absl::StrCat(::testing::TempDir(), "bootstrap.", getpid(), ".json");
    std::ofstream(config) << SidecarBootstrap(options);
    std::string command = absl::StrCat(envoy, " --mode validate --disable-hot-restart -c ", config,
                                       " > ", config, ".log 2>&1");
    EXPECT_EQ(std::system(command.c_str()), 0) << options.workload << ": see " << config << ".log";
  }
}

}  // namespace
}  // namespace capstan::envoy
