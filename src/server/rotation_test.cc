// SPDX-License-Identifier: Apache-2.0
// Rotations through the whole control plane, but for the network: gates that follow what is
// reported.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "authn/caller.h"
#include "base/executor.h"
#include "base/random.h"
#include "base/strings.h"
#include "server/control_plane.h"
#include "server/observe.h"
#include "store/memory_store.h"
#include "trust/testing.h"
#include "x509/csr.h"

namespace capstan::server {
namespace {

using ::testing::HasSubstr;
using trust::Bundle;
using trust::testing::TestNow;
using trust::testing::TestPki;

// A workload as its agent tells of it; told to the plane as the trust stream would.
struct Agent {
  std::string id;
  std::string instance;
  authn::Caller caller;
  int64_t generation = 0;
  fleet::v1::Leaf leaf;
  fleet::v1::Leaf credential;
  fleet::v1::BundleVersion bundle;
  absl::Duration clock_ahead = absl::ZeroDuration();
  std::string nack;
  std::string leaf_nack;
  std::optional<int64_t> failed = std::nullopt;
  std::vector<fleet::v1::ProbeResult> probes = {};
};

// Tells what the test says, of the bundles that it was asked for.
class FakePlaces final : public cluster::BootstrapPlaces {
 public:
  std::vector<rotation::Holder> Lacking(const rotation::Gate& gate, absl::Duration) override {
    if (!gate.AsksForFirstTrust()) return {};
    asked_sequence = gate.bundle.sequence;
    return lacks_now() ? lacking : std::vector<rotation::Holder>();
  }
  void Lacks(const std::string& ns) {
    lacking.push_back(
        {rotation::Holder::Kind::kBootstrap, absl::StrCat("config-map:", ns), "it lacks it"});
  }
  std::vector<rotation::Holder> lacking;
  std::function<bool()> lacks_now = [] { return true; };
  int64_t asked_sequence = 0;
};

class RotationTest : public ::testing::Test {
 protected:
  RotationTest() { Restart(); }

  void Restart() {
    executor_.DropAll();
    plane_.reset();
    metrics_ = std::make_unique<Metrics>();
    spiffe::TrustDomain domain = *spiffe::TrustDomain::Parse("cluster.local");
    TrustKeeperOptions keeper{
        .serving_names = NamesFor(domain, "127.0.0.1:15012", "127.0.0.1:15012", {}),
        .rotation = {.soak = absl::Seconds(10)},
        .foreign_leaf_ttl = foreign_leaf_ttl_,
        .foreign_signers = foreign_signers_};
    plane_ = std::make_unique<ControlPlane>(
        ControlPlaneOptions{domain, keeper, "127.0.0.1:15012", "ca.example:15012", nullptr, {}},
        store_,
        *keystore::SealedKeys::Open(seal_key_, keystore::SealedKeys::IfMissing::kCreate,
                                    SystemRandom()),
        clock_, SystemRandom(), executor_, *metrics_);
    plane_->AddPlaces(places_);
    ASSERT_TRUE(plane_->Start().ok());
  }

  absl::StatusOr<Outcome> Offer(const TestPki& pki,
                                const std::vector<x509::Certificate>& roots = {}) {
    return plane_->Offer(pki.Set(roots), {.source = "managed"});
  }

  // Has the plane sign both certificates of an agent that stands for `name`.
  Agent Join(const std::string& name) {
    Agent agent{absl::StrCat("spiffe://cluster.local/ns/", name, "/sa/", name), "i1",
                authn::Caller{*spiffe::SpiffeId::Parse(
                    absl::StrCat("spiffe://cluster.local/ns/", name, "/sa/", name))}};
    Reissue(agent);
    Connect(agent);
    return agent;
  }
  void Reissue(Agent& agent) {
    for (bool for_agent : {true, false}) {
      const x509::PrivateKey key = *x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256);
      absl::StatusOr<rpc::IssueResponse> issued = plane_->Issue(
          agent.caller, {x509::Csr::Create(key, {}, {})->ToPem(), {}, "i1", for_agent});
      ASSERT_TRUE(issued.ok()) << issued.status();
      const x509::Certificate leaf = x509::ParsePemCertificates(issued->chain[0])->front();
      fleet::v1::Leaf& out = for_agent ? agent.credential : agent.leaf;
      out.set_serial(leaf.serial().ToHex());
      out.set_authority_id(absl::BytesToHexString(leaf.authority_key_id()));
      out.mutable_not_after()->set_seconds(absl::ToUnixSeconds(leaf.not_after()));
      agent.caller.certificate = leaf;
    }
  }
  void Connect(Agent& agent) {
    fleet::v1::Hello hello;
    hello.set_instance(agent.instance);
    agent.generation = *plane_->Connected(agent.caller, hello);
    Tell(agent);
  }
  // Takes the bundle of now, and tells that its Envoy did too.
  void Acknowledge(Agent& agent) {
    agent.bundle = plane_->update()->bundle().version();
    Tell(agent);
  }
  void Tell(const Agent& agent) {
    fleet::v1::Report report;
    *report.mutable_leaf() = agent.leaf;
    *report.mutable_credential() = agent.credential;
    *report.mutable_bundle() = agent.bundle;
    report.mutable_agent_time()->set_seconds(absl::ToUnixSeconds(clock_.Now() + agent.clock_ahead));
    fleet::v1::Consumer& envoy = *report.add_consumers();
    envoy.set_id("envoy-1");
    envoy.set_connected(true);
    *envoy.mutable_acknowledged_bundle() = agent.bundle;
    envoy.set_acknowledged_leaf_serial(agent.leaf.serial());
    if (agent.failed.has_value()) report.set_failed_verifications(*agent.failed);
    for (const fleet::v1::ProbeResult& probe : agent.probes) *report.add_probes() = probe;
    if (!agent.leaf_nack.empty()) {
      envoy.set_acknowledged_leaf_serial("");
      envoy.mutable_last_nack()->set_resource("default");
      envoy.mutable_last_nack()->set_message(agent.leaf_nack);
      envoy.mutable_last_nack()->mutable_at()->set_seconds(absl::ToUnixSeconds(clock_.Now()));
    }
    if (!agent.nack.empty()) {
      envoy.mutable_acknowledged_bundle()->set_sequence(0);
      envoy.clear_acknowledged_leaf_serial();
      envoy.mutable_last_nack()->set_resource("ROOTCA");
      envoy.mutable_last_nack()->set_message(agent.nack);
      envoy.mutable_last_nack()->mutable_at()->set_seconds(absl::ToUnixSeconds(clock_.Now()));
    }
    ASSERT_TRUE(plane_->Reported(agent.caller, agent.instance, agent.generation, report).ok());
  }

  // Time passes, with everybody telling as they do.
  void Pass(absl::Duration d, const std::vector<Agent*>& agents) {
    for (absl::Duration step = absl::ZeroDuration(); step < d; step += absl::Seconds(1)) {
      for (const Agent* agent : agents) Tell(*agent);
      executor_.Advance(absl::Seconds(1));
    }
  }
  RotationView View() { return *plane_->keeper().rotation(); }
  const x509::Certificate& RootOf(const TestPki& pki) { return pki.root.certificate; }

  absl::Duration foreign_leaf_ttl_ = absl::ZeroDuration();
  std::vector<ForeignSigner> foreign_signers_;
  FakePlaces places_;
  FakeClock clock_{TestNow()};
  ManualExecutor executor_{clock_};
  const std::string seal_key_ = absl::StrCat(::testing::TempDir(), "/seal-", SystemRandom().Uuid());
  store::MemoryStore store_{"lineage"};
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<ControlPlane> plane_;
  const TestPki a_ = TestPki::Make("intermediateA");
  const TestPki b_ = TestPki::Make("intermediateB");
};

TEST_F(RotationTest, InOneStrokeItWaitsForEverybodyAtEachGate) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Agent two = Join("two");
  Acknowledge(one);
  Acknowledge(two);
  absl::StatusOr<Outcome> outcome = Offer(b_);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->steps.size(), 1u);  // trust at once, the rest through gates
  EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(a_), RootOf(b_)}));
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  EXPECT_EQ(View().record.phase, "both-trusted");

  Acknowledge(one);
  Pass(absl::Seconds(30), {&one, &two});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  EXPECT_THAT(View().decision.gate.summary, HasSubstr(two.id));
  Acknowledge(two);
  Pass(absl::Seconds(9), {&one, &two});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);  // it soaks
  Pass(absl::Seconds(2), {&one, &two});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
  EXPECT_EQ(View().record.phase, "new-issuer");

  Reissue(one);
  Pass(absl::Seconds(30), {&one, &two});
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
  EXPECT_THAT(View().decision.gate.summary, HasSubstr(two.id));
  Reissue(two);
  Pass(absl::Seconds(12), {&one, &two});
  EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(b_)}));
  EXPECT_FALSE(View().record.finished());
  Acknowledge(one);
  Acknowledge(two);
  Pass(absl::Seconds(2), {&one, &two});
  EXPECT_TRUE(View().record.finished());
  EXPECT_EQ(View().record.outcome, "done");
  EXPECT_TRUE(View().exempt.empty());
}

TEST_F(RotationTest, TheAbsentHoldItAlsoAcrossARestartUntilTheyAreExcludedByName) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Agent away = Join("away");
  Acknowledge(one);
  plane_->Disconnected(away.caller, away.instance, away.generation);
  ASSERT_TRUE(Offer(b_).ok());
  executor_.Advance(absl::Seconds(1));  // the population is written behind
  Restart();
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  Connect(one);
  Acknowledge(one);
  Pass(absl::Seconds(30), {&one});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  ASSERT_EQ(View().decision.gate.holders.size(), 1u);
  EXPECT_EQ(View().decision.gate.holders[0].kind, rotation::Holder::Kind::kAbsent);
  EXPECT_EQ(View().decision.gate.holders[0].name, absl::StrCat(away.id, "#i1"));

  EXPECT_EQ(plane_->keeper().Exclude("spiffe://cluster.local/ns/x/sa/y", "gone").code(),
            absl::StatusCode::kNotFound);
  ASSERT_TRUE(plane_->keeper().Exclude(away.id, "decommissioned").ok());
  Pass(absl::Seconds(12), {&one});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
  ASSERT_EQ(View().exempt.size(), 1u);
  EXPECT_THAT(View().exempt[0].why, HasSubstr("decommissioned"));
  Restart();
  EXPECT_EQ(View().exempt.size(), 1u);  // for ever in the report
}

TEST_F(RotationTest, APatternPassesOverTheAbsentNowAndLaterAndNobodyWhoIsConnected) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Agent gone = Join("gone");
  Agent later = Join("later");
  Acknowledge(one);
  plane_->Disconnected(gone.caller, gone.instance, gone.generation);
  ASSERT_TRUE(Offer(b_).ok());
  Acknowledge(one);
  Pass(absl::Seconds(15), {&one});
  const std::string everybody = "spiffe://cluster.local/*";
  EXPECT_EQ(plane_->keeper().Exclude("*", "x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(
      std::string(plane_->keeper().Exclude("spiffe://cluster.local/*later*", "x").message()),
      HasSubstr("who is connected is excluded by name"));
  ASSERT_TRUE(plane_->keeper().Exclude(everybody, "the namespace is gone").ok());
  Pass(absl::Seconds(15), {&one});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id) << "the other one is connected, and lags";
  plane_->Disconnected(later.caller, later.instance, later.generation);
  Pass(absl::Seconds(15), {&one});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
  EXPECT_THAT(View().exempt, ::testing::SizeIs(3))
      << "the pattern, and each of those whom it let pass";
}

TEST_F(RotationTest, ANackHaltsItWithItsText) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Acknowledge(one);
  ASSERT_TRUE(Offer(b_).ok());
  one.nack = "Failed to load trusted CA certificates";
  Acknowledge(one);
  Pass(absl::Seconds(60), {&one});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  EXPECT_THAT(View().decision.gate.summary, HasSubstr("Failed to load trusted CA"));
}

TEST_F(RotationTest, ABundleThatIsRefusedIsLeftWithoutAskingWhoRefusedIt) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Acknowledge(one);
  ASSERT_TRUE(Offer(b_).ok());
  one.nack = "Failed to load trusted CA certificates";
  Acknowledge(one);
  Pass(absl::Seconds(12), {&one});
  ASSERT_TRUE(plane_->keeper().Steer(Steering::kRollback).ok());
  Pass(absl::Seconds(12), {&one});
  EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(a_)}));
  EXPECT_FALSE(View().record.finished());  // it has accepted nothing since
  one.nack.clear();
  Acknowledge(one);
  Pass(absl::Seconds(2), {&one});
  EXPECT_EQ(View().record.outcome, "rolled-back");
  EXPECT_TRUE(View().record.finished());
}

TEST_F(RotationTest, FromEachPhaseThereIsAWayBackAndTheContentIsRefusedFromThenOn) {
  for (const char* phase : {"both-trusted", "new-issuer"}) {
    SCOPED_TRACE(phase);
    ASSERT_TRUE(Offer(a_).ok());
    Agent one = Join(phase);
    Acknowledge(one);
    const TestPki next = TestPki::Make(phase);
    ASSERT_TRUE(Offer(next).ok());
    if (std::string(phase) == "new-issuer") {
      Acknowledge(one);
      Pass(absl::Seconds(12), {&one});
      ASSERT_EQ(plane_->trust()->issuer, next.authority().id);
      Reissue(one);
      EXPECT_FALSE(plane_->keeper().Steer(Steering::kAbort).ok());
    }
    ASSERT_TRUE(plane_->keeper().Steer(Steering::kRollback).ok());
    EXPECT_FALSE(plane_->keeper().Steer(Steering::kRollback).ok());
    EXPECT_EQ(Offer(next).status().code(), absl::StatusCode::kFailedPrecondition);
    executor_.Advance(absl::Seconds(1));  // its leaf is written behind
    Restart();
    Connect(one);
    for (int i = 0; i < 4; ++i) {
      Acknowledge(one);
      Pass(absl::Seconds(12), {&one});
      if (one.leaf.authority_id() != plane_->trust()->issuer.hex()) Reissue(one);
    }
    EXPECT_TRUE(View().record.finished());
    EXPECT_EQ(View().record.outcome, "rolled-back");
    EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(a_)}));
    EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
    EXPECT_EQ(Offer(next).status().code(), absl::StatusCode::kFailedPrecondition);
    plane_->Disconnected(one.caller, one.instance, one.generation);
    clock_.Advance(absl::Hours(48));  // its leaf expires, it is nobody's concern any more
  }
}

TEST_F(RotationTest, OnceTheOldRootIsGoneThereIsNoWayBackButForward) {
  ASSERT_TRUE(Offer(a_).ok());
  ASSERT_TRUE(Offer(b_).ok());
  Pass(absl::Seconds(40), {});
  EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(b_)}));
  EXPECT_FALSE(plane_->keeper().Steer(Steering::kRollback).ok());
  ASSERT_TRUE(Offer(a_).ok());  // a rotation like any other
  Pass(absl::Seconds(40), {});
  EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(a_)}));
  EXPECT_EQ(View().record.number, 2);
}

TEST_F(RotationTest, AClockThatJumpsAWeekDropsNothing) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Agent away = Join("away");
  Acknowledge(one);
  plane_->Disconnected(away.caller, away.instance, away.generation);
  ASSERT_TRUE(Offer(b_).ok());
  ASSERT_TRUE(plane_->keeper().Exclude("none", "x").code() == absl::StatusCode::kNotFound);
  Acknowledge(one);
  clock_.StepWallClock(absl::Hours(24 * 7));
  one.clock_ahead = -absl::Hours(24 * 7);
  Pass(absl::Seconds(120), {&one});
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
}

TEST_F(RotationTest, WhoHadExpiredByAClockThatWasAheadHoldsAgainWhenItIsRight) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Agent away = Join("away");
  Acknowledge(one);
  Acknowledge(away);
  ASSERT_TRUE(Offer(b_).ok());
  Acknowledge(one);
  Acknowledge(away);
  Pass(absl::Seconds(12), {&one, &away});
  ASSERT_EQ(plane_->trust()->issuer, b_.authority().id);
  plane_->Disconnected(away.caller, away.instance, away.generation);
  Reissue(one);
  for (absl::Duration week : {absl::Hours(24 * 7), -absl::Hours(24 * 7)}) {
    clock_.StepWallClock(week);
    one.clock_ahead -= week;
    Pass(absl::Seconds(30), {&one});
    EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_))) << week;
  }
  EXPECT_THAT(View().decision.gate.summary, HasSubstr(away.id));
}

TEST_F(RotationTest, AnUnusedJoinFileWithoutTheNewRootHoldsIt) {
  ASSERT_TRUE(Offer(a_).ok());
  control::v1::CreateTokenRequest request;
  request.set_spiffe_id("spiffe://cluster.local/ns/late/sa/late");
  request.mutable_ttl()->set_seconds(60);
  ASSERT_TRUE(plane_->CreateToken(request).ok());
  ASSERT_TRUE(Offer(b_).ok());
  Pass(absl::Seconds(30), {});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  EXPECT_THAT(View().decision.gate.summary, HasSubstr("join-file"));
  Pass(absl::Seconds(60), {});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
}

TEST_F(RotationTest, WhereOthersTakeTheirFirstTrustTheNewRootIsBeforeItIsReliedUpon) {
  const auto serving_root = [&] { return plane_->GetStatus().serving_root_fingerprint(); };
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Acknowledge(one);
  ASSERT_TRUE(Offer(b_).ok());
  Acknowledge(one);
  places_.Lacks("web");
  Pass(absl::Seconds(30), {&one});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  EXPECT_EQ(places_.asked_sequence, 2);
  EXPECT_THAT(View().decision.gate.summary, HasSubstr("1 bootstrap; config-map:web: it lacks it"));
  places_.lacking.clear();
  Pass(absl::Seconds(12), {&one});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
  EXPECT_EQ(serving_root(), RootOf(b_).FingerprintHex());
}

TEST_F(RotationTest, TheControlPlanesOwnCertificateWaitsForThemToo) {
  const auto serving_root = [&] { return plane_->GetStatus().serving_root_fingerprint(); };
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Acknowledge(one);
  ASSERT_TRUE(Offer(b_).ok());
  Acknowledge(one);
  places_.Lacks("web");
  places_.lacks_now = [&] { return plane_->trust()->issuer == b_.authority().id; };
  Pass(absl::Seconds(12), {&one});
  ASSERT_EQ(plane_->trust()->issuer, b_.authority().id);
  Reissue(one);
  Pass(absl::Seconds(60), {&one});
  EXPECT_EQ(serving_root(), RootOf(a_).FingerprintHex());
  EXPECT_EQ(View().decision.gate.gate.kind, rotation::GateKind::kAgents);
  EXPECT_THAT(View().decision.gate.summary, HasSubstr("1 bootstrap; config-map:web: it lacks it"));
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
  ASSERT_TRUE(plane_->keeper().Exclude("config-map:web", "nothing runs there").ok());
  EXPECT_EQ(serving_root(), RootOf(b_).FingerprintHex());
  Pass(absl::Seconds(12), {&one});
  EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(b_)}));
}

TEST_F(RotationTest, LeavesThatOthersMayHaveSignedHoldTheLastGateOfTheirRoot) {
  foreign_leaf_ttl_ = absl::Hours(24);
  Restart();
  ASSERT_TRUE(Offer(a_).ok());
  ASSERT_TRUE(Offer(b_).ok());
  Pass(absl::Seconds(40), {});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
  ASSERT_EQ(View().decision.gate.holders.size(), 1u);
  EXPECT_EQ(View().decision.gate.holders[0].kind, rotation::Holder::Kind::kForeign);
  EXPECT_EQ(View().decision.gate.holders[0].until, TestNow() + absl::Hours(24));
  Restart();
  Pass(absl::Seconds(40), {});
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
  clock_.Advance(absl::Hours(24));
  Pass(absl::Seconds(20), {});
  EXPECT_FALSE(plane_->trust()->bundle.Contains(RootOf(a_)));
}

TEST_F(RotationTest, AGeneratedRootBeginsEarlyEnoughForClocksThatAreBehind) {
  ASSERT_TRUE(Offer(a_).ok());
  control::v1::StartRotationRequest request;
  request.set_generate(true);
  const control::v1::RotationPlan plan = *plane_->PlanRotation(request);
  for (const auto& finding : plan.findings()) EXPECT_NE(finding.code(), "not-yet-valid-there");
}

TEST_F(RotationTest, ADeclaredSignerHoldsTheLastGateOfItsRootForAsLongAsItIsDeclared) {
  foreign_signers_ = {{"west", RootOf(a_).FingerprintHex().substr(0, 16)}};
  Restart();
  ASSERT_TRUE(Offer(a_).ok());
  ASSERT_TRUE(Offer(b_).ok());
  clock_.Advance(absl::Hours(24 * 30));
  Pass(absl::Seconds(40), {});
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
  ASSERT_EQ(View().decision.gate.holders.size(), 1u);
  EXPECT_EQ(View().decision.gate.holders[0].name, "west");
  EXPECT_EQ(View().decision.gate.holders[0].kind, rotation::Holder::Kind::kForeign);
  foreign_signers_.clear();
  Restart();
  Pass(absl::Seconds(40), {});
  EXPECT_FALSE(plane_->trust()->bundle.Contains(RootOf(a_)));
}

TEST_F(RotationTest, PausedItRestsAndResumedItGoesOn) {
  ASSERT_TRUE(Offer(a_).ok());
  ASSERT_TRUE(Offer(b_).ok());
  ASSERT_TRUE(plane_->keeper().Steer(Steering::kPause).ok());
  EXPECT_FALSE(plane_->keeper().Steer(Steering::kPause).ok());
  Pass(absl::Seconds(60), {});
  Restart();
  Pass(absl::Seconds(60), {});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  ASSERT_TRUE(plane_->keeper().Steer(Steering::kResume).ok());
  Pass(absl::Seconds(60), {});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
}

TEST_F(RotationTest, TheKeyOfARetiredAuthorityIsDestroyedAfterItsTime) {
  ASSERT_TRUE(Offer(a_).ok());
  ASSERT_TRUE(Offer(b_).ok());
  Pass(absl::Seconds(40), {});
  ASSERT_TRUE(View().record.finished());
  auto sealed = [&] {
    const store::State state = *store_.Load();
    for (const store::AuthorityRecord& record : state.authorities) {
      if (record.id == a_.authority().id.hex()) return record.sealed_key;
    }
    return std::string("none");
  };
  EXPECT_NE(sealed(), "");
  clock_.Advance(absl::Hours(24 * 7));
  executor_.Advance(absl::Seconds(2));
  EXPECT_EQ(sealed(), "");
}

// Two workloads, of which the canary is "web", in a rotation to B.
class CanaryTest : public RotationTest {
 protected:
  CanaryTest() {
    EXPECT_TRUE(offered_);
    web_.failed = rest_.failed = 0;
    Acknowledge(web_);
    Acknowledge(rest_);
  }
  void Begin(const std::string& canary = "namespace=web") {
    const absl::StatusOr<Outcome> begun =
        plane_->Offer(b_.Set({}), {.source = "managed", .canary = *trust::Canary::Parse(canary)});
    ASSERT_TRUE(begun.ok()) << begun.status();
    Acknowledge(web_);
    Acknowledge(rest_);
    Pass(absl::Seconds(12), {&web_, &rest_});
    ASSERT_EQ(StateOf(b_), trust::AuthorityState::kActive);
    ASSERT_EQ(View().decision.gate.gate.kind, rotation::GateKind::kCanary);
  }
  trust::AuthorityState StateOf(const TestPki& pki) {
    return plane_->keeper().situation()->authorities.at(pki.authority().id).state;
  }
  std::string DirectedTo(const Agent& agent) {
    return plane_->UpdateFor(*spiffe::SpiffeId::Parse(agent.id))->renewal().authority_id();
  }
  // What the plane turned back for, to its end.
  void ExpectTurnsBack(const std::string& why) {
    Pass(absl::Seconds(2), {&web_, &rest_});
    EXPECT_EQ(StateOf(b_), trust::AuthorityState::kRetiring);
    EXPECT_EQ(View().record.outcome, "rolled-back");
    EXPECT_THAT(View().record.turned_why, HasSubstr(why));
    EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
    EXPECT_EQ(DirectedTo(web_), a_.authority().id.hex());
    // B stays trusted until its leaves are gone.
    Pass(absl::Seconds(30), {&web_, &rest_});
    EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(b_)));
    web_.leaf_nack.clear();
    web_.probes.clear();
    Reissue(web_);
    EXPECT_EQ(web_.leaf.authority_id(), a_.authority().id.hex());
    Pass(absl::Seconds(12), {&web_, &rest_});
    EXPECT_EQ(plane_->trust()->bundle, Bundle::Of({RootOf(a_)}));
    Acknowledge(web_);
    Acknowledge(rest_);
    Pass(absl::Seconds(2), {&web_, &rest_});
    EXPECT_TRUE(View().record.finished());
    EXPECT_EQ(plane_->GetRotation()->state(), "rolled-back");
    EXPECT_THAT(plane_->GetRotation()->turned_why(), HasSubstr(why));
  }

  const bool offered_ = Offer(a_).ok();
  Agent web_ = Join("web");
  Agent rest_ = Join("rest");
};

TEST_F(CanaryTest, TheNewAuthoritySignsForItFirstAndForEverybodyWhenItDidWell) {
  Begin();
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  EXPECT_EQ(plane_->trust()->issuer_epoch, 1);
  EXPECT_EQ(View().record.phase, "both-trusted");
  EXPECT_EQ(DirectedTo(web_), b_.authority().id.hex());
  EXPECT_EQ(DirectedTo(rest_), "");
  // Nothing that B signs outlives what is on disk.
  EXPECT_GT(plane_->keeper().situation()->authorities.at(b_.authority().id).reserved_until,
            clock_.Now() + absl::Hours(24));
  Pass(absl::Seconds(60), {&web_, &rest_});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);  // the canary has not moved
  EXPECT_THAT(View().decision.gate.summary, HasSubstr(web_.id));
  Reissue(rest_);
  EXPECT_EQ(rest_.leaf.authority_id(), a_.authority().id.hex());
  Reissue(web_);
  EXPECT_EQ(web_.leaf.authority_id(), b_.authority().id.hex());
  Pass(absl::Seconds(14), {&web_, &rest_});
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);  // it soaks
  const control::v1::Rotation said = *plane_->GetRotation();
  EXPECT_EQ(said.canary().selector(), "namespace=web");
  EXPECT_TRUE(said.canary().signing());
  EXPECT_EQ(said.canary().population(), 1);
  EXPECT_EQ(said.canary().moved(), 1);
  EXPECT_EQ(said.canary().others(), 1);
  EXPECT_EQ(said.canary().untold(), 0);
  const control::v1::ListFleetResponse fleet = plane_->ListFleet();
  for (const control::v1::Workload& workload : fleet.workloads()) {
    EXPECT_EQ(workload.state(), "acknowledged") << workload.why();
  }
  Pass(absl::Seconds(3), {&web_, &rest_});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
  EXPECT_EQ(plane_->trust()->issuer_epoch, 2);
  EXPECT_EQ(DirectedTo(rest_), b_.authority().id.hex());
  Reissue(rest_);
  Pass(absl::Seconds(12), {&web_, &rest_});
  Acknowledge(web_);
  Acknowledge(rest_);
  Pass(absl::Seconds(2), {&web_, &rest_});
  EXPECT_TRUE(View().record.finished());
  EXPECT_EQ(View().record.outcome, "done");
}

TEST_F(CanaryTest, ARestartInTheMiddleGoesOnWithIt) {
  Begin();
  executor_.Advance(absl::Seconds(1));
  Restart();
  Connect(web_);
  Connect(rest_);
  EXPECT_EQ(DirectedTo(web_), b_.authority().id.hex());
  EXPECT_EQ(DirectedTo(rest_), "");
  Reissue(web_);
  EXPECT_EQ(web_.leaf.authority_id(), b_.authority().id.hex());
  Pass(absl::Seconds(18), {&web_, &rest_});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
}

TEST_F(CanaryTest, WhereOthersRefuseMoreThanBeforeItTurnsBackByItself) {
  rest_.failed = 3;  // of before
  Begin();
  Reissue(web_);
  Pass(absl::Seconds(5), {&web_, &rest_});
  EXPECT_EQ(View().record.outcome, "done");
  rest_.failed = 5;
  ExpectTurnsBack(
      absl::StrCat(rest_.id, "#i1: its Envoy refused the certificate of a peer 2 times"));
  const auto journal = *store_.Journal(100);
  EXPECT_TRUE(std::any_of(journal.begin(), journal.end(), [](const store::JournalEntry& entry) {
    return entry.kind == "rolled-back" &&
           entry.why.find("by itself, for the canary's harm") != std::string::npos;
  }));
}

TEST_F(CanaryTest, ARiseThatARestartSlippedOverIsSeenAllTheSame) {
  Begin();
  Reissue(web_);
  executor_.Advance(absl::Seconds(1));
  rest_.failed = 1;
  Restart();
  EXPECT_EQ(StateOf(b_), trust::AuthorityState::kActive);
  Connect(web_);
  Connect(rest_);
  ExpectTurnsBack("1 time since the canary began");
}

TEST_F(CanaryTest, ARestartOnTheWayBackGoesOnBackwards) {
  Begin();
  Reissue(web_);
  rest_.failed = 1;
  Pass(absl::Seconds(2), {&web_, &rest_});
  EXPECT_EQ(StateOf(b_), trust::AuthorityState::kRetiring);
  executor_.Advance(absl::Seconds(1));
  Restart();
  Connect(web_);
  Connect(rest_);
  ExpectTurnsBack("1 time");
}

TEST_F(CanaryTest, WhatTheCanaryItselfRefusesOfOthersIsNoAccountOfOthers) {
  Begin();
  Reissue(web_);
  web_.failed = 40;
  Pass(absl::Seconds(18), {&web_, &rest_});
  EXPECT_EQ(plane_->trust()->issuer, b_.authority().id);
}

TEST_F(CanaryTest, ACanaryWhoseEnvoyRefusesTheNewLeafTurnsBackByItself) {
  Begin();
  Reissue(web_);
  web_.leaf_nack = "Failed to load private key";
  ExpectTurnsBack("refused default: Failed to load private key");
}

TEST_F(CanaryTest, AListenerThatRefusesTheNewAuthorityTurnsBackByItself) {
  Begin();
  Reissue(web_);
  for (const auto& [authority, verdict] :
       {std::pair{a_.authority().id, fleet::v1::ProbeResult::ACCEPTED},
        std::pair{b_.authority().id, fleet::v1::ProbeResult::UNKNOWN_CA}}) {
    fleet::v1::ProbeResult& probe = web_.probes.emplace_back();
    probe.set_target("127.0.0.1:15006");
    probe.set_authority_id(authority.hex());
    probe.set_verdict(verdict);
    probe.set_detail("alert 48, unknown ca");
    *probe.mutable_bundle() = web_.bundle;
  }
  ExpectTurnsBack("unknown ca");
}

TEST_F(CanaryTest, AnOperatorTurnsItBackTheSame) {
  Begin();
  Reissue(web_);
  Pass(absl::Seconds(2), {&web_, &rest_});
  EXPECT_TRUE(plane_->keeper().Steer(Steering::kRollback, "changed my mind").ok());
  ExpectTurnsBack("by the operator: changed my mind");
}

TEST_F(CanaryTest, ARotationThatIsAimedElsewhereKeepsItsCanary) {
  Begin();
  EXPECT_TRUE(plane_->keeper().Steer(Steering::kRollback).ok());
  const TestPki c = TestPki::Make("intermediateC");
  ASSERT_TRUE(Offer(c).ok());
  EXPECT_EQ(View().record.turned_why, "");
  Acknowledge(web_);
  Acknowledge(rest_);
  Pass(absl::Seconds(12), {&web_, &rest_});
  EXPECT_EQ(StateOf(b_), trust::AuthorityState::kRetiring);
  EXPECT_EQ(StateOf(c), trust::AuthorityState::kActive);
  EXPECT_EQ(plane_->trust()->issuer, a_.authority().id);
  EXPECT_EQ(DirectedTo(web_), c.authority().id.hex());
  Restart();
  EXPECT_EQ(DirectedTo(web_), c.authority().id.hex());
}

TEST_F(CanaryTest, WhoTellsNothingIsCounted) {
  rest_.failed.reset();
  Begin();
  EXPECT_EQ(plane_->GetRotation()->canary().untold(), 1);
}

TEST_F(CanaryTest, ACanaryOfNobodyIsRefusedAndOneOfEverybodyIsTold) {
  control::v1::StartRotationRequest request;
  request.set_generate(true);
  request.set_canary("namespace=nowhere");
  absl::Status refused = plane_->StartRotation(request).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("selects none of the 2 workloads"), HasSubstr("rest, web")));
  const control::v1::RotationPlan::Finding finding =
      *plane_->PlanRotation(request)->findings().rbegin();
  EXPECT_EQ(finding.severity(), "error");
  EXPECT_EQ(finding.code(), "canary-selects-nobody");
  EXPECT_EQ(finding.where(), "--canary");
  request.set_canary("percent=0");
  EXPECT_EQ(plane_->StartRotation(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.set_canary("namespace=web");
  request.set_emergency(true);
  EXPECT_EQ(plane_->StartRotation(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.set_emergency(false);
  request.set_canary("percent=100");
  const control::v1::RotationPlan plan = *plane_->PlanRotation(request);
  EXPECT_THAT(plan.findings().rbegin()->what(), HasSubstr("selects all of the 2 workloads"));
  EXPECT_EQ(plan.canary().others(), 0);
  EXPECT_EQ(plan.steps(1).name(), "start-canary");
  EXPECT_THAT(plan.steps(2).gate(), HasSubstr("percent=100"));
  EXPECT_EQ(plane_->GetRotation()->number(), 0);
  request.set_canary("namespace=web");
  ASSERT_TRUE(plane_->StartRotation(request).ok());
  EXPECT_EQ(plane_->GetRotation()->canary().selector(), "namespace=web");
}

TEST_F(RotationTest, WhatACrashMayHaveLostKeepsTheOldRoot) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  executor_.Advance(absl::Seconds(1));
  Restart();  // everything was written: nothing is missing
  EXPECT_TRUE(store_.Load()->unseen.empty());
  Reissue(one);
  Restart();  // in the moment after the answer
  const std::string signer = absl::StrCat("authority:", a_.authority().id.hex());
  ASSERT_EQ(store_.Load()->unseen.size(), 1u);
  EXPECT_EQ(store_.Load()->unseen[0].signer, signer);
  EXPECT_EQ(store_.Load()->unseen[0].until, clock_.Now() + absl::Hours(24 + 1));
  EXPECT_EQ(store_.Journal(1)->at(0).kind, "unrecorded");
  Restart();  // it is not forgotten, nor found again
  EXPECT_EQ(store_.Load()->unseen.size(), 1u);
  EXPECT_TRUE(store_.Load()->unwritten.empty());

  Connect(one);
  Acknowledge(one);
  ASSERT_TRUE(Offer(b_).ok());
  Acknowledge(one);
  Pass(absl::Seconds(12), {&one});
  ASSERT_EQ(View().record.phase, "new-issuer");
  Reissue(one);
  Pass(absl::Seconds(30), {&one});
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
  ASSERT_EQ(View().decision.gate.holders.size(), 1u);
  EXPECT_EQ(View().decision.gate.holders[0].kind, rotation::Holder::Kind::kUnrecorded);
  EXPECT_EQ(View().decision.gate.holders[0].name, signer);
  // What B signed last is of no matter to the root that leaves.
  Reissue(one);
  Restart();
  Connect(one);
  Acknowledge(one);
  Pass(absl::Seconds(3), {&one});
  EXPECT_EQ(View().decision.gate.holders.size(), 1u);
  ASSERT_TRUE(plane_->keeper().Exclude(signer, "there is only one workload").ok());
  Pass(absl::Seconds(12), {&one});
  EXPECT_FALSE(plane_->trust()->bundle.Contains(RootOf(a_)));
}

TEST_F(RotationTest, WhatACrashMayHaveLostEndsByItself) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Restart();
  ASSERT_EQ(store_.Load()->unseen.size(), 1u);
  Connect(one);
  Acknowledge(one);
  ASSERT_TRUE(Offer(b_).ok());
  Acknowledge(one);
  Pass(absl::Seconds(12), {&one});
  clock_.StepWallClock(absl::Hours(24));
  Reissue(one);
  Pass(absl::Seconds(30), {&one});
  EXPECT_TRUE(plane_->trust()->bundle.Contains(RootOf(a_)));
  clock_.StepWallClock(absl::Hours(1));
  Pass(absl::Seconds(12), {&one});
  EXPECT_FALSE(plane_->trust()->bundle.Contains(RootOf(a_)));
}

TEST_F(RotationTest, TheReportSaysHowFastAndUntilWhen) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Acknowledge(one);
  ASSERT_TRUE(Offer(b_).ok());
  EXPECT_GT(plane_->GetRotation()->progress().certificates_per_second(), 0);
  EXPECT_FALSE(plane_->GetRotation()->progress().has_eta());  // nothing is re-issued yet
}

TEST_F(RotationTest, ABudgetOfItsOwnIsKeptOverARestartAndOnTheWayBack) {
  ASSERT_TRUE(Offer(a_).ok());
  Agent one = Join("one");
  Agent two = Join("two");
  Acknowledge(one);
  Acknowledge(two);
  control::v1::StartRotationRequest request;
  request.set_generate(true);
  request.mutable_policy()->set_issue_per_second(0.25);
  const control::v1::RotationPlan plan = *plane_->PlanRotation(request);
  EXPECT_EQ(plan.certificates_per_second(), 0.25);
  EXPECT_EQ(plan.reissued_certificates(), 4);
  EXPECT_EQ(plan.reissue_takes().seconds(), 16);
  ASSERT_TRUE(plane_->StartRotation(request).ok());
  executor_.Advance(absl::Seconds(1));
  Restart();
  EXPECT_EQ(plane_->GetRotation()->policy().issue_per_second(), 0.25);
  EXPECT_EQ(plane_->GetRotation()->progress().certificates_per_second(), 0.25);
  Connect(one);
  Connect(two);
  Acknowledge(one);
  Acknowledge(two);
  Pass(absl::Seconds(12), {&one, &two});
  ASSERT_EQ(View().record.phase, "new-issuer");
  EXPECT_EQ(plane_->update()->renewal().window().seconds(), 16);
  EXPECT_EQ(plane_->GetRotation()->progress().eta().seconds(),
            plane_->update()->renewal().start().seconds() + 16);
  Reissue(one);
  executor_.Advance(absl::Seconds(1));
  Restart();
  EXPECT_EQ(plane_->update()->renewal().window().seconds(), 8) << "what is left, by the same";
  ASSERT_TRUE(plane_->keeper().Steer(Steering::kRollback).ok());
  for (Agent* agent : {&one, &two}) {
    Connect(*agent);
    Acknowledge(*agent);
  }
  Pass(absl::Seconds(12), {&one, &two});
  EXPECT_EQ(plane_->update()->renewal().authority_id(), a_.authority().id.hex());
  EXPECT_EQ(plane_->update()->renewal().window().seconds(), 8) << "the two that had moved";
  EXPECT_EQ(plane_->ListRotations()->rotations(0).policy().issue_per_second(), 0.25);
}

TEST_F(RotationTest, CapstandsOwnBudgetIsNeverExceeded) {
  ASSERT_TRUE(Offer(a_).ok());
  control::v1::StartRotationRequest request;
  request.set_generate(true);
  const double own = plane_->PlanRotation(request)->certificates_per_second();
  request.mutable_policy()->set_issue_per_second(own * 2);
  EXPECT_EQ(plane_->PlanRotation(request)->certificates_per_second(), own);
  ASSERT_TRUE(plane_->StartRotation(request).ok());
  EXPECT_EQ(plane_->GetRotation()->policy().issue_per_second(), own * 2);
  EXPECT_EQ(plane_->GetRotation()->source(), "managed");
}

TEST_F(RotationTest, ABudgetThatIsNoneIsRefused) {
  ASSERT_TRUE(Offer(a_).ok());
  control::v1::StartRotationRequest request;
  request.set_generate(true);
  for (double budget : {-1.0, 0.0001, std::numeric_limits<double>::infinity(),
                        std::numeric_limits<double>::quiet_NaN()}) {
    request.mutable_policy()->set_issue_per_second(budget);
    EXPECT_EQ(plane_->StartRotation(request).status().code(), absl::StatusCode::kInvalidArgument)
        << budget;
  }
  EXPECT_EQ(plane_->GetRotation()->number(), 0);
}

}  // namespace
}  // namespace capstan::server
