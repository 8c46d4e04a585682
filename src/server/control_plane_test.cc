// SPDX-License-Identifier: Apache-2.0
#include "server/control_plane.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/random.h"
#include "base/retry_after.h"
#include "base/strings.h"
#include "server/ca_directory.h"
#include "server/join_tokens.h"
#include "store/faulty_store.h"
#include "store/memory_store.h"
#include "trust/history.h"
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
    executor_.DropAll();
    plane_.reset();
    metrics_ = std::make_unique<Metrics>();
    plane_ = NewPlane(store_);
    ASSERT_TRUE(plane_->Start().ok());
  }

  std::unique_ptr<ControlPlane> NewPlane(store::Store& store) {
    spiffe::TrustDomain domain = *spiffe::TrustDomain::Parse("cluster.local");
    TrustKeeperOptions keeper{
        .serving_names = NamesFor(domain, "127.0.0.1:15012", "127.0.0.1:15012", {}),
        .rotation = policy_};
    return std::make_unique<ControlPlane>(
        ControlPlaneOptions{domain,
                            keeper,
                            "127.0.0.1:15012",
                            "ca.example:15012",
                            std::make_shared<CaDirectory>("/etc/cacerts"),
                            {},
                            x509::KeyType::kEcdsaP256,
                            absl::Hours(87600),
                            budget_,
                            rejoin_grace_},
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

  rotation::Policy policy_{.immediate = true};
  double budget_ = 0;  // certificates per second, of the next plane
  absl::Duration rejoin_grace_ = absl::ZeroDuration();
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
  WithCaTest() { EXPECT_TRUE(plane_->Offer(a_.Set(), {.source = "directory"}).ok()); }
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
  ASSERT_TRUE(
      plane_->Offer(b_.Set({a_.root.certificate, b_.root.certificate}), {.source = "directory"})
          .ok());
  EXPECT_TRUE(With(chain).ok());
  ASSERT_TRUE(plane_->Offer(b_.Set(), {.source = "directory"}).ok());
  EXPECT_EQ(With(chain).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(WithCaTest, UpdatesSayWhatChangedAndOnlyThat) {
  int calls = 0;
  auto subscription = plane_->Subscribe([&] { ++calls; });
  auto first = plane_->update();
  EXPECT_FALSE(first->has_renewal());
  ASSERT_TRUE(
      plane_->Offer(a_.Set({a_.root.certificate, b_.root.certificate}), {.source = "directory"})
          .ok());
  EXPECT_EQ(calls, 1);
  auto both = plane_->update();
  EXPECT_EQ(both->bundle().version().sequence(), first->bundle().version().sequence() + 1);
  EXPECT_EQ(both->issuer_epoch(), first->issuer_epoch());
  EXPECT_FALSE(both->has_renewal());  // a new root makes nobody re-sign
  ASSERT_TRUE(
      plane_->Offer(b_.Set({a_.root.certificate, b_.root.certificate}), {.source = "directory"})
          .ok());
  EXPECT_EQ(plane_->update()->renewal().authority_id(), b_.authority().id.hex());
  EXPECT_EQ(plane_->update()->bundle().version().sequence(), both->bundle().version().sequence());
  const int before = calls;
  subscription.reset();
  ASSERT_TRUE(plane_->Offer(b_.Set(), {.source = "directory"}).ok());
  EXPECT_EQ(calls, before);
}

TEST_F(WithCaTest, ReissueIsPublishedAsAPlanAndPlannedAnewForTheRestAfterARestart) {
  budget_ = 4;
  Restart();
  const std::vector<std::string> chain = Join();
  executor_.Advance(absl::Seconds(1));  // written behind
  ASSERT_TRUE(
      plane_->Offer(b_.Set({a_.root.certificate, b_.root.certificate}), {.source = "directory"})
          .ok());
  const fleet::v1::Renewal planned = plane_->update()->renewal();
  EXPECT_EQ(planned.start().seconds(), absl::ToUnixSeconds(clock_.Now()));
  EXPECT_EQ(planned.window().nanos(), 250'000'000);  // one leaf
  EXPECT_EQ(planned.expiry_bounds_size(), 1);
  clock_.Advance(absl::Seconds(10));
  Restart();
  const fleet::v1::Renewal again = plane_->update()->renewal();
  EXPECT_EQ(again.start().seconds(), absl::ToUnixSeconds(clock_.Now()));
  EXPECT_EQ(again.window().nanos(), 250'000'000);
  ASSERT_TRUE(plane_->Issue(*With(chain), Request(NewCsr())).ok());
  executor_.Advance(absl::Seconds(1));
  Restart();
  EXPECT_TRUE(plane_->update()->has_renewal());
  EXPECT_FALSE(plane_->update()->renewal().has_window()) << "nothing is left to replace";
}

TEST_F(WithCaTest, WhatACrashMayHaveLostIsNotedAsSoonAsTheStoreTakesIt) {
  const std::vector<std::string> chain = Join();
  EXPECT_TRUE(store_.Load()->unwritten.empty()) << "who joins is on record before the answer";
  ASSERT_TRUE(plane_->Issue(*With(chain), Request(NewCsr())).ok());
  ASSERT_EQ(store_.Load()->unwritten.size(), 1u);
  executor_.DropAll();
  plane_.reset();
  metrics_ = std::make_unique<Metrics>();
  FaultyStore faulty(store_);
  faulty.Arm(FaultyStore::Fault::kRefuseOnce, 1);
  plane_ = NewPlane(faulty);
  ASSERT_TRUE(plane_->Start().ok()) << "it serves all the same";
  EXPECT_EQ(store_.Load()->unwritten.size(), 1u);
  executor_.Advance(absl::Seconds(2));
  ASSERT_EQ(store_.Load()->unseen.size(), 1u);
  EXPECT_EQ(store_.Load()->unseen[0].signer, absl::StrCat("authority:", a_.authority().id.hex()));
  executor_.DropAll();
  plane_.reset();
}

TEST_F(WithCaTest, OverTheBudgetTheOrdinaryAreToldWhenToComeBack) {
  budget_ = 4;
  Restart();
  const authn::Caller caller = *With(Join());
  rpc::IssueRequest request = Request(NewCsr());
  absl::StatusOr<rpc::IssueResponse> issued;
  for (int i = 0; i < 5; ++i) {
    issued = plane_->Issue(caller, request);
    if (!issued.ok()) break;
    request.replaces = x509::ParsePemCertificates(issued->chain[0])->front().serial().ToHex();
  }
  EXPECT_EQ(issued.status().code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(RetryAfterOf(issued.status()).has_value());
  EXPECT_EQ(*RetryAfterOf(issued.status()), absl::Milliseconds(250));
  EXPECT_THAT(metrics_->Text(), HasSubstr("capstan_issue_put_off_total{urgency=\"ordinary\"} 1"));
  EXPECT_THAT(metrics_->Text(), ::testing::Not(HasSubstr("CA_NOT_READY")));
  clock_.Advance(absl::Milliseconds(500));
  EXPECT_TRUE(plane_->Issue(caller, request).ok());
  // A request that is refused anyway costs nobody a place.
  EXPECT_EQ(plane_->Issue(caller, Request(NewCsr(), absl::Hours(2161))).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(WithCaTest, TheServingCertificatesGenerationFollowsIt) {
  auto first = plane_->serving();
  EXPECT_EQ(first->generation, 1);
  ASSERT_TRUE(
      plane_->Offer(b_.Set({a_.root.certificate, b_.root.certificate}), {.source = "directory"})
          .ok());
  EXPECT_EQ(plane_->serving()->generation, 1);
  ASSERT_TRUE(plane_->Offer(b_.Set(), {.source = "directory"}).ok());
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

  ASSERT_TRUE(
      plane_->Offer(b_.Set({a_.root.certificate, b_.root.certificate}), {.source = "directory"})
          .ok());
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

class ProbeTest : public WithCaTest {
 protected:
  // A plane whose store refuses the n-th write of the walk to B: it rests in the phase before.
  std::unique_ptr<ControlPlane> StoppedAt(FaultyStore& faulty, int write) {
    auto plane = NewPlane(faulty);
    EXPECT_TRUE(plane->Start().ok());
    executor_.RunDue();
    faulty.Arm(FaultyStore::Fault::kRefuseOnce, write);
    EXPECT_FALSE(plane->Offer(b_.Set(), {.source = "directory"}).ok());
    executor_.RunDue();
    return plane;
  }
  std::vector<std::string> Accepted() {
    return {plane_->update()->probing().accepted_authority_ids().begin(),
            plane_->update()->probing().accepted_authority_ids().end()};
  }
  std::vector<std::string> Refused() {
    return {plane_->update()->probing().refused_authority_ids().begin(),
            plane_->update()->probing().refused_authority_ids().end()};
  }
};

// Where the walk to B rests at its gates.
class GatedProbeTest : public ProbeTest {
 protected:
  GatedProbeTest() {
    policy_ = {.soak = absl::Seconds(10)};
    Restart();
  }
};

TEST_F(GatedProbeTest, UpdatesSayWhatIsToBeTried) {
  executor_.RunDue();
  EXPECT_FALSE(plane_->update()->has_probing());
  int calls = 0;
  auto subscription = plane_->Subscribe([&] { ++calls; });
  ASSERT_TRUE(plane_->Offer(b_.Set(), {.source = "directory"}).ok());
  const int before = calls;
  executor_.RunDue();
  EXPECT_EQ(calls, before + 1);
  EXPECT_THAT(Accepted(), ::testing::ElementsAre(a_.authority().id.hex(), b_.authority().id.hex()));
  EXPECT_TRUE(Refused().empty());
  executor_.Advance(absl::Seconds(2));
  EXPECT_EQ(calls, before + 1);
  // The new issuer is the control from then on, and with the end of the rotation nothing is tried.
  executor_.Advance(policy_.soak);
  EXPECT_THAT(Accepted(), ::testing::ElementsAre(b_.authority().id.hex(), a_.authority().id.hex()));
  executor_.Advance(policy_.soak);
  EXPECT_FALSE(plane_->update()->has_probing());
}

TEST_F(GatedProbeTest, ACertificateIsOfTheProbedAuthorityForClientsAndMinutes) {
  const authn::Caller caller = *With(Join());
  const std::string b = b_.authority().id.hex();
  EXPECT_THAT(Message(plane_->IssueProbe(caller, NewCsr(), b).status(),
                      absl::StatusCode::kFailedPrecondition),
              HasSubstr("is not probed now; those that are: none"));
  ASSERT_TRUE(plane_->Offer(b_.Set(), {.source = "directory"}).ok());
  executor_.RunDue();
  const auto records = *store_.LoadPopulation();
  const auto chain = plane_->IssueProbe(caller, NewCsr(), b);
  ASSERT_TRUE(chain.ok()) << chain.status();
  ASSERT_THAT(*chain, SizeIs(2));  // leaf and intermediate, without the root
  const x509::Certificate leaf = x509::ParsePemCertificates((*chain)[0])->front();
  EXPECT_EQ(leaf.SpiffeId()->ToString(), "spiffe://cluster.local/capstan/probe");
  EXPECT_THAT(leaf.extended_key_usage(), ::testing::ElementsAre("clientAuth"));
  EXPECT_EQ(leaf.not_after(), clock_.Now() + absl::Minutes(5));
  EXPECT_TRUE(leaf.IsSignedBy(b_.intermediate.certificate.public_key()));
  EXPECT_EQ(store_.LoadPopulation()->size(), records.size()) << "it is of no workload";
  // It is good for no call.
  std::vector<std::string> shown = *chain;
  shown.push_back(b_.root.certificate.ToPem());
  EXPECT_THAT(Message(With(shown).status(), absl::StatusCode::kUnauthenticated),
              HasSubstr("reserved"));
}

TEST_F(ProbeTest, BothAuthoritiesSignWhileBothAreTrusted) {
  const authn::Caller caller = *With(Join());
  const std::string a = a_.authority().id.hex();
  const std::string b = b_.authority().id.hex();
  // Before the new issuer's step, and before the old root's: the control comes first.
  for (const auto& [write, expected] :
       {std::pair(3, std::vector{a, b}), std::pair(4, std::vector{b, a})}) {
    store::MemoryStore copy("lineage");
    FaultyStore faulty(copy);
    {
      auto first = NewPlane(copy);
      ASSERT_TRUE(first->Start().ok());
      ASSERT_TRUE(first->Offer(a_.Set(), {.source = "directory"}).ok());
      executor_.RunDue();
    }
    auto plane = StoppedAt(faulty, write);
    const auto& accepted = plane->update()->probing().accepted_authority_ids();
    EXPECT_THAT(std::vector<std::string>(accepted.begin(), accepted.end()), expected);
    EXPECT_EQ(plane->update()->probing().refused_authority_ids_size(), 0);
    for (const std::string& id : expected) {
      const auto chain = plane->IssueProbe(caller, NewCsr(), id);
      ASSERT_TRUE(chain.ok()) << chain.status();
      EXPECT_EQ(trust::AuthorityId::Of(x509::ParsePemCertificates((*chain)[1])->front()).hex(), id);
    }
  }
}

TEST_F(ProbeTest, NobodyObtainsItAnotherWay) {
  const std::string id = "spiffe://cluster.local/capstan/probe";
  control::v1::CreateTokenRequest token;
  token.set_spiffe_id(id);
  EXPECT_EQ(plane_->CreateToken(token).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(plane_->Issue({*spiffe::SpiffeId::Parse(id)}, Request(NewCsr())).status().code(),
            absl::StatusCode::kPermissionDenied);
}

TEST_F(GatedProbeTest, CallersAndRequestsAreChecked) {
  ASSERT_TRUE(plane_->Offer(b_.Set(), {.source = "directory"}).ok());
  executor_.RunDue();
  const std::string b = b_.authority().id.hex();
  EXPECT_THAT(Message(plane_->IssueProbe(*With(NewToken()), NewCsr(), b).status(),
                      absl::StatusCode::kPermissionDenied),
              HasSubstr("needs a client certificate"));
  const authn::Caller caller = *With(Join());
  EXPECT_EQ(plane_->IssueProbe(caller, "garbage", b).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(plane_->IssueProbe(caller, NewCsr(), "no id").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(plane_->IssueProbe(caller, NewCsr(), "00ff").status().code(),
            absl::StatusCode::kFailedPrecondition);
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
  ASSERT_TRUE(plane_->Offer(a_.Set(), {.source = "directory"}).ok());
  EXPECT_EQ(plane_->GetStatus().source().error(), "");
  EXPECT_THAT(metrics_->Text(), HasSubstr("capstan_source_ok 1"));
}

TEST_F(WithCaTest, IstiodsTroubleIsShownUntilItIsOver) {
  EXPECT_FALSE(plane_->GetStatus().has_istiod());
  plane_->NoteIstiod("istiod.example:15012", absl::NotFoundError("there is no such Secret"));
  clock_.Advance(absl::Minutes(1));
  plane_->NoteIstiod("istiod.example:15012", absl::NotFoundError("it may not be patched"));
  const control::v1::Istiod istiod = plane_->GetStatus().istiod();
  EXPECT_EQ(istiod.address(), "istiod.example:15012");
  EXPECT_EQ(istiod.error(), "it may not be patched");
  EXPECT_EQ(istiod.error_since().seconds(), absl::ToUnixSeconds(TestNow())) << "since the first";
  plane_->NoteIstiod("istiod.example:15012", absl::OkStatus());
  EXPECT_TRUE(plane_->GetStatus().has_istiod());
  EXPECT_EQ(plane_->GetStatus().istiod().error(), "");
  EXPECT_FALSE(plane_->GetStatus().istiod().has_error_since());
}

// The trust history, and who comes back by it.
class RejoinTest : public WithCaTest {
 protected:
  rpc::IssueRequest ForAgent(const std::string& instance = "instance-1") {
    return {NewCsr(), absl::Hours(1), instance, true};
  }
  // An agent's credential, for an hour.
  std::vector<std::string> JoinAsAgent() {
    return plane_->Issue(*With(NewToken()), ForAgent())->chain;
  }
  authn::Credentials Shown(const std::vector<std::string>& chain) {
    authn::Credentials shown;
    for (size_t i = 0; i + 1 < chain.size(); ++i) {
      shown.peer_chain.push_back(x509::ParsePemCertificates(chain[i])->front());
    }
    return shown;
  }
  absl::StatusOr<rpc::IssueResponse> Renew(const std::vector<std::string>& chain,
                                           const std::string& instance = "instance-1") {
    absl::StatusOr<authn::Caller> caller = plane_->AuthenticateForCredential(Shown(chain));
    if (!caller.ok()) return caller.status();
    return plane_->Issue(*caller, ForAgent(instance));
  }
  void WithGrace(absl::Duration grace) {
    rejoin_grace_ = grace;
    Restart();
  }
};

TEST_F(RejoinTest, EveryVersionButTheFirstIsALinkFromTheOneBefore) {
  const trust::TrustState first = *plane_->trust();
  ASSERT_TRUE(plane_->Offer(b_.Set(), {.source = "directory"}).ok());
  const TestPki c = TestPki::Make("intermediateC");
  ASSERT_TRUE(plane_->Offer(c.Set(), {.source = "directory"}).ok());
  const trust::TrustState last = *plane_->trust();
  const auto documents = plane_->TrustHistory(first.version);
  ASSERT_TRUE(documents.ok()) << documents.status();
  EXPECT_THAT(*documents, SizeIs(last.version.sequence - first.version.sequence));
  const auto links = trust::Follow(first.bundle, first.version, *documents,
                                   *spiffe::TrustDomain::Parse("cluster.local"));
  ASSERT_TRUE(links.ok()) << links.status();
  EXPECT_EQ(links->back().version, last.version);
  EXPECT_EQ(links->back().bundle, last.bundle);

  Restart();
  EXPECT_EQ(*plane_->TrustHistory(first.version), *documents);
  EXPECT_THAT(*plane_->TrustHistory(last.version), SizeIs(0));
  EXPECT_THAT(
      Message(plane_->TrustHistory({"other", 1}).status(), absl::StatusCode::kFailedPrecondition),
      HasSubstr("not other"));
  EXPECT_THAT(Message(plane_->TrustHistory({first.version.lineage, 99}).status(),
                      absl::StatusCode::kFailedPrecondition),
              HasSubstr("older than 99"));
  EXPECT_EQ(plane_->TrustHistory({}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RejoinTest, WithoutGraceAnExpiredCredentialIsRefused) {
  const std::vector<std::string> chain = JoinAsAgent();
  clock_.Advance(absl::Hours(1));
  EXPECT_THAT(Message(Renew(chain).status(), absl::StatusCode::kUnauthenticated),
              HasSubstr("expired at"));
}

TEST_F(RejoinTest, WithinTheGraceAnExpiredCredentialIsRenewedAndNothingElse) {
  WithGrace(absl::Hours(24));
  const std::vector<std::string> chain = JoinAsAgent();
  ASSERT_TRUE(plane_->Flush().ok());
  clock_.Advance(absl::Hours(24));
  Restart();  // remembers who may come back
  EXPECT_THAT(
      Message(plane_->Authenticate(Shown(chain)).status(), absl::StatusCode::kUnauthenticated),
      HasSubstr("expired at"))
      << "no trust stream, no workload certificate";
  const authn::Caller caller = *plane_->AuthenticateForCredential(Shown(chain));
  EXPECT_EQ(caller.proof, authn::Caller::Proof::kLapsedCertificate);
  EXPECT_THAT(Message(plane_->Issue(caller, Request(NewCsr())).status(),
                      absl::StatusCode::kPermissionDenied),
              HasSubstr("agent's own credential only"));
  fleet::v1::Hello hello;
  hello.set_instance("instance-1");
  EXPECT_FALSE(plane_->Connected(caller, hello).ok());

  EXPECT_THAT(Message(Renew(chain, "another").status(), absl::StatusCode::kPermissionDenied),
              HasSubstr("no instance \"another\""));
  const auto renewed = Renew(chain);
  ASSERT_TRUE(renewed.ok()) << renewed.status();
  EXPECT_TRUE(plane_->Authenticate(Shown(renewed->chain)).ok());
  EXPECT_TRUE(Renew(chain).ok()) << "an answer that was lost is asked for again";
  EXPECT_THAT(metrics_->Text(), HasSubstr("capstan_rejoins_total 2"));

  // Once somebody speaks for the instance the old certificate is good for nothing.
  ASSERT_TRUE(plane_->Connected(*plane_->Authenticate(Shown(renewed->chain)), hello).ok());
  EXPECT_THAT(Message(Renew(chain).status(), absl::StatusCode::kPermissionDenied),
              HasSubstr("connected with a newer certificate"));
  clock_.Advance(absl::Hours(2));
  EXPECT_THAT(Message(Renew(chain).status(), absl::StatusCode::kUnauthenticated),
              HasSubstr("longer ago than rejoin-grace"));
}

TEST_F(RejoinTest, ACredentialOfARootThatLeftIsRenewedUnderTheNewOne) {
  WithGrace(absl::Hours(1));
  const std::vector<std::string> chain = JoinAsAgent();
  ASSERT_TRUE(plane_->Offer(b_.Set(), {.source = "directory"}).ok());
  ASSERT_FALSE(plane_->trust()->bundle.Contains(a_.root.certificate));
  EXPECT_FALSE(plane_->Authenticate(Shown(chain)).ok());
  const auto renewed = Renew(chain);
  ASSERT_TRUE(renewed.ok()) << renewed.status();
  EXPECT_EQ(renewed->chain[1], b_.intermediate.certificate.ToPem());
}

TEST_F(RejoinTest, ARevokedAuthorityNeverComesBack) {
  WithGrace(absl::Hours(1));
  const std::vector<std::string> chain = JoinAsAgent();
  ASSERT_TRUE(plane_->Offer(b_.Set(), {.source = "directory"}).ok());
  const store::State state = *store_.Load();
  store::Change change{.expected = state.trust};
  for (store::AuthorityRecord record : state.authorities) {
    if (record.id != a_.authority().id.hex()) continue;
    record.state = trust::AuthorityState::kRevoked;
    change.authorities = {record};
  }
  ASSERT_TRUE(store_.Commit(change).ok());
  Restart();
  EXPECT_THAT(Message(Renew(chain).status(), absl::StatusCode::kUnauthenticated),
              HasSubstr("nor may it rejoin"));
  clock_.Advance(absl::Minutes(61));
  EXPECT_FALSE(Renew(chain).ok());
}

// Stock agents tell no time: without a witness no gate would ever open for them.
TEST_F(WithCaTest, AnotherClockIsAskedWhereNoAgentTellsItsOwn) {
  EXPECT_EQ(plane_->Observe({}, clock_.Now()).clock_offset, std::nullopt);
  plane_->set_clock_witness([] { return absl::Minutes(2); });
  rotation::Observation seen = plane_->Observe({}, clock_.Now());
  EXPECT_EQ(seen.clock_offset, absl::Minutes(2));
  EXPECT_THAT(rotation::ClockDoubt(seen, {}), HasSubstr("behind the API server's clock"));
}

}  // namespace
}  // namespace capstan::server
