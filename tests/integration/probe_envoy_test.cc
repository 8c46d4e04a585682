// SPDX-License-Identifier: Apache-2.0
// A prober against real Envoys that take their secrets over SDS: what it reports is what they
// trust, and never distrust where it could not find out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "authn/test_pki.h"
#include "base/event_loop.h"
#include "base/files.h"
#include "envoy/admin.h"
#include "envoy/bootstrap.h"
#include "mesh/process.h"
#include "probe/prober.h"
#include "rpc/sds_server.h"
#include "x509/csr.h"

namespace capstan::agent {
namespace {

using authn::testing::LeafSpec;
using authn::testing::Must;
using authn::testing::TestCa;
using fleet::v1::ProbeResult;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kId[] = "spiffe://cluster.local/ns/httpbin/sa/httpbin";

std::string EnvoyBinary() {
  const char* tools = std::getenv("CAPSTAN_TOOLS_DIR");
  return absl::StrCat(tools != nullptr ? tools : CAPSTAN_DEFAULT_TOOLS_DIR, "/envoy");
}

// The TLS settings of the probe listener.
Json& ProbeTls(Json& bootstrap) {
  for (Json& listener : bootstrap["static_resources"]["listeners"]) {
    if (listener["name"] == "probe") {
      return listener["filter_chains"][0]["transport_socket"]["typed_config"];
    }
  }
  std::abort();
}

class ProbeEnvoyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::access(EnvoyBinary().c_str(), X_OK) != 0) {
      GTEST_SKIP() << "no Envoy at " << EnvoyBinary() << " (CAPSTAN_TOOLS_DIR)";
    }
    char pattern[] = "/tmp/probe_envoy_test.XXXXXX";
    folder_ = ::mkdtemp(pattern);
    for (int* port : {&admin_port_, &inbound_port_, &probe_port_, &closed_port_}) {
      *port = Must(mesh::FreePort());
    }
  }
  void TearDown() override {
    if (folder_.empty()) return;
    if (sds_) sds_->Stop();
    loop_.RunAndWait([&] { prober_.reset(); });
    blocking_.Stop();
    loop_.Stop();
    envoy_.reset();
    sds_.reset();
    if (!HasFailure()) std::filesystem::remove_all(folder_);
  }

  void Start(const std::function<void(Json& probe_tls)>& change,
             const std::vector<std::string>& alpn = {}) {
    sds_ = Must(rpc::SdsServer::Start(
        {.socket_path = folder_ + "/agent/sds.sock", .id = Must(spiffe::SpiffeId::Parse(kId))},
        RealClock(), SystemRandom()));
    sds_->OnConsumersChanged([this] { loop_.Post([this] { TellConsumers(); }); });
    Json bootstrap = Json::parse(envoy::SidecarBootstrap({.workload = "httpbin",
                                                          .trust_domain = "cluster.local",
                                                          .sds_socket = folder_ + "/agent/sds.sock",
                                                          .admin_port = admin_port_,
                                                          .inbound_port = inbound_port_,
                                                          .probe_port = probe_port_}));
    change(ProbeTls(bootstrap));
    const std::string config = folder_ + "/envoy.json";
    ASSERT_TRUE(WriteFileAtomically(config, bootstrap.dump(), 0600, Overwrite::kReplace).ok());
    envoy_ = Must(mesh::Process::Start({.argv = {EnvoyBinary(), "--config-path", config,
                                                 "--disable-hot-restart", "--concurrency", "1"},
                                        .log_path = folder_ + "/envoy.log"}));
    loop_.RunAndWait([&] {
      prober_.emplace(
          probe::Prober::Options{.seed = "instance",
                                 .trust_domain = Must(spiffe::TrustDomain::Parse("cluster.local")),
                                 .targets = {{"127.0.0.1", probe_port_, "", alpn},
                                             {"127.0.0.1", closed_port_, "", {}}},
                                 .policy = {.spread = absl::ZeroDuration(),
                                            .unproven = absl::Seconds(1),
                                            .proven = absl::Seconds(2)}},
          probe::Prober::Ports{
              .executor = loop_,
              .blocking = blocking_,
              .clock = RealClock(),
              .obtain = [this](const auto& request, auto done) { Issue(request, std::move(done)); },
              .handshake = x509::Handshake,
              .changed = [] {}});
    });
  }

  void Issue(const rpc::GrpcCaClient::ProbeRequest& request, rpc::GrpcCaClient::Callback done) {
    const TestCa& ca = request.authority_id == Id(a_).hex() ? a_ : b_;
    const absl::Time now = RealClock().Now();
    const LeafSpec spec{.uris = {"spiffe://cluster.local/capstan/probe"},
                        .not_before = now - absl::Minutes(2),
                        .not_after = now + absl::Minutes(5),
                        .extended_key_usage = {"clientAuth"}};
    const x509::Csr csr = Must(x509::Csr::Parse(request.csr_pem));
    std::vector<std::string> chain = {ca.Sign(spec, csr.public_key()).ToPem(), ca.issuer().ToPem()};
    loop_.Post([done = std::move(done), chain] { done(chain); });
  }
  static trust::AuthorityId Id(const TestCa& ca) { return trust::AuthorityId::Of(ca.issuer()); }

  void Publish(int64_t sequence, const trust::Bundle& bundle, const TestCa& issuer) {
    const authn::testing::Leaf leaf =
        issuer.Issue({.uris = {kId},
                      .not_before = RealClock().Now() - absl::Minutes(2),
                      .not_after = RealClock().Now() + absl::Hours(1)});
    auto material =
        std::make_shared<sds::Material>(sds::Material{.id = Must(spiffe::SpiffeId::Parse(kId))});
    material->bundle_version = {"lineage", sequence};
    material->roots_pem = bundle.ToPem();
    material->chain_pem = x509::ToPem(leaf.chain);
    material->key_pem = leaf.key.ToPkcs8Pem();
    material->leaf_serial = leaf.chain[0].serial().ToHex();
    sds_->Publish(material);
    // The agent itself trusts both all the time, so that it may obtain what its Envoy refuses.
    loop_.RunAndWait([&] {
      prober_->OnTrust(Union(a_.bundle(), b_.bundle()), material->bundle_version);
      TellConsumers();
    });
  }
  void TellConsumers() {
    if (!prober_) return;
    std::set<probe::ProbedConsumer> connected;
    for (const sds::ConsumerReport& consumer : sds_->Consumers()) {
      if (!consumer.connected) continue;
      connected.insert(
          {consumer.id, consumer.acknowledged_bundle, consumer.acknowledged_leaf_serial});
    }
    prober_->OnConsumers(std::move(connected));
  }
  void Ask(const std::vector<const TestCa*>& accepted, const std::vector<const TestCa*>& refused) {
    probe::Probing probing;
    for (const TestCa* ca : accepted) probing.accepted.push_back(Id(*ca));
    for (const TestCa* ca : refused) probing.refused.push_back(Id(*ca));
    loop_.RunAndWait([&] { prober_->OnProbing(probing); });
  }

  ProbeResult Result(int port, const TestCa& ca) {
    ProbeResult found;
    loop_.RunAndWait([&] {
      for (const ProbeResult& result : prober_->results()) {
        const bool here = result.target().starts_with(absl::StrCat("127.0.0.1:", port));
        if (here && result.authority_id() == Id(ca).hex()) found = result;
      }
    });
    return found;
  }
  ::testing::AssertionResult Becomes(int port, const TestCa& ca, ProbeResult::Verdict verdict) {
    ProbeResult last;
    if (mesh::WaitFor(absl::Seconds(40), [&] {
          last = Result(port, ca);
          return last.verdict() == verdict;
        })) {
      return ::testing::AssertionSuccess();
    }
    return ::testing::AssertionFailure() << last.ShortDebugString() << "\n"
                                         << ReadFile(folder_ + "/envoy.log").value_or("");
  }
  ::testing::AssertionResult Becomes(const TestCa& ca, ProbeResult::Verdict verdict) {
    return Becomes(probe_port_, ca, verdict);
  }
  int64_t Counter(const std::string& name) {
    const auto counters =
        Must(envoy::AdminClient(absl::StrCat("127.0.0.1:", admin_port_)).Stats(name));
    int64_t sum = 0;
    for (const auto& [full, value] : counters) sum += static_cast<int64_t>(value);
    return sum;
  }

  const absl::Time started_ = RealClock().Now();
  const TestCa a_{started_, "Root CA", true};
  const TestCa b_{started_, "Root CA", true};
  EventLoop loop_{RealClock()};
  EventLoop blocking_{RealClock()};
  std::string folder_;
  int admin_port_ = 0;
  int inbound_port_ = 0;
  int probe_port_ = 0;
  int closed_port_ = 0;
  std::unique_ptr<rpc::SdsServer> sds_;
  std::unique_ptr<mesh::Process> envoy_;
  std::optional<probe::Prober> prober_;
};

TEST_F(ProbeEnvoyTest, SeesWhatAnEnvoyTrustsThroughARotation) {
  Start([](Json&) {});
  Publish(1, a_.bundle(), a_);
  Ask({&a_, &b_}, {});
  EXPECT_TRUE(Becomes(a_, ProbeResult::ACCEPTED));
  EXPECT_TRUE(Becomes(b_, ProbeResult::UNKNOWN_CA));
  EXPECT_THAT(Result(probe_port_, b_).detail(), HasSubstr("48"));
  EXPECT_EQ(Result(probe_port_, a_).served_leaf().authority_id(), Id(a_).hex());
  EXPECT_EQ(Result(probe_port_, a_).bundle().sequence(), 1);

  Publish(2, Union(a_.bundle(), b_.bundle()), a_);
  EXPECT_TRUE(Becomes(b_, ProbeResult::ACCEPTED));
  EXPECT_TRUE(Becomes(a_, ProbeResult::ACCEPTED));
  EXPECT_EQ(Result(probe_port_, b_).bundle().sequence(), 2);

  Publish(3, b_.bundle(), b_);
  Ask({&b_}, {&a_});
  EXPECT_TRUE(Becomes(b_, ProbeResult::ACCEPTED));
  EXPECT_TRUE(Becomes(a_, ProbeResult::UNKNOWN_CA));
  EXPECT_EQ(Result(probe_port_, b_).served_leaf().authority_id(), Id(b_).hex());

  // A port where nobody listens says nothing about trust.
  EXPECT_TRUE(Becomes(closed_port_, b_, ProbeResult::UNREACHABLE));
  // What was refused counts where it was tried, and not where the traffic is.
  EXPECT_GT(Counter("listener.probe.ssl.fail_verify_error"), 0);
  EXPECT_EQ(Counter("listener.inbound.ssl.(handshake|connection_error|fail)"), 0);
}

TEST_F(ProbeEnvoyTest, AnEnvoyThatWantsNoCertificateSaysNothing) {
  Start([](Json& tls) {
    tls.erase("require_client_certificate");
    tls["common_tls_context"].erase("combined_validation_context");
  });
  Publish(1, a_.bundle(), a_);
  Ask({&a_, &b_}, {});
  EXPECT_TRUE(Becomes(a_, ProbeResult::SILENT));
  EXPECT_TRUE(Becomes(b_, ProbeResult::SILENT));
  EXPECT_THAT(Result(probe_port_, b_).detail(), HasSubstr("asked for no certificate"));
}

TEST_F(ProbeEnvoyTest, AnEnvoyWithoutTicketsIsMadeToSpeak) {
  for (const std::vector<std::string>& alpn : {std::vector<std::string>{}, {"h2"}}) {
    Start(
        [](Json& tls) {
          tls["disable_stateless_session_resumption"] = true;
          tls["disable_stateful_session_resumption"] = true;
          tls["common_tls_context"]["alpn_protocols"] = {"h2", "http/1.1"};
        },
        alpn);
    Publish(1, a_.bundle(), a_);
    Ask({&a_, &b_}, {});
    EXPECT_TRUE(Becomes(a_, ProbeResult::ACCEPTED));
    EXPECT_THAT(Result(probe_port_, a_).detail(), HasSubstr("application data"));
    EXPECT_TRUE(Becomes(b_, ProbeResult::UNKNOWN_CA));
    loop_.RunAndWait([&] { prober_.reset(); });
    envoy_.reset();
    sds_->Stop();
  }
}

}  // namespace
}  // namespace capstan::agent
