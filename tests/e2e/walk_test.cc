// SPDX-License-Identifier: Apache-2.0
// The four phases on real Envoys, in the ways an operator's hand may take them.
#include "fixture.h"

namespace capstan::e2e {
namespace {

class WalkTest : public MeshTest {};

TEST_F(WalkTest, FourPhasesWithNoFailedRequestAndNothingRestarted) {
  Begin(phases_.front().files);
  auto report =
      mesh::Walk(*mesh_, phases_, *traffic_, {.least_requests = 1500, .least_handshakes = 300}, {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->problems, ::testing::IsEmpty());
  EXPECT_EQ(report->failed, 0);
  EXPECT_EQ(report->restarts, 0);
  ASSERT_EQ(report->phases.size(), 4u);
  for (const mesh::PhaseReport& phase : report->phases) EXPECT_GE(phase.full_handshakes, 100);
  // A new root makes nobody ask for a certificate; a new issuer makes everybody.
  for (size_t w = 0; w < 2; ++w) {
    EXPECT_EQ(report->phases[0].workloads[w].leaf_serial,
              report->phases[1].workloads[w].leaf_serial);
    EXPECT_NE(report->phases[1].workloads[w].leaf_serial,
              report->phases[2].workloads[w].leaf_serial);
    EXPECT_EQ(report->phases[2].workloads[w].leaf_serial,
              report->phases[3].workloads[w].leaf_serial);
  }
}

TEST_F(WalkTest, ANewIssuerIsNoticedThoughTheBundleFileIsUnchanged) {
  Begin(phases_[1].files);
  Await(phases_[1]);
  mesh::Phase unchanged_bundle = phases_[2];
  unchanged_bundle.files["root-cert.pem"] = phases_[1].files.at("root-cert.pem");
  ReplaceCa(unchanged_bundle.files);
  Await(unchanged_bundle);
  Run(absl::Seconds(3));
  ExpectNothingFailed();
}

TEST_F(WalkTest, ABuiltInCaServesAMeshOutOfTheBox) {
  Begin({});
  Run(absl::Seconds(3));
  for (const char* workload : mesh::Mesh::kWorkloads) {
    auto held = mesh_->Held(workload);
    ASSERT_TRUE(held.ok()) << held.status();
    ASSERT_EQ(held->roots.size(), 1u);
    EXPECT_TRUE(held->chain.back().IsSignedBy(held->roots.front().public_key()));
  }
  ExpectNothingFailed();
}

TEST_F(WalkTest, ALeafOfTheSameRootButAnotherTrustDomainIsRefused) {
  Begin(phases_.front().files);
  Await(phases_.front());
  for (auto [id, expected] :
       {std::pair("spiffe://cluster.local/ns/x/sa/y", x509::ClientVerdict::kAccepted),
        std::pair("spiffe://other.local/ns/x/sa/y", x509::ClientVerdict::kRefused),
        std::pair("spiffe://cluster.local.evil/ns/x/sa/y", x509::ClientVerdict::kRefused)}) {
    auto client = mesh::MakeClient(*a_, id, RealClock().Now());
    ASSERT_TRUE(client.ok()) << client.status();
    for (const char* workload : mesh::Mesh::kWorkloads) {
      auto result = mesh_->Probe(workload, *client);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(result->client, expected) << id << " at " << workload << ": " << result->detail;
    }
  }
  ExpectNothingFailed();
}

}  // namespace
}  // namespace capstan::e2e
