// SPDX-License-Identifier: Apache-2.0
#include "probe/prober.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <rapidcheck/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "authn/test_pki.h"
#include "base/status.h"
#include "x509/csr.h"

namespace capstan::probe {
namespace {

using authn::testing::LeafSpec;
using authn::testing::Must;
using authn::testing::TestCa;
using fleet::v1::ProbeResult;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A prober whose certificates are real and whose consumer is a function of the test.
class ProberTest : public ::testing::Test {
 protected:
  ProberTest() {
    prober_.OnTrust(Union(a_.bundle(), b_.bundle()), {"lineage", 2});
    prober_.OnConsumers({{"e", {"lineage", 2}, "1"}});
  }

  std::vector<std::string> Issue(const TestCa& ca, const std::string& csr_pem,
                                 absl::Duration life = absl::Minutes(5),
                                 const std::string& id = "spiffe://cluster.local/capstan/probe") {
    LeafSpec spec{.uris = {id},
                  .not_before = clock_.Now() - absl::Minutes(2),
                  .not_after = clock_.Now() + life,
                  .extended_key_usage = {"clientAuth"}};
    return {ca.Sign(spec, Must(x509::Csr::Parse(csr_pem)).public_key()).ToPem(),
            ca.issuer().ToPem()};
  }
  absl::StatusOr<std::vector<std::string>> Answer(const rpc::GrpcCaClient::ProbeRequest& request) {
    ++requests_;
    if (answer_) return answer_(request.csr_pem);
    return Issue(request.authority_id == Id(a_).hex() ? a_ : b_, request.csr_pem);
  }
  // Trusts A only.
  absl::StatusOr<x509::HandshakeResult> Shake(const x509::HandshakeOptions& options) {
    options_.push_back(options);
    if (shake_) return shake_();
    x509::HandshakeResult result;
    result.served_chain = served_;
    const bool of_a =
        options.client_chain.front().authority_key_id() == a_.issuer().subject_key_id();
    result.client = of_a ? x509::ClientVerdict::kAccepted : x509::ClientVerdict::kUnknownCa;
    return result;
  }
  static trust::AuthorityId Id(const TestCa& ca) { return trust::AuthorityId::Of(ca.issuer()); }

  void Ask() {
    prober_.OnProbing({.accepted = {Id(a_), Id(b_)}, .refused = {}});
    executor_.Advance(absl::Seconds(2));
  }
  std::vector<ProbeResult::Verdict> Verdicts() {
    std::vector<ProbeResult::Verdict> verdicts;
    for (const trust::AuthorityId& id : {Id(a_), Id(b_)}) {
      for (const ProbeResult& result : prober_.results()) {
        if (result.authority_id() == id.hex()) verdicts.push_back(result.verdict());
      }
    }
    return verdicts;
  }

  FakeClock clock_{authn::testing::At("2026-03-01T12:00:00Z")};
  ManualExecutor executor_{clock_};
  const TestCa a_{clock_.Now(), "Root CA", true};
  const TestCa b_{clock_.Now(), "Root CA", true};
  std::vector<x509::Certificate> served_ =
      a_.Issue({.not_before = clock_.Now(), .not_after = clock_.Now() + absl::Hours(1)}).chain;
  std::function<absl::StatusOr<std::vector<std::string>>(const std::string& csr)> answer_;
  std::function<absl::StatusOr<x509::HandshakeResult>()> shake_;
  int requests_ = 0;
  int changes_ = 0;
  std::vector<x509::HandshakeOptions> options_;
  Prober prober_{
      {.seed = "instance",
       .trust_domain = Must(spiffe::TrustDomain::Parse("cluster.local")),
       .targets = {{"127.0.0.1", 15006, "httpbin", {"h2"}}},
       .policy = {}},
      {.executor = executor_,
       .blocking = executor_,
       .clock = clock_,
       .obtain =
           [this](const rpc::GrpcCaClient::ProbeRequest& request, auto done) {
             executor_.Post([done, answer = Answer(request)] { done(answer); });
           },
       .handshake = [this](const x509::HandshakeOptions& options) { return Shake(options); },
       .changed = [this] { ++changes_; }}};
};

TEST_F(ProberTest, ReportsWhatTheConsumerTrusts) {
  ASSERT_THAT(prober_.results(), SizeIs(1));
  EXPECT_EQ(prober_.results()[0].target(), "127.0.0.1:15006,sni=httpbin,alpn=h2");
  EXPECT_EQ(prober_.results()[0].authority_id(), "");
  Ask();
  EXPECT_THAT(Verdicts(), ElementsAre(ProbeResult::ACCEPTED, ProbeResult::UNKNOWN_CA));
  const ProbeResult result = prober_.results()[0];
  EXPECT_EQ(result.bundle().sequence(), 2);
  EXPECT_EQ(result.served_leaf().serial(), served_[0].serial().ToHex());
  EXPECT_EQ(result.served_leaf().authority_id(), Id(a_).hex());
  EXPECT_EQ(result.served_leaf().not_after().seconds(),
            absl::ToUnixSeconds(clock_.Now() + absl::Hours(1)) - 2);
  EXPECT_GT(result.at().seconds(), 0);
  EXPECT_GT(changes_, 0);

  ASSERT_THAT(options_, SizeIs(2));
  EXPECT_EQ(options_[0].host, "127.0.0.1");
  EXPECT_EQ(options_[0].port, 15006);
  EXPECT_EQ(options_[0].server_name, "httpbin");
  EXPECT_THAT(options_[0].alpn, ElementsAre("h2"));
  EXPECT_EQ(options_[0].client_chain.size(), 2u) << "leaf and intermediate";
  EXPECT_TRUE(options_[0].client_key->public_key() == options_[0].client_chain[0].public_key());
  EXPECT_FALSE(options_[0].client_key->public_key() == options_[1].client_key->public_key());
  EXPECT_THAT(options_[0].early_request, HasSubstr("PRI * HTTP/2.0"));
}

TEST_F(ProberTest, WhatIsNoProbeCertificateOfTheAuthorityIsNotShown) {
  const auto other = Must(x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256));
  const std::string other_csr = Must(x509::Csr::Create(other, {}, {})).ToPem();
  const TestCa stranger(clock_.Now(), "Root CA", true);
  using Answer = absl::StatusOr<std::vector<std::string>>;
  const std::vector<std::pair<std::string, std::function<Answer(const std::string&)>>> bad = {
      {"PERMISSION", [](const auto&) { return absl::PermissionDeniedError("PERMISSION"); }},
      {"no certificate", [](const auto&) { return std::vector<std::string>{}; }},
      {"element 0", [](const auto&) { return std::vector<std::string>{"garbage"}; }},
      {"another key", [&](const auto&) { return Issue(a_, other_csr); }},
      {"does not verify", [&](const auto& csr) { return Issue(stranger, csr); }},
      {"longer than", [&](const auto& csr) { return Issue(a_, csr, absl::Hours(1)); }},
      {"expired", [&](const auto& csr) { return Issue(a_, csr, -absl::Seconds(1)); }},
      {"not for spiffe://cluster.local/capstan/probe",
       [&](const auto& csr) {
         return Issue(a_, csr, absl::Minutes(5), "spiffe://cluster.local/ns/a/sa/b");
       }},
  };
  for (const auto& [why, answer] : bad) {
    answer_ = answer;
    prober_.OnProbing({});
    Ask();
    EXPECT_THAT(options_, IsEmpty()) << why;
    EXPECT_THAT(Verdicts(),
                ElementsAre(ProbeResult::VERDICT_UNSPECIFIED, ProbeResult::VERDICT_UNSPECIFIED));
    EXPECT_THAT(prober_.results()[0].detail(), HasSubstr(why));
  }
  // Of the other authority: right in itself, and not what was asked for.
  answer_ = [&](const std::string& csr) { return Issue(b_, csr); };
  prober_.OnProbing({});
  prober_.OnProbing({.accepted = {Id(a_)}, .refused = {}});
  executor_.Advance(absl::Seconds(2));
  EXPECT_THAT(options_, IsEmpty());
  EXPECT_THAT(prober_.results()[0].detail(), HasSubstr(absl::StrCat("not of ", Id(a_).hex())));
}

TEST_F(ProberTest, WhatIsNoHandshakeIsNoDistrust) {
  const std::vector<std::pair<absl::Status, ProbeResult::Verdict>> failures = {
      {absl::UnavailableError("refused"), ProbeResult::UNREACHABLE},
      {absl::InternalError("no TLS"), ProbeResult::UNREACHABLE},
      {absl::InvalidArgumentError("a certificate that does not parse"), ProbeResult::UNREACHABLE},
      {absl::DeadlineExceededError("slow"), ProbeResult::SILENT},
      {absl::FailedPreconditionError("alert 70"), ProbeResult::REFUSED}};
  for (const auto& [failure, verdict] : failures) {
    const ProbeOutcome outcome = OutcomeOf(failure);
    EXPECT_EQ(outcome.verdict, verdict);
    EXPECT_EQ(outcome.detail, std::string(failure.message()));
    EXPECT_FALSE(outcome.served.has_value());
  }
}

TEST_F(ProberTest, AnAnswerAfterTheEndFindsNobody) {
  auto late = std::make_unique<Prober>(
      Prober::Options{.seed = "i",
                      .trust_domain = Must(spiffe::TrustDomain::Parse("cluster.local")),
                      .targets = {{"127.0.0.1", 1, "", {}}},
                      .policy = {}},
      Prober::Ports{.executor = executor_,
                    .blocking = executor_,
                    .clock = clock_,
                    .obtain =
                        [this](const rpc::GrpcCaClient::ProbeRequest& request, auto done) {
                          executor_.After(absl::Seconds(5),
                                          [done, answer = Answer(request)] { done(answer); });
                        },
                    .handshake = [this](const auto& options) { return Shake(options); },
                    .changed = [] {}});
  late->OnTrust(a_.bundle(), {"lineage", 2});
  late->OnConsumers({{"e", {"lineage", 2}, "1"}});
  late->OnProbing({.accepted = {Id(a_)}, .refused = {}});
  executor_.Advance(absl::Seconds(2));
  EXPECT_EQ(requests_, 1);
  late.reset();
  executor_.Advance(absl::Minutes(1));
  EXPECT_THAT(options_, IsEmpty());
}

// A server that answers a ClientHello with bytes of the test's choice and closes.
ProbeOutcome AgainstBytes(const std::string& bytes) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof(address);
  bind(listener, reinterpret_cast<sockaddr*>(&address), size);
  listen(listener, 1);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  std::thread server([&] {
    const int connection = accept(listener, nullptr, nullptr);
    char hello[4096];
    (void)recv(connection, hello, sizeof(hello), 0);
    (void)send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    shutdown(connection, SHUT_WR);
    while (recv(connection, hello, sizeof(hello), 0) > 0) {
    }
    close(connection);
  });
  const ProbeOutcome outcome = OutcomeOf(x509::Handshake(
      {.host = "127.0.0.1", .port = ntohs(address.sin_port), .timeout = absl::Seconds(2)}));
  server.join();
  close(listener);
  return outcome;
}

RC_GTEST_PROP(ProberProperty, GarbageFromATargetIsNeverDistrust, ()) {
  // Beginning as TLS records do, so that the bytes get past the first look.
  std::string bytes =
      *rc::gen::element<std::string>("", "\x16\x03\x03", "\x15\x03\x03", "HTTP/1.1");
  bytes += *rc::gen::arbitrary<std::string>();
  const ProbeOutcome outcome = AgainstBytes(bytes);
  RC_ASSERT(outcome.verdict != ProbeResult::ACCEPTED);
  RC_ASSERT(outcome.verdict != ProbeResult::UNKNOWN_CA);
  RC_ASSERT(!outcome.detail.empty());
}

}  // namespace
}  // namespace capstan::probe
