// SPDX-License-Identifier: Apache-2.0
#include "server/control_plane.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/retry_after.h"
#include "base/strings.h"
#include "server/control_plane_fixture.h"
#include "server/join_tokens.h"
#include "store/faulty_store.h"
#include "x509/verify.h"

namespace capstan::server {
namespace {

using store::FaultyStore;
using ::testing::AllOf;
using testing::ControlPlaneTest;
using ::testing::HasSubstr;
using testing::kHttpbin;
using ::testing::SizeIs;
using testing::WithCaTest;
using trust::testing::TestNow;

TEST_F(ControlPlaneTest, WithoutACaEverybodyIsToldSo) {
  EXPECT_FALSE(plane_->has_ca());
  EXPECT_EQ(plane_->trust(), nullptr);
  EXPECT_THAT(Message(With(Secret("x")).status(), absl::StatusCode::kFailedPrecondition),
              HasSubstr("no CA yet"));
  EXPECT_EQ(plane_->ListFleet().workloads_size(), 0);
  EXPECT_EQ(plane_->GetStatus().authorities_size(), 0);
}

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
TEST_F(WithCaTest, AnotherClockIsAskedWhereNoAgentTellsItsOwn) {
  EXPECT_EQ(plane_->Observe({}, clock_.Now()).clock_offset, std::nullopt);
  plane_->set_clock_witness([] { return absl::Minutes(2); });
  rotation::Observation seen = plane_->Observe({}, clock_.Now());
  EXPECT_EQ(seen.clock_offset, absl::Minutes(2));
  EXPECT_THAT(rotation::ClockDoubt(seen, {}), HasSubstr("behind the API server's clock"));
}

}  // namespace
}  // namespace capstan::server
