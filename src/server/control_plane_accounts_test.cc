// SPDX-License-Identifier: Apache-2.0
// The control plane and callers with tokens of service accounts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <latch>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "authn/test_go_csr.h"
#include "authn/test_pki.h"
#include "server/control_plane.h"
#include "store/memory_store.h"
#include "trust/testing.h"

namespace capstan::server {
namespace {

using authn::testing::kGoCsr;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using trust::testing::TestNow;
using trust::testing::TestPki;

constexpr char kSleep[] = "spiffe://cluster.local/ns/default/sa/sleep";

Secret Jwt(const std::string& subject) {
  return Secret(
      absl::StrCat("e30.", absl::WebSafeBase64Escape("{\"sub\":\"" + subject + "\"}"), ".c2ln"));
}

class ControlPlaneAccountsTest : public ::testing::Test {
 protected:
  explicit ControlPlaneAccountsTest(bool slow = false)
      : plane_(Options(slow), store_, Keys(), clock_, SystemRandom(), executor_, metrics_) {
    EXPECT_TRUE(plane_.Start().ok());
    EXPECT_TRUE(plane_.Offer(a_.Set(), {.source = "directory"}).ok());
  }
  ~ControlPlaneAccountsTest() override { executor_.DropAll(); }

  // A token says in which pod it is: of default/sleep, unless it is "bad".
  static absl::StatusOr<kube::ServiceAccount> Review(const Secret& token) {
    if (token == Jwt("bad")) return absl::UnauthenticatedError("it has expired");
    if (token == Jwt("no pod")) return kube::ServiceAccount{"default", "sleep", "", "", ""};
    return kube::ServiceAccount{"default", "sleep", "sleep-0", token == Jwt("one") ? "1" : "2", ""};
  }
  ControlPlaneOptions Options(bool slow) {
    const spiffe::TrustDomain domain = *spiffe::TrustDomain::Parse("cluster.local");
    std::vector<authn::ServiceAccounts::Cluster> clusters;
    clusters.push_back(
        {{"Kubernetes"},
         std::make_unique<authn::TokenReviewer>("Kubernetes", &Review, RealClock(), metrics_)});
    ControlPlaneOptions options{
        .trust_domain = domain,
        .keeper = {.serving_names = NamesFor(domain, "127.0.0.1:15012", "127.0.0.1:15012", {}),
                   .rotation = {.immediate = true}}};
    options.slow_stock_agents = slow;
    options.service_accounts =
        std::make_shared<authn::ServiceAccounts>(domain, std::move(clusters));
    options.may_sign = [this] { return may_sign_; };
    return options;
  }
  keystore::SealedKeys Keys() {
    return *keystore::SealedKeys::Open(
        absl::StrCat(::testing::TempDir(), "/seal-", SystemRandom().Uuid()),
        keystore::SealedKeys::IfMissing::kCreate, SystemRandom());
  }

  absl::StatusOr<authn::Caller> Authenticate(const authn::Credentials& shown) {
    absl::StatusOr<authn::Caller> caller = absl::UnknownError("");
    std::latch done(1);
    plane_.AuthenticateForCertificate(shown, false, [&](absl::StatusOr<authn::Caller> told) {
      caller = std::move(told);
      done.count_down();
    });
    done.wait();
    return caller;
  }
  static authn::Credentials Showing(const Secret& token) {
    authn::Credentials shown;
    shown.bearer = token;
    return shown;
  }
  static std::string Csr(const std::string& uri) {
    x509::Extensions wanted;
    if (!uri.empty()) wanted.sans = {.uris = {uri}, .critical = true};
    const auto key = *x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256);
    return x509::Csr::Create(key, {}, wanted)->ToPem();
  }
  std::vector<std::string> Issue(const authn::Caller& caller,
                                 const std::string& csr = Csr(kSleep)) {
    const auto issued = plane_.Issue(caller, {.csr = csr, .ttl = absl::Hours(1)});
    EXPECT_TRUE(issued.ok()) << issued.status();
    return issued.ok() ? issued->chain : std::vector<std::string>();
  }
  std::vector<x509::Certificate> ChainOf(const std::vector<std::string>& elements) {
    std::vector<x509::Certificate> chain;
    for (size_t i = 0; i + 1 < elements.size(); ++i) {
      chain.push_back(x509::ParsePemCertificates(elements[i])->front());
    }
    return chain;
  }
  std::vector<std::string> Instances() {
    std::vector<std::string> instances;
    const auto fleet = plane_.ListFleet();
    for (const auto& workload : fleet.workloads()) instances.push_back(workload.instance());
    return instances;
  }

  FakeClock clock_{TestNow()};
  ManualExecutor executor_{clock_};
  store::MemoryStore store_{"lineage"};
  Metrics metrics_;
  const TestPki a_ = TestPki::Make("intermediateA");
  absl::Status may_sign_;
  ControlPlane plane_;
};

TEST_F(ControlPlaneAccountsTest, ATokenGivesTheAccountsCertificateHoweverStockAgentsAsk) {
  const auto caller = Authenticate(Showing(Jwt("one")));
  ASSERT_TRUE(caller.ok()) << caller.status();
  EXPECT_EQ(caller->id.ToString(), kSleep);
  EXPECT_EQ(caller->proof, authn::Caller::Proof::kServiceAccount);
  for (const std::string& csr :
       {std::string(kGoCsr), Csr(kSleep), Csr(""), Csr("spiffe://evil.td/ns/default/sa/httpbin")}) {
    const std::vector<std::string> chain = Issue(*caller, csr);
    ASSERT_THAT(chain, SizeIs(3)) << "leaf, intermediate, all roots";
    EXPECT_EQ(ChainOf(chain)[0].SpiffeId()->ToString(), kSleep);
    EXPECT_EQ(chain[2], plane_.trust()->bundle.ToPem());
  }
}

TEST_F(ControlPlaneAccountsTest, EachPodIsAWorkloadAndRenewsItsOwnRecord) {
  for (const char* token : {"one", "two", "one", "one"}) {
    Issue(*Authenticate(Showing(Jwt(token))));
  }
  EXPECT_THAT(Instances(), ElementsAre("pod:1", "pod:2"));
  Issue(*Authenticate(Showing(Jwt("no pod"))));
  EXPECT_THAT(Instances(), ElementsAre("pod:1", "pod:2", HasSubstr("token:")));
  executor_.Advance(absl::Seconds(1));
  EXPECT_THAT(*store_.LoadPopulation(), SizeIs(3));
}

TEST_F(ControlPlaneAccountsTest, WhatAnAnswerSaidOfTheRootsIsOnRecord) {
  const auto grades = [&] {
    std::vector<std::string> grades;
    const auto fleet = plane_.ListFleet();
    for (const auto& workload : fleet.workloads()) grades.push_back(workload.state());
    return grades;
  };
  Issue(*Authenticate(Showing(Jwt("one"))));
  EXPECT_THAT(grades(), ElementsAre("told"));
  executor_.Advance(absl::Seconds(1));
  ASSERT_THAT(*store_.LoadPopulation(), SizeIs(1));
  EXPECT_EQ(store_.LoadPopulation()->front().told, plane_.trust()->version.sequence);

  ASSERT_TRUE(plane_.Offer(TestPki::Make("intermediateB").Set(), {.source = "directory"}).ok());
  EXPECT_THAT(grades(), ElementsAre("absent")) << "until it asks again";
  Issue(*Authenticate(Showing(Jwt("one"))));
  EXPECT_THAT(grades(), ElementsAre("told"));
}

// What is told on ADS where the bundle comes with answers.
class SlowStockAgentsTest : public ControlPlaneAccountsTest {
 protected:
  SlowStockAgentsTest() : ControlPlaneAccountsTest(/*slow=*/true) {}
};

TEST_F(SlowStockAgentsTest, OnlyANewIssuerIsTold) {
  const TestPki b = TestPki::Make("intermediateB");
  const auto told = plane_.stock_roots();
  EXPECT_THAT(told->roots, ElementsAre(a_.root.certificate.ToPem()));
  EXPECT_FALSE(told->whole);
  ASSERT_TRUE(
      plane_.Offer(a_.Set({a_.root.certificate, b.root.certificate}), {.source = "directory"})
          .ok());
  EXPECT_EQ(plane_.trust()->bundle.roots().size(), 2u);
  EXPECT_EQ(plane_.stock_roots(), told) << "the very same: nobody is told anything";
  ASSERT_TRUE(
      plane_.Offer(b.Set({a_.root.certificate, b.root.certificate}), {.source = "directory"}).ok());
  const auto moved = plane_.stock_roots();
  EXPECT_NE(moved->roots, told->roots);
  EXPECT_EQ(moved->roots.front(), b.root.certificate.ToPem());
  ASSERT_TRUE(plane_.Offer(b.Set(), {.source = "directory"}).ok());
  EXPECT_EQ(plane_.stock_roots(), moved);
}

TEST_F(ControlPlaneAccountsTest, WhatANodeProxyObtainsHasARecordOfItsOwn) {
  authn::Caller caller = *Authenticate(Showing(Jwt("one")));
  EXPECT_EQ(caller.cluster, "Kubernetes");
  Issue(caller);
  caller.node_proxy = "spiffe://cluster.local/ns/istio-system/sa/ztunnel";
  Issue(caller);
  EXPECT_TRUE(
      plane_.Issue(caller, {.csr = Csr(kSleep), .ttl = absl::Minutes(5), .instance = "pod:1"})
          .ok());
  EXPECT_THAT(Instances(), ElementsAre("node-proxy:1", "pod:1"));
  plane_.Impersonate(*Authenticate(Showing(Jwt("one"))), kSleep, [](const auto& told) {
    EXPECT_TRUE(absl::IsUnauthenticated(told.status())) << "nobody is trusted with that here";
  });
}

TEST_F(ControlPlaneAccountsTest, ANodeProxyGetsNoLeafThatItWouldRenewAtOnce) {
  authn::Caller caller = *Authenticate(Showing(Jwt("one")));
  const auto ask = [&](absl::Duration ttl) {
    return plane_.Issue(caller, {.csr = Csr(kSleep), .ttl = ttl}).status();
  };
  EXPECT_TRUE(ask(absl::Minutes(1)).ok()) << "a stock agent's rule is another one";
  caller.node_proxy = "spiffe://cluster.local/ns/istio-system/sa/ztunnel";
  EXPECT_TRUE(ask(absl::ZeroDuration()).ok()) << "the default";
  EXPECT_TRUE(ask(absl::Minutes(5)).ok());
  const absl::Status refused = ask(absl::Seconds(299));
  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("ask for 5m or more (SECRET_TTL)"));
}

TEST_F(ControlPlaneAccountsTest, ARefusedTokenGivesNothingAndIsCounted) {
  const absl::Status refused = Authenticate(Showing(Jwt("bad"))).status();
  EXPECT_EQ(refused, absl::UnauthenticatedError("it has expired"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("citadel_server_authentication_failure_count 1"));
}

TEST_F(ControlPlaneAccountsTest, ACertificateThatVerifiesBeatsTheToken) {
  authn::Credentials shown = Showing(Jwt("one"));
  shown.peer_chain = ChainOf(Issue(*Authenticate(shown)));
  shown.bearer = Jwt("bad");
  const auto caller = Authenticate(shown);
  ASSERT_TRUE(caller.ok()) << caller.status();
  EXPECT_EQ(caller->proof, authn::Caller::Proof::kCertificate);
}

TEST_F(ControlPlaneAccountsTest, BesideACertificateThatDoesNotTheTokenDecides) {
  authn::Credentials shown = Showing(Jwt("one"));
  shown.peer_chain = ChainOf(Issue(*Authenticate(shown)));
  clock_.Advance(absl::Hours(2));
  auto caller = Authenticate(shown);
  ASSERT_TRUE(caller.ok()) << "expired: " << caller.status();
  EXPECT_EQ(caller->proof, authn::Caller::Proof::kServiceAccount);

  const authn::testing::TestCa stranger(clock_.Now(), "Root CA", false);
  shown.peer_chain = stranger
                         .Issue({.not_before = clock_.Now() - absl::Minutes(1),
                                 .not_after = clock_.Now() + absl::Hours(1)})
                         .chain;
  EXPECT_TRUE(Authenticate(shown).ok()) << "of a root that nobody here knows";
  shown.peer_chain.clear();
  shown.peer_chain_malformed = true;
  EXPECT_TRUE(Authenticate(shown).ok());

  shown = Showing(Jwt("bad"));
  shown.peer_chain = ChainOf(Issue(*Authenticate(Showing(Jwt("one")))));
  clock_.Advance(absl::Hours(2));
  EXPECT_THAT(std::string(Authenticate(shown).status().message()),
              AllOf(HasSubstr("it has expired; nor is the certificate"), HasSubstr("expired at")));
}

// Whoever the certificate is handed to, nobody takes the earlier one away from its holder.
TEST_F(ControlPlaneAccountsTest, EachLeafOfASigningRequestHasARecordOfItsOwn) {
  const authn::Caller caller{.id = *spiffe::SpiffeId::Parse(kSleep),
                             .proof = authn::Caller::Proof::kSigningRequest};
  Issue(caller);
  Issue(caller);
  const control::v1::ListFleetResponse fleet = plane_.ListFleet();
  ASSERT_EQ(fleet.workloads_size(), 2);
  EXPECT_NE(fleet.workloads(0).leaf().serial(), fleet.workloads(1).leaf().serial());
  EXPECT_TRUE(plane_.Flush().ok());
  EXPECT_EQ(store_.LoadPopulation()->size(), 2u);
}

TEST_F(ControlPlaneAccountsTest, WhoMayNotSignGivesNothingOut) {
  const authn::Caller caller = *Authenticate(Showing(Jwt("one")));
  may_sign_ = absl::UnavailableError("the lease is lost");
  EXPECT_EQ(plane_.Issue(caller, {.csr = Csr(kSleep)}).status(), may_sign_);
  EXPECT_EQ(plane_.ListFleet().workloads_size(), 0);
  may_sign_ = absl::OkStatus();
  EXPECT_TRUE(plane_.Issue(caller, {.csr = Csr(kSleep)}).ok());
}

TEST_F(ControlPlaneAccountsTest, JoinTokensAndTrustStreamsAreAsBefore) {
  control::v1::CreateTokenRequest request;
  request.set_spiffe_id(kSleep);
  const Secret join(plane_.CreateToken(request)->token());
  EXPECT_EQ(Authenticate(Showing(join))->proof, authn::Caller::Proof::kJoinToken);
  EXPECT_EQ(Authenticate(Showing(Secret("cjt_x"))).status().code(),
            absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(plane_.Authenticate(Showing(Jwt("one"))).status().code(),
            absl::StatusCode::kUnauthenticated);
  EXPECT_FALSE(plane_.Connected(*Authenticate(Showing(Jwt("one"))), {}).ok());
}

}  // namespace
}  // namespace capstan::server
