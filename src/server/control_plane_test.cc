// SPDX-License-Identifier: Apache-2.0
#include "server/control_plane.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/random.h"
#include "base/strings.h"
#include "server/join_tokens.h"
#include "store/faulty_store.h"
#include "store/memory_store.h"
#include "trust/testing.h"
#include "x509/verify.h"

namespace capstan::server {
namespace {

using store::FaultyStore;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using trust::testing::TestNow;
using trust::testing::TestPki;

constexpr char kHttpbin[] = "spiffe://cluster.local/ns/default/sa/httpbin";

class ControlPlaneTest : public ::testing::Test {
 protected:
  ControlPlaneTest() { Restart(); }

  void Restart() {
    plane_.reset();
    metrics_ = std::make_unique<Metrics>();
    plane_ = NewPlane(store_);
    ASSERT_TRUE(plane_->Start().ok());
  }

  std::unique_ptr<ControlPlane> NewPlane(store::Store& store) {
    spiffe::TrustDomain domain = *spiffe::TrustDomain::Parse("cluster.local");
    TrustKeeperOptions keeper{
        {}, NamesFor(domain, "127.0.0.1:15012", "127.0.0.1:15012", {}), absl::Hours(24)};
    return std::make_unique<ControlPlane>(
        ControlPlaneOptions{
            domain, keeper, "127.0.0.1:15012", "ca.example:15012", "/etc/cacerts", {}},
        store,
        *keystore::SealedKeys::Open(seal_key_, keystore::SealedKeys::IfMissing::kCreate,
                                    SystemRandom()),
        clock_, SystemRandom(), executor_, *metrics_);
  }

  std::string NewCsr(const x509::PrivateKey& key) {
    x509::Extensions wanted;
    wanted.sans.uris = {"spiffe://cluster.local/capstan/control-plane"};
    return x509::Csr::Create(key, {}, wanted)->ToPem();
  }
  std::string NewCsr() { return NewCsr(*x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256)); }

  Secret NewToken(const std::string& id = kHttpbin) {
    control::v1::CreateTokenRequest request;
    request.set_spiffe_id(id);
    absl::StatusOr<control::v1::CreateTokenResponse> made = plane_->CreateToken(request);
    EXPECT_TRUE(made.ok()) << made.status();
    return Secret(made->token());
  }

  absl::StatusOr<authn::Caller> With(const Secret& token) {
    authn::Credentials shown;
    shown.bearer = token;
    return plane_->Authenticate(shown);
  }
  absl::StatusOr<authn::Caller> With(const std::vector<std::string>& chain) {
    authn::Credentials shown;
    for (size_t i = 0; i + 1 < chain.size(); ++i) {
      shown.peer_chain.push_back(x509::ParsePemCertificates(chain[i])->front());
    }
    return plane_->Authenticate(shown);
  }

  rpc::IssueRequest Request(std::string csr, absl::Duration ttl = absl::ZeroDuration()) {
    return {std::move(csr), ttl, "instance-1", false};
  }

  // A certificate for kHttpbin by a fresh token.
  std::vector<std::string> Join() {
    return plane_->Issue(*With(NewToken()), Request(NewCsr()))->chain;
  }

  std::string Message(const absl::Status& status, absl::StatusCode code) {
    EXPECT_EQ(status.code(), code) << status;
    return std::string(status.message());
  }

  fleet::v1::Report ReportWith(const std::string& serial, const std::string& authority) {
    fleet::v1::Report report;
    report.mutable_leaf()->set_serial(serial);
    report.mutable_leaf()->set_authority_id(authority);
    report.mutable_leaf()->mutable_not_after()->set_seconds(
        absl::ToUnixSeconds(clock_.Now() + absl::Hours(1)));
    *report.mutable_bundle() = plane_->update()->bundle().version();
    fleet::v1::Consumer& envoy = *report.add_consumers();
    envoy.set_id("envoy-1");
    envoy.set_kind(fleet::v1::Consumer::ENVOY);
    envoy.set_connected(true);
    *envoy.mutable_acknowledged_bundle() = report.bundle();
    envoy.set_acknowledged_leaf_serial(serial);
    return report;
  }

  FakeClock clock_{TestNow()};
  ManualExecutor executor_{clock_};
  const std::string seal_key_ = absl::StrCat(::testing::TempDir(), "/seal-", SystemRandom().Uuid());
  store::MemoryStore store_{"lineage"};
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<ControlPlane> plane_;
  const TestPki a_ = TestPki::Make("intermediateA");
  const TestPki b_ = TestPki::Make("intermediateB");
};

TEST_F(ControlPlaneTest, WithoutACaEverybodyIsToldSo) {
  EXPECT_FALSE(plane_->has_ca());
  EXPECT_EQ(plane_->trust(), nullptr);
  EXPECT_THAT(Message(With(Secret("x")).status(), absl::StatusCode::kFailedPrecondition),
              HasSubstr("no CA yet"));
  EXPECT_EQ(plane_->ListFleet().workloads_size(), 0);
  EXPECT_EQ(plane_->GetStatus().authorities_size(), 0);
}

class WithCaTest : public ControlPlaneTest {
 protected:
  WithCaTest() { EXPECT_TRUE(plane_->Offer(a_.Set(), "directory").ok()); }
};

TEST_F(WithCaTest, ATokenGivesACertificateForItsIdentity) {
  std::vector<std::string> chain = Join();
  ASSERT_THAT(chain, SizeIs(3));  // leaf, intermediate, bundle
  x509::Certificate leaf = x509::ParsePemCertificates(chain[0])->front();
  EXPECT_EQ(leaf.SpiffeId()->ToString(), kHttpbin);
  EXPECT_EQ(chain[1], a_.intermediate.certificate.ToPem());
  EXPECT_EQ(chain[2], plane_->trust()->bundle.ToPem());
  EXPECT_TRUE(With(chain).ok());
  EXPECT_THAT(*store_.LoadPopulation(), SizeIs(1));
}

TEST_F(WithCaTest, ATokenRepeatsItsAnswerForAMinuteAndTheSameKeyOnly) {
  Secret token = NewToken();
  auto key = *x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256);
  rpc::IssueResponse first = *plane_->Issue(*With(token), Request(NewCsr(key)));
  clock_.Advance(absl::Seconds(59));
  rpc::IssueResponse second = *plane_->Issue(*With(token), Request(NewCsr(key)));
  EXPECT_EQ(first.chain, second.chain);
  EXPECT_THAT(Message(plane_->Issue(*With(token), Request(NewCsr())).status(),
                      absl::StatusCode::kUnauthenticated),
              HasSubstr("was used at"));
  authn::Caller caller = *With(token);
  clock_.Advance(absl::Seconds(2));
  EXPECT_THAT(Message(With(token).status(), absl::StatusCode::kUnauthenticated),
              HasSubstr("was used at"));
  EXPECT_EQ(plane_->Issue(caller, Request(NewCsr(key))).status().code(),
            absl::StatusCode::kUnauthenticated);
}

TEST_F(WithCaTest, ATokenSurvivesARestartAndExpires) {
  Secret token = NewToken();
  Secret late = NewToken();
  Restart();
  EXPECT_TRUE(plane_->Issue(*With(token), Request(NewCsr())).ok());
  clock_.Advance(absl::Minutes(10));
  EXPECT_THAT(Message(With(late).status(), absl::StatusCode::kUnauthenticated),
              HasSubstr("expired at"));
  EXPECT_THAT(Message(With(Secret(std::string("cjt_") + std::string(43, 'A'))).status(),
                      absl::StatusCode::kUnauthenticated),
              HasSubstr("not known here"));
}

TEST_F(WithCaTest, ATokenWhoseUseCannotBeWrittenDownGivesNothing) {
  FaultyStore faulty(store_);
  auto plane = NewPlane(faulty);
  ASSERT_TRUE(plane->Start().ok());
  Secret token = NewToken();
  authn::Credentials shown;
  shown.bearer = token;
  faulty.Arm(FaultyStore::Fault::kRefuseOnce, 1);
  EXPECT_EQ(plane->Issue(*plane->Authenticate(shown), Request(NewCsr())).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(store_.FindToken(authn::Caller(*plane->Authenticate(shown)).token_hash)->consumed());
  EXPECT_TRUE(plane->Issue(*plane->Authenticate(shown), Request(NewCsr())).ok());
}

TEST_F(WithCaTest, TokensAreForWorkloadsOnly) {
  control::v1::CreateTokenRequest request;
  for (const char* id : {"spiffe://cluster.local/capstan/control-plane", "spiffe://other/ns/a/sa/b",
                         "spiffe://cluster.local", "no id", ""}) {
    request.set_spiffe_id(id);
    EXPECT_EQ(plane_->CreateToken(request).status().code(), absl::StatusCode::kInvalidArgument)
        << id;
  }
  request.set_spiffe_id(kHttpbin);
  request.mutable_ttl()->set_seconds(25 * 3600);
  EXPECT_EQ(plane_->CreateToken(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.mutable_ttl()->set_seconds(60);
  control::v1::CreateTokenResponse made = *plane_->CreateToken(request);
  EXPECT_EQ(made.server_spiffe_id(), "spiffe://cluster.local/capstan/control-plane");
  EXPECT_EQ(made.listen_address(), "ca.example:15012");
  EXPECT_EQ(made.roots_pem(), plane_->trust()->bundle.ToPem());
}

TEST_F(WithCaTest, ReservedAndForeignIdentitiesGetNothing) {
  for (const char* id :
       {"spiffe://cluster.local/capstan/control-plane", "spiffe://cluster.local/capstan/x",
        "spiffe://other/ns/default/sa/httpbin"}) {
    authn::Caller caller{*spiffe::SpiffeId::Parse(id)};
    EXPECT_EQ(plane_->Issue(caller, Request(NewCsr())).status().code(),
              absl::StatusCode::kPermissionDenied)
        << id;
  }
}

TEST_F(WithCaTest, BadCsrsAndTtls) {
  authn::Caller caller = *With(Join());
  EXPECT_EQ(plane_->Issue(caller, Request("garbage")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(plane_->Issue(caller, Request(NewCsr(), absl::Hours(2161))).status(),
                      absl::StatusCode::kInvalidArgument),
              HasSubstr("requested TTL 2161h0m0s is greater than the max allowed TTL 2160h0m0s"));
  EXPECT_THAT(metrics_->Text(),
              AllOf(HasSubstr("citadel_server_csr_sign_err_count{error=\"CSR_ERROR\"} 1"),
                    HasSubstr("citadel_server_csr_sign_err_count{error=\"TTL_ERROR\"} 1"),
                    HasSubstr("citadel_server_success_cert_issuance_count 1")));
}

TEST_F(WithCaTest, CertificatesOfARemovedRootAreNobodys) {
  std::vector<std::string> chain = Join();
  ASSERT_TRUE(plane_->Offer(b_.Set({a_.root.certificate, b_.root.certificate}), "directory").ok());
  EXPECT_TRUE(With(chain).ok());
  ASSERT_TRUE(plane_->Offer(b_.Set(), "directory").ok());
  EXPECT_EQ(With(chain).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(WithCaTest, UpdatesSayWhatChangedAndOnlyThat) {
  int calls = 0;
  auto subscription = plane_->Subscribe([&] { ++calls; });
  auto first = plane_->update();
  EXPECT_FALSE(first->has_renewal());
  ASSERT_TRUE(plane_->Offer(a_.Set({a_.root.certificate, b_.root.certificate}), "directory").ok());
  EXPECT_EQ(calls, 1);
  auto both = plane_->update();
  EXPECT_EQ(both->bundle().version().sequence(), first->bundle().version().sequence() + 1);
  EXPECT_EQ(both->issuer_epoch(), first->issuer_epoch());
  EXPECT_FALSE(both->has_renewal());  // a new root makes nobody re-sign
  ASSERT_TRUE(plane_->Offer(b_.Set({a_.root.certificate, b_.root.certificate}), "directory").ok());
  EXPECT_EQ(plane_->update()->renewal().authority_id(), b_.authority().id.hex());
  EXPECT_EQ(plane_->update()->bundle().version().sequence(), both->bundle().version().sequence());
  const int before = calls;
  subscription.reset();
  ASSERT_TRUE(plane_->Offer(b_.Set(), "directory").ok());
  EXPECT_EQ(calls, before);
}

TEST_F(WithCaTest, TheServingCertificatesGenerationFollowsIt) {
  auto first = plane_->serving();
  EXPECT_EQ(first->generation, 1);
  ASSERT_TRUE(plane_->Offer(b_.Set({a_.root.certificate, b_.root.certificate}), "directory").ok());
  EXPECT_EQ(plane_->serving()->generation, 1);
  ASSERT_TRUE(plane_->Offer(b_.Set(), "directory").ok());
  EXPECT_EQ(plane_->serving()->generation, 2);
  EXPECT_EQ(x509::ParsePemCertificates(plane_->serving()->chain_pem)->size(),
            2u);  // without the root
}

TEST_F(WithCaTest, TheFleetIsJudgedAndRemembered) {
  std::vector<std::string> chain = Join();
  authn::Caller caller = *With(chain);
  rpc::IssueResponse issued = *plane_->Issue(caller, Request(NewCsr()));
  const std::string serial = x509::ParsePemCertificates(issued.chain[0])->front().serial().ToHex();
  fleet::v1::Hello hello;
  hello.set_instance("instance-1");
  int64_t generation = *plane_->Connected(caller, hello);
  EXPECT_EQ(plane_->ListFleet().workloads(0).state(), "laggard");
  ASSERT_TRUE(
      plane_
          ->Reported(caller, "instance-1", generation, ReportWith(serial, a_.authority().id.hex()))
          .ok());
  EXPECT_EQ(plane_->ListFleet().workloads(0).state(), "acknowledged");
  EXPECT_EQ(plane_->GetStatus().connected_agents(), 1);
  EXPECT_EQ(plane_->GetStatus().population(), 1);

  ASSERT_TRUE(plane_->Offer(b_.Set({a_.root.certificate, b_.root.certificate}), "directory").ok());
  EXPECT_EQ(plane_->ListFleet().workloads(0).state(), "laggard");
  EXPECT_THAT(plane_->ListFleet().workloads(0).why(), HasSubstr("has not taken the bundle"));

  executor_.Advance(absl::Seconds(1));  // written behind
  Restart();
  control::v1::ListFleetResponse fleet = plane_->ListFleet();
  ASSERT_EQ(fleet.workloads_size(), 1);
  EXPECT_EQ(fleet.workloads(0).state(), "absent");
  EXPECT_EQ(fleet.workloads(0).leaf().serial(), serial);
  EXPECT_EQ(fleet.workloads(0).consumers(0).id(), "envoy-1");
  EXPECT_EQ(plane_->GetStatus().authorities_size(), 2);
}

TEST_F(WithCaTest, StreamsNeedACertificateAndTheLatestGeneration) {
  authn::Caller by_token = *With(NewToken());
  fleet::v1::Hello hello;
  hello.set_instance("i");
  EXPECT_EQ(plane_->Connected(by_token, hello).status().code(), absl::StatusCode::kUnauthenticated);
  authn::Caller caller = *With(Join());
  int64_t old = *plane_->Connected(caller, hello);
  int64_t current = *plane_->Connected(caller, hello);
  EXPECT_EQ(plane_->Reported(caller, "i", old, {}).code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(plane_->Reported(caller, "i", current, {}).ok());
  plane_->Disconnected(caller, "i", current);
  EXPECT_EQ(plane_->GetStatus().connected_agents(), 0);
}

TEST_F(WithCaTest, AWriteBehindThatFailsIsRepeated) {
  std::vector<std::string> chain = Join();
  FaultyStore faulty(store_);
  auto plane = NewPlane(faulty);
  ASSERT_TRUE(plane->Start().ok());
  authn::Caller caller = *With(chain);
  rpc::IssueRequest request = Request(NewCsr());
  request.instance = "another";
  ASSERT_TRUE(plane->Issue(caller, request).ok());
  faulty.Arm(FaultyStore::Fault::kRefuseOnce, 1);
  executor_.Advance(absl::Milliseconds(300));
  EXPECT_THAT(*store_.LoadPopulation(), SizeIs(1));
  executor_.Advance(absl::Seconds(3));
  EXPECT_THAT(*store_.LoadPopulation(), SizeIs(2));
}

TEST_F(WithCaTest, TheSourcesTroubleIsShownUntilItIsOver) {
  plane_->SourceFailed(absl::InvalidArgumentError("ca-key.pem is empty"));
  control::v1::Status status = plane_->GetStatus();
  EXPECT_EQ(status.source().error(), "ca-key.pem is empty");
  EXPECT_EQ(status.source().error_since().seconds(), absl::ToUnixSeconds(TestNow()));
  EXPECT_EQ(status.source().path(), "/etc/cacerts");
  EXPECT_THAT(metrics_->Text(), HasSubstr("capstan_source_ok 0"));
  EXPECT_TRUE(
      plane_->Issue(*With(Join()), Request(NewCsr())).ok());  // the last good CA keeps signing
  ASSERT_TRUE(plane_->Offer(a_.Set(), "directory").ok());
  EXPECT_EQ(plane_->GetStatus().source().error(), "");
  EXPECT_THAT(metrics_->Text(), HasSubstr("capstan_source_ok 1"));
}

}  // namespace
}  // namespace capstan::server
