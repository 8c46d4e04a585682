// SPDX-License-Identifier: Apache-2.0
// Agents that slept through root rotations, against a control plane over real TLS.
#include "agent/catch_up.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/test_mesh.h"
#include "base/files.h"
#include "trust/history.h"

namespace capstan::agent::testing {
namespace {

using ::testing::HasSubstr;

class CatchUpTest : public MeshTest {
 protected:
  std::string Link(const TestCa& signer, int64_t sequence, const trust::Bundle& bundle) const {
    return Must(
        trust::MakeHistoryDocument({{kLineage, sequence}, sequence - 1, bundle, RealClock().Now()},
                                   Must(spiffe::TrustDomain::Parse("cluster.local")),
                                   signer.authority(), signer.signer(), SystemRandom().Bytes(16)));
  }
  // A → A, B → B → B, C → C: what is left knows A no more.
  void RotateTwice() {
    const trust::Bundle b_and_c = Union(b_.bundle(), c_.bundle());
    plane_.SetHistory({Link(a_, 2, Both()), Link(b_, 3, b_.bundle()), Link(b_, 4, b_and_c),
                       Link(c_, 5, c_.bundle())});
    for (const trust::Bundle& bundle : {Both(), b_.bundle(), b_and_c, c_.bundle()}) {
      plane_.SetTrust(bundle);
    }
    plane_.Serve(c_);
  }
  void AllowRejoin() { plane_.SetRejoin({absl::Hours(1), {a_.authority()}, {}}); }

  // An agent that was a member while A was all there was.
  void Enrol() {
    RunningAgent agent(StateDir(), NewJoinFile());
    ASSERT_TRUE(Eventually([&] { return agent.HasLeaf(); })) << agent.LastError();
  }
  // The same, with a credential that ends at `not_after`.
  void EnrolUntil(absl::Time not_after) {
    const auto state = Must(StateDirectory::Open(StateDir()));
    const authn::JoinFile join = NewJoinFile();
    LeafSpec spec = Valid();
    spec.not_before = started_ - absl::Hours(2);
    spec.not_after = not_after;
    const authn::testing::Leaf leaf = a_.Issue(spec);
    ASSERT_TRUE(state->Save(Membership{join.address, join.server_id, join.spiffe_id}).ok());
    ASSERT_TRUE(
        state->Save(lifecycle::Trust{.version = join.bundle_version, .bundle = join.bundle}).ok());
    ASSERT_TRUE(state->Save(Credential{leaf.key, leaf.chain}).ok());
  }
  trust::BundleVersion Stored() const {
    return Must(ParseTrust(*ReadFile(StateDir() + "/bundle.json"))).version;
  }

  const TestCa c_{started_, "Root CA", true};
};

TEST_F(CatchUpTest, WhoSleptThroughTwoRotationsGetsBackWithoutAToken) {
  Enrol();
  RotateTwice();
  AllowRejoin();
  RunningAgent agent(StateDir(), std::nullopt);
  ASSERT_TRUE(agent.status().ok()) << agent.status();
  ASSERT_TRUE(Eventually([&] {
    return agent.HasLeaf() && agent.agent().health().stream_connected;
  })) << agent.LastError();
  EXPECT_EQ(agent.served().last()->roots_pem, c_.bundle().ToPem());
  EXPECT_EQ(Stored().sequence, 5);
  // Trust first: consumers had the new roots before the leaf under them.
  const auto all = agent.served().all();
  EXPECT_EQ(all.front()->roots_pem, a_.bundle().ToPem());
  EXPECT_EQ(all[1]->roots_pem, c_.bundle().ToPem());
  EXPECT_EQ(all[1]->leaf_serial, "");
}

TEST_F(CatchUpTest, ARunningAgentThatWasCutOffCatchesUp) {
  RunningAgent agent(StateDir(), NewJoinFile());
  ASSERT_TRUE(
      Eventually([&] { return agent.HasLeaf() && agent.agent().health().stream_connected; }));
  const std::string serial = agent.served().last()->leaf_serial;
  const int port = port_;
  StopServer();
  RotateTwice();
  AllowRejoin();
  StartServer(port);
  ASSERT_TRUE(Eventually(
      [&] {
        return agent.served().last()->leaf_serial != serial &&
               agent.agent().health().stream_connected;
      },
      absl::Seconds(30)))
      << agent.LastError();
  EXPECT_EQ(agent.served().last()->roots_pem, c_.bundle().ToPem());
}

TEST_F(CatchUpTest, WithoutGraceTrustComesBackAndTheCredentialDoesNot) {
  Enrol();
  RotateTwice();
  RunningAgent agent(StateDir(), std::nullopt);
  ASSERT_TRUE(Eventually([&] { return Stored().sequence == 5; })) << agent.LastError();
  EXPECT_TRUE(Eventually([&] {
    return agent.LastError().find("rejoin-grace is off") != std::string::npos;
  })) << agent.LastError();
  EXPECT_EQ(agent.served().last()->roots_pem, c_.bundle().ToPem());
  EXPECT_EQ(plane_.Issued(/*for_agent=*/true), 1);
}

TEST_F(CatchUpTest, AnExpiredCredentialIsRenewedWithinTheGraceOnly) {
  EnrolUntil(started_ - absl::Minutes(30));
  {
    RunningAgent agent(StateDir(), std::nullopt);
    ASSERT_TRUE(agent.status().ok()) << agent.status();
    EXPECT_TRUE(Eventually([&] { return !agent.LastError().empty(); }));
    EXPECT_THAT(agent.LastError(), HasSubstr("rejoin-grace is off"));
    EXPECT_FALSE(agent.HasLeaf());
    EXPECT_EQ(agent.served().last()->roots_pem, a_.bundle().ToPem()) << "trust is served";
  }
  AllowRejoin();
  RunningAgent agent(StateDir(), std::nullopt);
  EXPECT_TRUE(Eventually([&] { return agent.HasLeaf(); })) << agent.LastError();
  EXPECT_EQ(plane_.Issued(/*for_agent=*/true), 1);
}

TEST_F(CatchUpTest, AUsedTokenGivesWayToALapsedCredential) {
  const authn::JoinFile join = NewJoinFile();
  {
    RunningAgent other(folder_ + "/other", join);
    ASSERT_TRUE(Eventually([&] { return other.HasLeaf(); }));
  }
  EnrolUntil(started_ - absl::Minutes(30));
  AllowRejoin();
  RunningAgent agent(StateDir(), join);
  EXPECT_TRUE(Eventually([&] { return agent.HasLeaf(); }, absl::Seconds(20))) << agent.LastError();
}

TEST_F(CatchUpTest, ABrokenHistoryIsRefusedAndTheLastGoodTrustStays) {
  Enrol();
  RotateTwice();
  AllowRejoin();
  plane_.SetHistory({Link(b_, 2, b_.bundle())});  // by an authority that A's holders do not know
  RunningAgent agent(StateDir(), std::nullopt);
  EXPECT_TRUE(Eventually([&] {
    return agent.LastError().find("does not lead on") != std::string::npos;
  })) << agent.LastError();
  EXPECT_THAT(agent.LastError(), HasSubstr("link 1 of 1"));
  EXPECT_EQ(agent.served().last()->roots_pem, a_.bundle().ToPem());
  EXPECT_EQ(Stored().sequence, 1);
}

TEST_F(CatchUpTest, ACaughtUpTrustIsNoReasonToBelieveAnybodyElse) {
  // Genuine links, given out by a server of somebody else's CA: the call may be answered by
  // anybody, and still nothing but the control plane gets a request for a certificate.
  Enrol();
  const size_t issued = plane_.issued().size();
  plane_.SetHistory({Link(a_, 2, Both())});
  plane_.Serve(c_);
  RunningAgent agent(StateDir(), std::nullopt);
  ASSERT_TRUE(Eventually([&] { return Stored().sequence == 2; })) << agent.LastError();
  EXPECT_TRUE(Eventually([&] {
    return agent.LastError().find("does not verify against the trust bundle") != std::string::npos;
  })) << agent.LastError();
  EXPECT_EQ(plane_.issued().size(), issued);
}

}  // namespace
}  // namespace capstan::agent::testing
