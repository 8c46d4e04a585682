// SPDX-License-Identifier: Apache-2.0
// A CA that signed elsewhere before Capstan took it over, or still does: leaves that no record here
// tells of are good until the last gate, and keep that shut.
#include "base/files.h"
#include "rotation_fixture.h"

namespace capstan::e2e {
namespace {

using ::testing::HasSubstr;
using x509::ClientVerdict;

class AdoptionTest : public RotatingTest {
 protected:
  // Another control plane's authority under root A, and a workload that it issued.
  void SetUp() override {
    RotatingTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const std::string root = absl::StrCat(folder_, "/rootA");
    auto made = mesh::RunProgram({absl::StrCat(tools_.programs, "/capstan"), "pki",
                                  "intermediate-cacerts", "west", "--dir", root});
    ASSERT_TRUE(made.ok()) << made.status();
    mesh::Root west = *a_;
    west.intermediate =
        x509::ParsePemCertificates(ReadFile(absl::StrCat(root, "/west/ca-cert.pem")).value())
            .value()
            .front();
    west.intermediate_key =
        x509::PrivateKey::ParsePem(ReadFile(absl::StrCat(root, "/west/ca-key.pem")).value())
            .value();
    auto client =
        mesh::MakeClient(west, "spiffe://cluster.local/ns/west/sa/legacy", RealClock().Now());
    ASSERT_TRUE(client.ok()) << client.status();
    legacy_ = std::make_unique<mesh::ClientIdentity>(*std::move(client));
  }
  void ExpectLegacyIs(ClientVerdict expected) {
    for (const char* workload : mesh::Mesh::kWorkloads) {
      auto result = mesh_->Probe(workload, *legacy_);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(result->client, expected) << workload << ": " << result->detail;
    }
  }
  std::unique_ptr<mesh::ClientIdentity> legacy_;
};

TEST_F(AdoptionTest, LeavesOfBeforeAreAssumedForTheirLongestLife) {
  mesh::Mesh::Options options;
  options.foreign_leaf_ttl = absl::Seconds(40);
  const absl::Time began = RealClock().Now();
  Begin(phases_[0].files, options);
  Await(phases_[0]);
  ExpectLegacyIs(ClientVerdict::kAccepted);
  ReplaceCa(phases_[3].files);
  AwaitPhase("new-issuer");
  AwaitHolder("the root was there before Capstan");
  ExpectHolds("new-issuer");
  ExpectLegacyIs(ClientVerdict::kAccepted);
  AwaitEnd();
  EXPECT_GE(RealClock().Now() - began, options.foreign_leaf_ttl);
  EXPECT_TRUE(Rotation().value("exempt", json::array()).empty());
  Await(phases_[3]);
  ExpectLegacyIs(ClientVerdict::kUnknownCa);
  ExpectNothingFailed();
}

TEST_F(AdoptionTest, ADeclaredSignerHoldsTheLastGateUntilItIsExcludedByName) {
  mesh::Mesh::Options options;
  options.capstand_flags = {"--foreign-signers", absl::StrCat("west=", a_->root.FingerprintHex())};
  Begin(phases_[0].files, options);
  Await(phases_[0]);
  const std::string to = absl::StrCat(folder_, "/rootB/intermediateB");
  auto plan = mesh_->Capstan({"rotate", "plan", "--to", to});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(*plan, HasSubstr("west"));
  Steer({"start", "--to", to});
  AwaitPhase("new-issuer");
  AwaitHolder("west");
  mesh_->process("capstand").Kill();
  ASSERT_TRUE(mesh_->Restart("capstand").ok());
  AwaitHolder("west");
  ExpectHolds("new-issuer");
  ExpectLegacyIs(ClientVerdict::kAccepted);
  Steer({"exclude", "west", "--reason", "its workloads have moved"});
  AwaitEnd();
  EXPECT_EQ(Rotation().value("exempt", json::array()).size(), 1u);
  Await(phases_[3]);
  ExpectLegacyIs(ClientVerdict::kUnknownCa);
  ExpectNothingFailed();
}

}  // namespace
}  // namespace capstan::e2e
