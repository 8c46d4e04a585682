// SPDX-License-Identifier: Apache-2.0
// What is killed comes back, and nobody at the data path notices.
#include <csignal>

#include "fixture.h"

namespace capstan::e2e {
namespace {

class CrashTest : public MeshTest {
 protected:
  void KillAndRestart(const std::string& process) {
    mesh_->process(process).Kill();
    absl::Status restarted = mesh_->Restart(process);
    ASSERT_TRUE(restarted.ok()) << restarted;
  }

  static std::vector<std::string> Serials(const std::vector<mesh::WorkloadView>& views) {
    std::vector<std::string> serials;
    for (const mesh::WorkloadView& view : views) serials.push_back(view.leaf_serial);
    return serials;
  }

  // Every phase is entered by a change of the files, and `delay` after that change capstand is
  // killed: while it reads and applies the set, while it pushes, while it issues.
  void WalkKillingTheControlPlane(absl::Duration delay) {
    Begin(phases_.front().files);
    Await(phases_.front());
    for (size_t i = 1; i < phases_.size(); ++i) {
      SCOPED_TRACE(phases_[i].name);
      ReplaceCa(phases_[i].files);
      Run(delay);
      KillAndRestart("capstand");
      std::vector<std::string> serials = Serials(Await(phases_[i]));
      // Once more with nothing going on: a restart alone re-issues nothing.
      KillAndRestart("capstand");
      Run(absl::Seconds(3));
      EXPECT_EQ(Serials(Await(phases_[i])), serials);
    }
    ExpectNothingFailed();
  }
};

TEST_F(CrashTest, ControlPlaneKilledWhileItReads) {
  WalkKillingTheControlPlane(absl::Milliseconds(20));
}
TEST_F(CrashTest, ControlPlaneKilledWhileItApplies) {
  WalkKillingTheControlPlane(absl::Milliseconds(300));
}
TEST_F(CrashTest, ControlPlaneKilledWhileItPushesAndIssues) {
  WalkKillingTheControlPlane(absl::Milliseconds(700));
}

TEST_F(CrashTest, AnAgentThatDiesLeavesEnvoyItsSecretsAndItsSuccessorNeedsNoToken) {
  Begin(phases_.front().files);
  Await(phases_.front());
  auto join_used = mesh_->Capstan({"status", "-o", "json"});
  ASSERT_TRUE(join_used.ok()) << join_used.status();
  for (const char* workload : mesh::Mesh::kWorkloads) {
    mesh_->process(absl::StrCat("agent-", workload)).Kill();
  }
  Run(absl::Seconds(3));  // requests go on with what the Envoys hold
  for (const char* workload : mesh::Mesh::kWorkloads) {
    absl::Status restarted = mesh_->Restart(absl::StrCat("agent-", workload));
    ASSERT_TRUE(restarted.ok()) << restarted;
  }
  // The new agents do their work: the rest of the walk goes through them.
  for (size_t i = 1; i < phases_.size(); ++i) {
    ReplaceCa(phases_[i].files);
    Await(phases_[i]);
  }
  ExpectNothingFailed();
}

TEST_F(CrashTest, ALongOutageOfTheControlPlaneIsNotSeenByTraffic) {
  Begin(phases_.front().files);
  Await(phases_.front());
  mesh_->process("capstand").Kill();
  Run(absl::Seconds(5));
  ReplaceCa(phases_[1].files);  // changed while nobody looked
  ASSERT_TRUE(mesh_->Restart("capstand").ok());
  Await(phases_[1]);
  ExpectNothingFailed();
}

}  // namespace
}  // namespace capstan::e2e
