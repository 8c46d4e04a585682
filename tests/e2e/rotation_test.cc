// SPDX-License-Identifier: Apache-2.0
// Rotations in one stroke on real Envoys under load: the gates hold where they must, name who keeps
// them shut, and open by themselves.
#include <csignal>

#include "rotation_fixture.h"

namespace capstan::e2e {
namespace {

using ::testing::HasSubstr;

class RotationTest : public RotatingTest {
 protected:
  // Turns back from `phase`, with the directory saying B all the while, and across a restart.
  void TurnBackFrom(const std::string& phase) {
    mesh::Mesh::Options options;
    options.soak = absl::Seconds(5);  // time to turn back
    Begin(phases_[0].files, options);
    Await(phases_[0]);
    ReplaceCa(phases_[3].files);
    AwaitPhase(phase);
    Steer({"rollback"});
    EXPECT_TRUE(mesh::WaitFor(absl::Seconds(90), [&] { return Finished(); })) << Summary();
    EXPECT_EQ(Rotation().value("state", ""), "rolled-back");
    Await(phases_[0]);
    mesh_->process("capstand").Kill();
    ASSERT_TRUE(mesh_->Restart("capstand").ok());
    Run(absl::Seconds(3));
    Await(phases_[0]);  // B is refused until it changes
  }
};

TEST_F(RotationTest, TheFilesReplacedInOneStrokeGiveTheSamePhases) {
  Begin(phases_[0].files);
  Await(phases_[0]);
  ReplaceCa(phases_[3].files);  // A by B, at once
  std::vector<std::string> seen;
  EXPECT_TRUE(mesh::WaitFor(absl::Seconds(90), [&] {
    const std::string phase = Phase();
    if (!phase.empty() && (seen.empty() || seen.back() != phase)) seen.push_back(phase);
    return !phase.empty() && Finished();
  })) << Summary();
  EXPECT_THAT(seen, ::testing::IsSubsetOf({"root-a", "both-trusted", "new-issuer", "root-b"}));
  EXPECT_EQ(seen.back(), "root-b");
  Await(phases_[3]);
  EXPECT_TRUE(Rotation()["exempt"].empty());
  ExpectNothingFailed();
}

TEST_F(RotationTest, ACommandRotatesAndWritesTheDirectoryItFollows) {
  Begin(phases_[0].files);
  Await(phases_[0]);
  auto plan =
      mesh_->Capstan({"rotate", "plan", "--to", absl::StrCat(folder_, "/rootB/intermediateB")});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(*plan, HasSubstr("switch-issuer"));
  Await(phases_[0]);  // it changed nothing
  auto started = mesh_->Capstan(
      {"rotate", "start", "--to", absl::StrCat(folder_, "/rootB/intermediateB"), "--wait"});
  ASSERT_TRUE(started.ok()) << started.status();
  Await(phases_[3]);
  auto history = mesh_->Capstan({"rotate", "history", "--journal"});
  ASSERT_TRUE(history.ok()) << history.status();
  EXPECT_THAT(*history, HasSubstr("drop-roots"));
  // The directory says the same, so that a restart follows nothing else.
  mesh_->process("capstand").Kill();
  ASSERT_TRUE(mesh_->Restart("capstand").ok());
  Run(absl::Seconds(2));
  Await(phases_[3]);
  ExpectNothingFailed();
}

TEST_F(RotationTest, AnAgentThatIsAwayHoldsBothGatesAndIsNamedAcrossARestartOfCapstand) {
  Begin(phases_[0].files);
  Await(phases_[0]);
  mesh_->process("agent-sleep").Signal(SIGSTOP);
  ReplaceCa(phases_[3].files);
  AwaitPhase("both-trusted");
  AwaitHolder(mesh_->SpiffeId("sleep"));
  ExpectHolds("both-trusted");
  mesh_->process("capstand").Kill();
  ASSERT_TRUE(mesh_->Restart("capstand").ok());
  AwaitHolder(mesh_->SpiffeId("sleep"));
  ExpectHolds("both-trusted");
  mesh_->process("agent-sleep").Signal(SIGCONT);
  EXPECT_TRUE(mesh::WaitFor(absl::Seconds(90), [&] { return Finished(); })) << Summary();
  Await(phases_[3]);
  ExpectNothingFailed();
}

TEST_F(RotationTest, ADeadlinePassesTheAbsentOverAndTheRecordSaysSo) {
  mesh::Mesh::Options options;
  options.capstand_flags = {"--rotation-absent", "3s"};
  Begin(phases_[0].files, options);
  Await(phases_[0]);
  // What the absent meets is its own: its Envoy never hears of root B.
  traffic_->Stop();
  mesh_->process("agent-sleep").Kill();
  ReplaceCa(phases_[3].files);
  AwaitPhase("new-issuer");
  auto exempt = Rotation()["exempt"];
  ASSERT_EQ(exempt.size(), 1u);
  EXPECT_THAT(exempt[0].value("why", ""), HasSubstr("deadline"));
}

TEST_F(RotationTest, FromBothTrustedThereIsAWayBackAndACommandThatTriesAgain) {
  TurnBackFrom("both-trusted");
  auto again = mesh_->Capstan({"rotate", "start", "--from-upstream", "--wait"});
  ASSERT_TRUE(again.ok()) << again.status();
  Await(phases_[3]);
  ExpectNothingFailed();
}

TEST_F(RotationTest, FromNewIssuerThereIsAWayBack) {
  TurnBackFrom("new-issuer");
  ExpectNothingFailed();
}

}  // namespace
}  // namespace capstan::e2e
