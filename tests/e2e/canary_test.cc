// SPDX-License-Identifier: Apache-2.0
// Canaries on real Envoys under load: the new authority signs for one namespace first, and what it
// breaks there turns the rotation back by itself.
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "base/files.h"
#include "base/status.h"
#include "envoy/admin.h"
#include "envoy/bootstrap.h"
#include "rotation_fixture.h"
#include "trust/authority.h"

namespace capstan::e2e {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// A third workload that calls httpbin in two ways: with the trust that its agent serves, and past
// that with root A pinned in a file, as nobody remembers it. Its Envoy acknowledges every bundle.
class PinnedWorkload {
 public:
  static constexpr char kName[] = "pinned";

  absl::Status Start(const mesh::Mesh& mesh, const mesh::Tools& tools, const std::string& folder,
                     const std::string& root_pem) {
    for (int* port : {&admin_, &inbound_, &outbound_, &pinned_}) {
      CAPSTAN_ASSIGN_OR_RETURN(*port, mesh::FreePort());
    }
    const std::string base = absl::StrCat(folder, "/pinned");
    const std::string join = base + ".join";
    CAPSTAN_RETURN_IF_ERROR(mesh.Capstan({"token", "create", "--spiffe-id", mesh.SpiffeId(kName),
                                          "--ttl", "10m", "--out", join})
                                .status());
    const std::string socket = base + "/sds.sock";
    CAPSTAN_ASSIGN_OR_RETURN(
        agent_, mesh::Process::Start(
                    {.argv = {tools.programs + "/capstan-agent", "--join-file", join, "--state-dir",
                              base, "--socket", socket, "--envoy-admin", Loopback(admin_)},
                     .log_path = mesh.LogPath("agent-pinned")}));
    if (!mesh::WaitFor(absl::Seconds(60), [&] { return FileExists(socket); })) {
      return absl::UnavailableError("the agent of the pinned workload opened no socket");
    }
    CAPSTAN_RETURN_IF_ERROR(WriteFileAtomically(base + ".json", Config(mesh, socket, root_pem),
                                                0600, Overwrite::kReplace));
    CAPSTAN_ASSIGN_OR_RETURN(
        envoy_, mesh::Process::Start(
                    {.argv = {tools.envoy, "--config-path", base + ".json", "--disable-hot-restart",
                              "--concurrency", "1", "--log-level", "warning"},
                     .log_path = mesh.LogPath("envoy-pinned")}));
    absl::Status answered;
    mesh::WaitFor(absl::Seconds(60), [&] {
      answered = envoy::AdminClient(Loopback(pinned_)).Get("/get").status();
      return answered.ok();
    });
    return answered;
  }

  std::string pinned_url() const { return absl::StrCat("http://", Loopback(pinned_), "/get"); }
  bool PinnedAnswers() const { return envoy::AdminClient(Loopback(pinned_)).Get("/get").ok(); }

 private:
  static std::string Loopback(int port) { return absl::StrCat("127.0.0.1:", port); }

  std::string Config(const mesh::Mesh& mesh, const std::string& socket,
                     const std::string& root_pem) const {
    json config = json::parse(envoy::SidecarBootstrap({.workload = kName,
                                                       .trust_domain = "cluster.local",
                                                       .sds_socket = socket,
                                                       .admin_port = admin_,
                                                       .inbound_port = inbound_,
                                                       .outbound_port = outbound_,
                                                       .peer_port = mesh.InboundPort("httpbin"),
                                                       .peer_workload = "httpbin"}));
    json& resources = config["static_resources"];
    json cluster = Named(resources["clusters"], "httpbin");
    cluster["name"] = kName;
    json& tls = cluster["transport_socket"]["typed_config"]["common_tls_context"];
    json validation = tls["combined_validation_context"]["default_validation_context"];
    validation["trusted_ca"]["inline_string"] = root_pem;
    tls.erase("combined_validation_context");
    tls["validation_context"] = std::move(validation);
    resources["clusters"].push_back(std::move(cluster));
    json listener = Named(resources["listeners"], "outbound");
    listener["name"] = listener["stat_prefix"] = kName;
    listener["address"]["socket_address"]["port_value"] = pinned_;
    json& manager = listener["filter_chains"][0]["filters"][0]["typed_config"];
    manager["stat_prefix"] = kName;
    manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["cluster"] = kName;
    resources["listeners"].push_back(std::move(listener));
    return config.dump(2);
  }
  static json Named(const json& all, const std::string& name) {
    for (const json& one : all) {
      if (one.value("name", "") == name) return one;
    }
    return json::object();
  }

  int admin_ = 0;
  int inbound_ = 0;
  int outbound_ = 0;
  int pinned_ = 0;
  std::unique_ptr<mesh::Process> agent_;
  std::unique_ptr<mesh::Process> envoy_;
};

class CanaryTest : public RotatingTest {
 protected:
  void TearDown() override {
    pinned_traffic_.reset();
    pinned_.reset();
    RotatingTest::TearDown();
  }
  std::string Gate() { return Rotation().value("gate", json::object()).value("name", ""); }
  std::string IssuerOf(const std::string& workload) {
    auto held = mesh_->Held(workload);
    return held.ok() ? absl::BytesToHexString(held->chain.front().authority_key_id()) : "";
  }
  // httpbin's namespace is the canary.
  void StartRotation() {
    Run(absl::Seconds(6));  // agents have read what the handshakes of Await() were counted as
    auto started =
        mesh_->Capstan({"rotate", "start", "--to", absl::StrCat(folder_, "/rootB/intermediateB"),
                        "--canary", "namespace=httpbin"});
    ASSERT_TRUE(started.ok()) << started.status();
    EXPECT_TRUE(mesh::WaitFor(absl::Seconds(60), [&] { return Gate() == "canary"; })) << Rotation();
  }

  std::unique_ptr<PinnedWorkload> pinned_;
  std::unique_ptr<mesh::Traffic> pinned_traffic_;
};

TEST_F(CanaryTest, TheNewAuthoritySignsForANamespaceFirstAndThenForEverybody) {
  Begin(phases_[0].files);
  Await(phases_[0]);
  StartRotation();
  EXPECT_TRUE(mesh::WaitFor(absl::Seconds(60), [&] {
    return IssuerOf("httpbin") == b_->IntermediateSki();
  })) << IssuerOf("httpbin");
  EXPECT_EQ(IssuerOf("sleep"), a_->IntermediateSki());
  const json canary = Rotation()["canary"];
  EXPECT_EQ(canary.value("selector", ""), "namespace=httpbin");
  EXPECT_EQ(canary.value("untold", "0"), "0");
  EXPECT_TRUE(mesh::WaitFor(absl::Seconds(120), [&] { return Finished(); })) << Rotation();
  EXPECT_EQ(Rotation().value("state", ""), "done");
  Await(phases_[3]);
  ExpectNothingFailed();
}

TEST_F(CanaryTest, ABreakThatOnlyTheOthersCountTurnsItBackByItself) {
  Begin(phases_[0].files);
  Await(phases_[0]);
  pinned_ = std::make_unique<PinnedWorkload>();
  absl::Status started = pinned_->Start(*mesh_, tools_, folder_, x509::ToPem({a_->root}));
  ASSERT_TRUE(started.ok()) << started;
  pinned_traffic_ = std::make_unique<mesh::Traffic>(
      mesh::Traffic::Options{.url = pinned_->pinned_url(), .clients = 1, .requests_per_second = 5});
  Run(absl::Seconds(1));
  EXPECT_EQ(pinned_traffic_->count().failed, 0) << pinned_traffic_->count().first_failure;
  StartRotation();
  EXPECT_TRUE(mesh::WaitFor(absl::Seconds(120), [&] { return Finished(); })) << Rotation();
  const json ended = Rotation();
  EXPECT_EQ(ended.value("state", ""), "rolled-back");
  EXPECT_THAT(ended.value("turned_why", ""),
              AllOf(HasSubstr("by itself"), HasSubstr(mesh_->SpiffeId(PinnedWorkload::kName)),
                    HasSubstr("ssl.fail_verify_*")));
  EXPECT_EQ(IssuerOf("httpbin"), a_->IntermediateSki());
  Await(phases_[0]);
  // What was broken works again.
  EXPECT_TRUE(mesh::WaitFor(absl::Seconds(10), [&] { return pinned_->PinnedAnswers(); }));
  pinned_traffic_->Stop();
  EXPECT_GT(pinned_traffic_->count().failed, 0);
  traffic_->Stop();
  const mesh::Traffic::Count count = traffic_->count();
  EXPECT_GT(count.requests, 0);
  EXPECT_EQ(count.failed, 0) << count.first_failure << ", of " << count.requests;
}

}  // namespace
}  // namespace capstan::e2e
