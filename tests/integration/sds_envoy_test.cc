// SPDX-License-Identifier: Apache-2.0
// Real Envoys that take their secrets from SdsServer. What they accept is judged by full
// handshakes, never by what they acknowledged: an Envoy can acknowledge a bundle that it does not
// use.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/files.h"
#include "base/metrics.h"
#include "mesh/process.h"
#include "rpc/sds_server.h"
#include "x509/certificate.h"
#include "x509/handshake.h"
#include "x509/key.h"

namespace capstan::rpc {
namespace {

constexpr char kId[] = "spiffe://cluster.local/ns/foo/sa/httpbin";

std::string EnvoyBinary() {
  const char* tools = std::getenv("CAPSTAN_TOOLS_DIR");
  return absl::StrCat(tools != nullptr ? tools : CAPSTAN_DEFAULT_TOOLS_DIR, "/envoy");
}

// Roots and leaves by the openssl command. All roots have the same subject, as Istio's do.
class Pki {
 public:
  explicit Pki(std::string folder) : folder_(std::move(folder)) {
    std::filesystem::create_directory(folder_);
  }

  void MakeRoot(const std::string& name) const {
    Openssl(
        absl::StrCat("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 "
                     "-subj '/O=Istio/CN=Root CA' -addext keyUsage=critical,keyCertSign,cRLSign "
                     "-keyout root",
                     name, ".key -out root", name, ".pem"));
  }
  void MakeLeaf(const std::string& name, const std::string& root, const std::string& id) const {
    std::ofstream(folder_ + "/" + name + ".ext")
        << "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
           "extendedKeyUsage=serverAuth,clientAuth\nauthorityKeyIdentifier=keyid\n"
           "subjectAltName=critical,URI:"
        << id << "\n";
    Openssl(absl::StrCat("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj / -keyout ",
                         name, ".key -out ", name, ".csr"));
    Openssl(absl::StrCat("x509 -req -in ", name, ".csr -CA root", root, ".pem -CAkey root", root,
                         ".key -CAcreateserial -days 7 -extfile ", name, ".ext -out ", name,
                         ".pem"));
  }
  std::string Text(const std::string& file) const {
    auto text = ReadFile(absl::StrCat(folder_, "/", file));
    EXPECT_TRUE(text.ok()) << text.status();
    return text.value_or("");
  }

 private:
  void Openssl(const std::string& command) const {
    const std::string line = absl::StrCat("cd '", folder_, "' && openssl ", command, " 2>>log");
    ASSERT_EQ(std::system(line.c_str()), 0) << line << "\n" << Text("log");
  }
  std::string folder_;
};

// One Envoy with a listener that wants client certificates and answers 200 by itself.
class Envoy {
 public:
  Envoy(const std::string& folder, const std::string& socket, const std::string& api_type)
      : port_(mesh::FreePort().value()), log_(folder + "/envoy.log") {
    const std::string config = folder + "/envoy.yaml";
    std::ofstream(config) << absl::StrReplaceAll(
        kConfig, {{"@PORT@", absl::StrCat(port_)}, {"@SOCKET@", socket}, {"@API@", api_type}});
    const std::string binary = EnvoyBinary();
    pid_ = ::fork();
    if (pid_ == 0) {
      const int log = ::open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
      ::dup2(log, 1);
      ::dup2(log, 2);
      ::execl(binary.c_str(), binary.c_str(), "--disable-hot-restart", "--concurrency", "1",
              "--log-level", "info", "-c", config.c_str(), nullptr);
      ::_exit(127);
    }
  }
  ~Envoy() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Envoy(const Envoy&) = delete;
  Envoy& operator=(const Envoy&) = delete;

  int port() const { return port_; }
  pid_t pid() const { return pid_; }
  bool Alive() const { return ::waitpid(pid_, nullptr, WNOHANG) == 0; }
  std::string Log() const { return ReadFile(log_).value_or(""); }

 private:
  static constexpr char kConfig[] = R"(
node: {id: "sidecar~httpbin", cluster: httpbin}
static_resources:
  clusters:
  - name: sds-grpc
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: sds-grpc
      endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: "@SOCKET@"}}}}]}]
  # A second TLS context with the same secrets, built before the listener's: what Envoy refuses stops at
  # the first context that fails, so it is the later ones that go wrong without anybody's word.
  - name: peer
    type: STATIC
    connect_timeout: 1s
    load_assignment:
      cluster_name: peer
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context:
          tls_certificate_sds_secret_configs:
          - name: default
            sds_config: &sds
              resource_api_version: V3
              initial_fetch_timeout: 0s
              api_config_source:
                api_type: @API@
                transport_api_version: V3
                set_node_on_first_message_only: true
                grpc_services: [{envoy_grpc: {cluster_name: sds-grpc}}]
          combined_validation_context:
            default_validation_context:
              match_typed_subject_alt_names:
              - {san_type: URI, matcher: {exact: "spiffe://cluster.local/ns/foo/sa/sleep"}}
            validation_context_sds_secret_config: {name: ROOTCA, sds_config: *sds}
  listeners:
  - name: inbound
    address: {socket_address: {address: 127.0.0.1, port_value: @PORT@}}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_certificate_sds_secret_configs:
            - name: default
              sds_config: *sds
            combined_validation_context:
              default_validation_context:
                match_typed_subject_alt_names:
                - {san_type: URI, matcher: {prefix: "spiffe://cluster.local/"}}
              validation_context_sds_secret_config: {name: ROOTCA, sds_config: *sds}
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: inbound
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
)";
  const int port_;
  const std::string log_;
  pid_t pid_ = -1;
};

class SdsEnvoyTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (::access(EnvoyBinary().c_str(), X_OK) != 0) {
      GTEST_SKIP() << "no Envoy at " << EnvoyBinary() << " (CAPSTAN_TOOLS_DIR)";
    }
    char pattern[] = "/tmp/sds_envoy_test.XXXXXX";
    folder_ = ::mkdtemp(pattern);
    socket_ = folder_ + "/agent/sds.sock";
    pki_.emplace(folder_ + "/pki");
    for (const std::string root : {"A", "B"}) {
      pki_->MakeRoot(root);
      pki_->MakeLeaf("httpbin" + root, root, kId);
      pki_->MakeLeaf("client" + root, root, "spiffe://cluster.local/ns/foo/sa/sleep");
    }
    StartAgent();
  }
  void TearDown() override {
    envoy_.reset();
    agent_.reset();
    if (!folder_.empty() && !HasFailure()) {
      std::filesystem::remove_all(folder_);
    }
  }

  void StartAgent() {
    agent_.reset();
    auto agent = SdsServer::Start(
        {.socket_path = socket_, .id = *spiffe::SpiffeId::Parse(kId), .metrics = &metrics_},
        RealClock(), SystemRandom());
    ASSERT_TRUE(agent.ok()) << agent.status();
    agent_ = *std::move(agent);
  }
  void StartEnvoy() {
    envoy_.reset();
    envoy_ = std::make_unique<Envoy>(folder_, socket_, GetParam());
  }

  // `roots`: "A", "AB", "B"; `leaf` and `key` name whose: unlike, they do not match.
  void Publish(int64_t sequence, const std::string& roots, const std::string& leaf,
               const std::string& key) {
    auto material =
        std::make_shared<sds::Material>(sds::Material{.id = *spiffe::SpiffeId::Parse(kId)});
    material->bundle_version = {"lineage", sequence};
    for (const char root : roots) {
      absl::StrAppend(&material->roots_pem,
                      pki_->Text(absl::StrCat("root", std::string(1, root), ".pem")));
    }
    material->chain_pem = pki_->Text(leaf + ".pem");
    material->key_pem = Secret(pki_->Text(key + ".key"));
    material->leaf_serial = leaf;
    agent_->Publish(std::move(material));
  }

  // What the living Envoy's consumer says.
  sds::ConsumerReport Report() const {
    for (const sds::ConsumerReport& report : agent_->Consumers()) {
      if (report.pid == envoy_->pid()) {
        return report;
      }
    }
    return {};
  }
  template <typename Condition>
  bool Eventually(Condition condition) const {
    for (int i = 0; i < 1500; ++i) {
      if (condition()) {
        return true;
      }
      absl::SleepFor(absl::Milliseconds(20));
    }
    return false;
  }
  void AwaitAcknowledged(int64_t sequence, const std::string& leaf) {
    ASSERT_TRUE(Eventually([&] {
      const sds::ConsumerReport report = Report();
      return report.acknowledged_bundle.sequence == sequence &&
             report.acknowledged_leaf_serial == leaf;
    })) << envoy_->Log();
  }
  double Refusals() { return metrics_.Counter("capstan_sds_refusals_total", "").Value(); }
  void AwaitRefusals(double count) {
    ASSERT_TRUE(Eventually([&] { return Refusals() >= count && Report().last_nack.has_value(); }))
        << envoy_->Log();
    EXPECT_TRUE(Report().acknowledged_bundle.empty());
    EXPECT_TRUE(Report().acknowledged_leaf_serial.empty());
  }
  // A leaf whose key does not match, which is refused; then good roots, refused with it.
  void PublishABadLeafAndThenNewRoots() {
    const double before = Refusals();
    Publish(1, "A", "httpbinB", "httpbinA");
    AwaitRefusals(before + 1);
    Publish(2, "AB", "httpbinB", "httpbinA");
    AwaitRefusals(before + 3);
  }

  x509::HandshakeResult Handshake(const std::string& client) const {
    x509::HandshakeOptions options{.host = "127.0.0.1", .port = envoy_->port()};
    options.client_chain = *x509::ParsePemCertificates(pki_->Text(client + ".pem"));
    options.client_key = *x509::PrivateKey::ParsePem(pki_->Text(client + ".key"));
    options.early_request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    absl::StatusOr<x509::HandshakeResult> result = absl::UnknownError("not tried");
    // A port that has just been opened.
    for (int i = 0; i < 100 && !result.ok(); ++i) {
      result = x509::Handshake(options);
      if (!result.ok()) {
        absl::SleepFor(absl::Milliseconds(50));
      }
    }
    EXPECT_TRUE(result.ok()) << result.status();
    return result.value_or(x509::HandshakeResult{});
  }
  x509::ClientVerdict Verdict(const std::string& client) const { return Handshake(client).client; }
  bool Serves(const std::string& leaf) const {
    const auto served = Handshake("clientA").served_chain;
    return !served.empty() &&
           served[0] == (*x509::ParsePemCertificates(pki_->Text(leaf + ".pem")))[0];
  }

  std::string folder_;
  std::string socket_;
  std::optional<Pki> pki_;
  Metrics metrics_;
  std::unique_ptr<SdsServer> agent_;
  std::unique_ptr<Envoy> envoy_;
};

TEST_P(SdsEnvoyTest, FourPhasesWithoutARestart) {
  StartEnvoy();
  Publish(1, "A", "httpbinA", "httpbinA");
  AwaitAcknowledged(1, "httpbinA");
  EXPECT_EQ(Verdict("clientA"), x509::ClientVerdict::kAccepted);
  EXPECT_EQ(Verdict("clientB"), x509::ClientVerdict::kUnknownCa);
  Publish(2, "AB", "httpbinA", "httpbinA");
  AwaitAcknowledged(2, "httpbinA");
  EXPECT_EQ(Verdict("clientA"), x509::ClientVerdict::kAccepted);
  EXPECT_EQ(Verdict("clientB"), x509::ClientVerdict::kAccepted);
  Publish(2, "AB", "httpbinB", "httpbinB");
  AwaitAcknowledged(2, "httpbinB");
  EXPECT_TRUE(Serves("httpbinB"));
  Publish(3, "B", "httpbinB", "httpbinB");
  AwaitAcknowledged(3, "httpbinB");
  EXPECT_EQ(Verdict("clientA"), x509::ClientVerdict::kUnknownCa);
  EXPECT_EQ(Verdict("clientB"), x509::ClientVerdict::kAccepted);
  EXPECT_TRUE(envoy_->Alive());
  EXPECT_FALSE(Report().last_nack.has_value());
}

// A leaf whose key does not match is refused; the good roots that come next are refused for it as
// well; then a good leaf is accepted. The roots, sent again as they were, would be acknowledged and
// not used.
TEST_P(SdsEnvoyTest, AfterARefusalTheNewRootIsReallyUsed) {
  StartEnvoy();
  Publish(1, "A", "httpbinA", "httpbinA");
  AwaitAcknowledged(1, "httpbinA");
  PublishABadLeafAndThenNewRoots();
  Publish(2, "AB", "httpbinB", "httpbinB");
  AwaitAcknowledged(2, "httpbinB");
  EXPECT_EQ(Verdict("clientB"), x509::ClientVerdict::kAccepted);
  EXPECT_EQ(Verdict("clientA"), x509::ClientVerdict::kAccepted);
  EXPECT_TRUE(Serves("httpbinB"));
  EXPECT_TRUE(envoy_->Alive());
}

TEST_P(SdsEnvoyTest, TheLastGoodSecretsStayWhileBadOnesAreRefused) {
  StartEnvoy();
  Publish(1, "A", "httpbinA", "httpbinA");
  AwaitAcknowledged(1, "httpbinA");
  Publish(1, "A", "httpbinB", "httpbinA");
  AwaitRefusals(1);
  absl::SleepFor(absl::Milliseconds(1500));  // through a further try
  EXPECT_EQ(Verdict("clientA"), x509::ClientVerdict::kAccepted);
  EXPECT_TRUE(Serves("httpbinA"));
}

TEST_P(SdsEnvoyTest, ARestartedEnvoyIsAnotherConsumer) {
  Publish(1, "A", "httpbinA", "httpbinA");
  StartEnvoy();
  AwaitAcknowledged(1, "httpbinA");
  const std::string before = Report().id;
  StartEnvoy();
  AwaitAcknowledged(1, "httpbinA");
  EXPECT_NE(Report().id, before);
  EXPECT_EQ(Verdict("clientA"), x509::ClientVerdict::kAccepted);
  for (const sds::ConsumerReport& report : agent_->Consumers()) {
    EXPECT_EQ(report.connected, report.pid == envoy_->pid());
    EXPECT_EQ(report.acknowledged_bundle.empty(), report.pid != envoy_->pid());
  }
}

TEST_P(SdsEnvoyTest, ANewAgentTakesOverALivingEnvoy) {
  StartEnvoy();
  Publish(1, "A", "httpbinA", "httpbinA");
  AwaitAcknowledged(1, "httpbinA");
  agent_->Stop();
  EXPECT_EQ(Verdict("clientA"), x509::ClientVerdict::kAccepted) << "Envoy keeps its secrets";
  StartAgent();
  Publish(2, "AB", "httpbinA", "httpbinA");
  AwaitAcknowledged(2, "httpbinA");
  EXPECT_EQ(Verdict("clientB"), x509::ClientVerdict::kAccepted);
}

// The new agent knows nothing of the refusals that the old one got.
TEST_P(SdsEnvoyTest, ANewAgentTakesOverAnEnvoyThatRefused) {
  StartEnvoy();
  Publish(1, "A", "httpbinA", "httpbinA");
  AwaitAcknowledged(1, "httpbinA");
  PublishABadLeafAndThenNewRoots();
  StartAgent();
  Publish(2, "AB", "httpbinB", "httpbinB");
  AwaitAcknowledged(2, "httpbinB");
  EXPECT_EQ(Verdict("clientB"), x509::ClientVerdict::kAccepted);
}

// Both change at once: the roots arrive first, and nobody is refused afterwards.
TEST_P(SdsEnvoyTest, AReplacementInOneStrokeArrivesInOrder) {
  StartEnvoy();
  Publish(1, "A", "httpbinA", "httpbinA");
  AwaitAcknowledged(1, "httpbinA");
  Publish(2, "AB", "httpbinB", "httpbinB");
  AwaitAcknowledged(2, "httpbinB");
  EXPECT_TRUE(Serves("httpbinB"));
  EXPECT_EQ(Verdict("clientB"), x509::ClientVerdict::kAccepted);
  EXPECT_FALSE(Report().last_nack.has_value());
}

INSTANTIATE_TEST_SUITE_P(Fronts, SdsEnvoyTest, ::testing::Values("GRPC", "DELTA_GRPC"),
                         [](const auto& info) { return info.param == "GRPC" ? "State" : "Delta"; });

}  // namespace
}  // namespace capstan::rpc
