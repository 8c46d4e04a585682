// SPDX-License-Identifier: Apache-2.0
// Rotations that begin by themselves, through the whole control plane but for the network.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "authn/caller.h"
#include "base/executor.h"
#include "base/random.h"
#include "base/strings.h"
#include "server/built_in_ca.h"
#include "server/control_plane.h"
#include "store/faulty_store.h"
#include "store/memory_store.h"
#include "trust/testing.h"
#include "x509/csr.h"

namespace capstan::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using trust::testing::TestNow;
using trust::testing::TestPki;

constexpr absl::Duration kRootLife = absl::Hours(1000);

// A control plane with a CA of its own and without workloads: every gate opens after its soak.
class ControlPlaneTimerTest : public ::testing::Test {
 protected:
  void Begin(rotation::TimerPolicy policy) {
    policy_ = std::move(policy);
    Restart();
    const trust::CaSet set = *MakeBuiltInCa(Domain(), x509::KeyType::kEcdsaP256, kRootLife,
                                            SystemRandom(), clock_.Now());
    ASSERT_TRUE(plane_->Offer(set, {.source = "built-in"}).ok());
  }
  void Restart() {
    executor_.DropAll();
    plane_.reset();
    store_ = std::make_unique<store::FaultyStore>(*memory_);
    metrics_ = std::make_unique<Metrics>();
    TrustKeeperOptions keeper{
        .serving_names = NamesFor(Domain(), "127.0.0.1:15012", "127.0.0.1:15012", {}),
        .rotation = {.soak = absl::Seconds(1)},
        .keep_root_keys = policy_.intermediate_at > 0};
    plane_ = std::make_unique<ControlPlane>(
        ControlPlaneOptions{.trust_domain = Domain(),
                            .keeper = keeper,
                            .listen_address = "127.0.0.1:15012",
                            .advertise_address = "ca.example:15012",
                            .generated_ttl = kRootLife,
                            .timer = policy_},
        *store_,
        *keystore::SealedKeys::Open(seal_key_, keystore::SealedKeys::IfMissing::kCreate,
                                    SystemRandom()),
        clock_, SystemRandom(), executor_, *metrics_);
    ASSERT_TRUE(plane_->Start().ok());
  }
  static spiffe::TrustDomain Domain() { return *spiffe::TrustDomain::Parse("cluster.local"); }

  void Pass(absl::Duration d) {
    clock_.Advance(d);
    executor_.Advance(absl::Seconds(2));
  }
  // Until a rotation that runs has ended.
  void Settle() {
    for (int i = 0; i < 20; ++i) executor_.Advance(absl::Seconds(1));
  }
  // To a moment shortly before what is on the timer is due; what happens once a minute has
  // happened.
  void PassToTheEve() {
    Settle();
    const absl::Time due = absl::FromUnixSeconds(Said().due().seconds());
    clock_.Advance(due - clock_.Now() - absl::Seconds(10));
    executor_.Advance(absl::Seconds(5));
  }
  int64_t Rotations() { return plane_->GetRotation()->number(); }
  control::v1::RotationTimer Said() { return plane_->GetRotation()->timer(); }
  trust::Authority Issuer() {
    return plane_->keeper().situation()->authorities.at(plane_->trust()->issuer).authority;
  }

  rotation::TimerPolicy policy_;
  FakeClock clock_{TestNow()};
  ManualExecutor executor_{clock_};
  const std::string seal_key_ = absl::StrCat(::testing::TempDir(), "/seal-", SystemRandom().Uuid());
  std::unique_ptr<store::MemoryStore> memory_ = std::make_unique<store::MemoryStore>("lineage");
  std::unique_ptr<store::FaultyStore> store_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<ControlPlane> plane_;
};

TEST_F(ControlPlaneTimerTest, IntermediatesFollowEachOtherUnderARootWhoseKeyIsKept) {
  Begin({.intermediate_at = 0.5, .intermediate_ttl = absl::Hours(200)});
  const x509::Certificate root = Issuer().root;
  Settle();
  EXPECT_EQ(Rotations(), 0);
  EXPECT_EQ(Said().action(), "none");
  for (int number = 1; number <= 3; ++number) {
    SCOPED_TRACE(number);
    Pass(absl::Hours(101));
    Settle();
    EXPECT_EQ(Rotations(), number);
    EXPECT_EQ(plane_->GetRotation()->state(), "done");
    EXPECT_EQ(plane_->GetRotation()->source(), "timer");
    EXPECT_EQ(Issuer().root, root);
    ASSERT_EQ(Issuer().intermediates.size(), 1u);
    EXPECT_LE(Issuer().certificate.not_after() - clock_.Now(), absl::Hours(200));
    Restart();
    Settle();
    EXPECT_EQ(Rotations(), number);
  }
  EXPECT_THAT(metrics_->Text(), HasSubstr("capstan_rotation_timer_due_timestamp_seconds{"));
}

TEST_F(ControlPlaneTimerTest, ARootIsFollowedByAnother) {
  Begin({.root_at = 0.66});
  const x509::Certificate root = Issuer().root;
  Pass(absl::Hours(659));
  EXPECT_EQ(Rotations(), 0);
  Pass(absl::Hours(1));
  Settle();
  EXPECT_EQ(Rotations(), 1);
  EXPECT_FALSE(Issuer().root == root);
  EXPECT_FALSE(plane_->trust()->bundle.Contains(root));
}

TEST_F(ControlPlaneTimerTest, ACrashWhileItRunsDoesNotBeginAnother) {
  Begin({.root_at = 0.66});
  clock_.Advance(absl::Hours(700));
  executor_.Advance(absl::Milliseconds(1100));
  ASSERT_EQ(Rotations(), 1);
  ASSERT_EQ(plane_->GetRotation()->state(), "running");
  for (int i = 0; i < 3; ++i) {
    Restart();
    executor_.Advance(absl::Milliseconds(1100));
  }
  Settle();
  EXPECT_EQ(Rotations(), 1);
  EXPECT_EQ(plane_->keeper().situation()->authorities.size(), 2u);
}

TEST_F(ControlPlaneTimerTest, AtWhicheverWriteItDiesThereIsOneRotation) {
  using Fault = store::FaultyStore::Fault;
  for (Fault fault : {Fault::kCrashBefore, Fault::kCrashAfter}) {
    int died = 0;
    for (bool dies = true; dies;) {
      SCOPED_TRACE(absl::StrCat(static_cast<int>(fault), ", write ", died + 1));
      memory_ = std::make_unique<store::MemoryStore>("lineage");
      Begin({.root_at = 0.66});
      PassToTheEve();
      store_->Arm(fault, died + 1);
      executor_.Advance(absl::Seconds(30));
      dies = store_->dead();
      died += dies ? 1 : 0;
      Restart();
      Settle();
      EXPECT_EQ(Rotations(), 1);
      EXPECT_EQ(plane_->GetRotation()->state(), "done");
      EXPECT_EQ(plane_->keeper().situation()->authorities.size(), 2u);
    }
    EXPECT_GE(died, 5);  // the wish, four steps, the end
  }
}

TEST_F(ControlPlaneTimerTest, WhatFailsIsTriedAgainLaterAndSaysSo) {
  Begin({.root_at = 0.66});
  PassToTheEve();
  store_->Arm(store::FaultyStore::Fault::kRefuseOnce, 1);
  executor_.Advance(absl::Seconds(20));
  EXPECT_EQ(Rotations(), 0);
  EXPECT_EQ(Said().action(), "wait");
  EXPECT_EQ(Said().failures(), 1);
  EXPECT_THAT(Said().why(), HasSubstr("the next try is later"));
  EXPECT_THAT(metrics_->Text(), HasSubstr("capstan_rotation_timer_failures_total 1"));
  executor_.Advance(absl::Minutes(1));
  Settle();
  EXPECT_EQ(Rotations(), 1);
  EXPECT_EQ(plane_->keeper().situation()->authorities.size(), 2u);
}

TEST_F(ControlPlaneTimerTest, WhatWasTurnedBackIsOnlyAnnounced) {
  Begin({.root_at = 0.66});
  PassToTheEve();
  for (int i = 0; i < 100 && Rotations() == 0; ++i) executor_.Advance(absl::Milliseconds(100));
  ASSERT_TRUE(plane_->keeper().Steer(Steering::kAbort, "not today").ok());
  Settle();
  ASSERT_EQ(plane_->GetRotation()->state(), "aborted");
  Restart();
  Settle();
  EXPECT_EQ(Rotations(), 1);
  EXPECT_EQ(Said().action(), "announce");
  EXPECT_THAT(Said().why(), HasSubstr("rotation 1 was turned back"));
  EXPECT_EQ(Said().command(), "capstan rotate start --generate");
  EXPECT_THAT(metrics_->Text(), HasSubstr("capstan_rotation_timer_announced{target=\"root\"} 1"));
  // By hand it goes, and the timer is at peace.
  control::v1::StartRotationRequest request;
  request.set_generate(true);
  ASSERT_TRUE(plane_->StartRotation(request).ok());
  Settle();
  EXPECT_EQ(Said().action(), "none");
  EXPECT_THAT(metrics_->Text(), Not(HasSubstr("capstan_rotation_timer_announced{")));
}

TEST_F(ControlPlaneTimerTest, ItAnnouncesWhereThatIsAllItMay) {
  Begin({.mode = rotation::TimerMode::kAnnounce, .root_at = 0.66});
  Pass(absl::Hours(700));
  Settle();
  EXPECT_EQ(Rotations(), 0);
  EXPECT_EQ(Said().action(), "announce");
  EXPECT_EQ(plane_->GetStatus().rotation_timer().action(), "announce");
}

TEST_F(ControlPlaneTimerTest, ItWaitsForItsWindow) {
  // TestNow() + 700 h is Tuesday 2025-06-10, 20:48.
  Begin({.root_at = 0.66, .windows = *rotation::ParseMaintenanceWindows("Wed 02:00-03:00 UTC")});
  Pass(absl::Hours(700));
  EXPECT_EQ(Rotations(), 0);
  EXPECT_EQ(Said().action(), "wait");
  Pass(absl::Hours(5) + absl::Minutes(30));
  EXPECT_EQ(Rotations(), 1);
}

TEST_F(ControlPlaneTimerTest, ByAClockThatNobodyConfirmsNothingBegins) {
  Begin({.root_at = 0.66});
  const authn::Caller caller{*spiffe::SpiffeId::Parse("spiffe://cluster.local/ns/a/sa/b")};
  const x509::PrivateKey key = *x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256);
  ASSERT_TRUE(
      plane_->Issue(caller, {x509::Csr::Create(key, {}, {})->ToPem(), {}, "i1", false}).ok());
  clock_.StepWallClock(absl::Hours(700));
  executor_.Advance(absl::Seconds(10));
  EXPECT_EQ(Rotations(), 0);
  EXPECT_EQ(Said().action(), "wait");
  EXPECT_THAT(Said().why(), HasSubstr("clock is not confirmed"));
  clock_.StepWallClock(-absl::Hours(700));
  executor_.Advance(absl::Seconds(2));
  EXPECT_EQ(Said().action(), "none");
}

TEST_F(ControlPlaneTimerTest, ItsOwnCertificateOfAClockThatWasAheadIsMadeAnew) {
  Begin({});
  clock_.StepWallClock(absl::Hours(24 * 7));
  executor_.Advance(absl::Seconds(2));
  ASSERT_GT(plane_->keeper().serving()->leaf.not_before(), TestNow() + absl::Hours(24));
  clock_.StepWallClock(-absl::Hours(24 * 7));
  executor_.Advance(absl::Seconds(2));
  EXPECT_LE(plane_->keeper().serving()->leaf.not_before(), clock_.Now());
}

TEST_F(ControlPlaneTimerTest, WithoutTheRootsKeyAnIntermediateIsOnlyAnnounced) {
  policy_ = {.intermediate_at = 0.1};
  Restart();
  trust::testing::TestCa root = trust::testing::MakeRoot();
  TestPki pki{root, trust::testing::MakeIntermediate(
                        root, {"Intermediate", "A", TestNow() - absl::Hours(24),
                               TestNow() + absl::Hours(100)})};
  ASSERT_TRUE(plane_->Offer(pki.Set({}), {.source = "managed"}).ok());
  Pass(absl::Hours(10));
  EXPECT_EQ(Rotations(), 0);
  EXPECT_EQ(Said().action(), "announce");
  EXPECT_THAT(Said().command(), HasSubstr("--to NEW_CA"));
}

TEST_F(ControlPlaneTimerTest, AnExpiredRootStopsIssuanceLoudly) {
  Begin({});
  const authn::Caller caller{*spiffe::SpiffeId::Parse("spiffe://cluster.local/ns/a/sa/b")};
  const x509::PrivateKey key = *x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256);
  const rpc::IssueRequest request{x509::Csr::Create(key, {}, {})->ToPem(), {}, "i1", false};
  Pass(absl::Hours(1));
  ASSERT_TRUE(plane_->Issue(caller, request).ok());
  EXPECT_THAT(metrics_->Text(), HasSubstr("capstan_issuance_stopped 0"));
  EXPECT_EQ(plane_->issuance_error(), "");
  Pass(kRootLife);
  EXPECT_THAT(std::string(plane_->Issue(caller, request).status().message()),
              HasSubstr("has expired"));
  EXPECT_THAT(metrics_->Text(), HasSubstr("capstan_issuance_stopped 1"));
  EXPECT_THAT(plane_->GetStatus().issuance_error(), HasSubstr("has expired"));
}

TEST_F(ControlPlaneTimerTest, EverythingThatEndsIsAMetric) {
  Begin({});
  const TestPki next = TestPki::Make("next");
  ASSERT_TRUE(plane_->Offer(next.Set({}), {.source = "managed"}).ok());
  executor_.Advance(absl::Milliseconds(1));
  const std::string text = metrics_->Text();
  const auto line = [](const std::string& what, const std::string& id) {
    return HasSubstr(
        absl::StrCat("capstan_expiry_timestamp_seconds{id=\"", id, "\",what=\"", what, "\"}"));
  };
  EXPECT_THAT(text, AllOf(line("root", next.root.certificate.FingerprintHex()),
                          line("intermediate", next.intermediate.certificate.FingerprintHex()),
                          line("authority", next.authority().id.hex()),
                          line("issuer", Issuer().id.hex()), line("serving", "serving")));
}

}  // namespace
}  // namespace capstan::server
