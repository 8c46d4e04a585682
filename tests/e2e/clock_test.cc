// SPDX-License-Identifier: Apache-2.0
// capstand's clock jumps forward by a week in each phase of a rotation: nothing is taken away from
// anybody by a clock that nobody confirms, and once it is right again everything goes on.
#include <filesystem>

#include "base/files.h"
#include "rotation_fixture.h"

namespace capstan::e2e {
namespace {

constexpr char kAWeek[] = "604800";

class ClockTest : public RotatingTest {
 protected:
  std::string ShiftFile() const { return absl::StrCat(folder_, "/clock-shift"); }
  bool HoldsRootA() {
    for (const char* workload : mesh::Mesh::kWorkloads) {
      auto held = mesh_->Held(workload);
      if (!held.ok() ||
          std::find(held->roots.begin(), held->roots.end(), a_->root) == held->roots.end()) {
        return false;
      }
    }
    return true;
  }
  // A week ahead for longer than any gate soaks, seen in the log and in the status; then right
  // again.
  void JumpAndReturn() {
    SCOPED_TRACE(Phase());
    const size_t roots = Roots();
    EXPECT_TRUE(WriteFileAtomically(ShiftFile(), kAWeek, 0600, Overwrite::kReplace).ok());
    Run(absl::Seconds(6));
    EXPECT_GT(CapstandsTime(), absl::Now() + absl::Hours(24 * 6));
    EXPECT_TRUE(HoldsRootA());
    EXPECT_GE(Roots(), roots);
    std::filesystem::remove(ShiftFile());
    Run(absl::Seconds(2));
    EXPECT_LT(CapstandsTime(), absl::Now() + absl::Minutes(1));
  }
  json Status() {
    auto said = mesh_->Capstan({"status", "-o", "json"});
    json status = json::parse(said.value_or(""), nullptr, false);
    return status.is_object() ? status : json::object();
  }
  size_t Roots() { return Status().value("roots", json::array()).size(); }
  absl::Time CapstandsTime() {
    absl::Time time = absl::InfinitePast();
    std::string error;
    EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, Status().value("time", ""), &time, &error))
        << error;
    return time;
  }
};

TEST_F(ClockTest, AWeekAheadInEachPhaseDropsNothing) {
  mesh::Mesh::Options options;
  options.soak = absl::Seconds(3);
  options.capstand_environment = {absl::StrCat("LD_PRELOAD=", CAPSTAN_SHIFT_CLOCK_LIBRARY),
                                  absl::StrCat("CAPSTAN_CLOCK_SHIFT=", ShiftFile())};
  Begin(phases_[0].files, options);
  Await(phases_[0]);
  JumpAndReturn();  // root-a
  ReplaceCa(phases_[3].files);
  AwaitPhase("both-trusted");
  JumpAndReturn();
  AwaitPhase("new-issuer");
  JumpAndReturn();
  AwaitEnd();
  Await(phases_[3]);
  EXPECT_TRUE(Rotation().value("exempt", json::array()).empty());
  ExpectNothingFailed();
}

}  // namespace
}  // namespace capstan::e2e
