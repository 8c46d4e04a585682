// SPDX-License-Identifier: Apache-2.0
// capstand is killed at every exact moment of every phase at which it makes something durable or
// sends something: before and after each write of the journal, in each push, in each issuance.
#include <csignal>
#include <filesystem>

#include "base/files.h"
#include "fixture.h"

namespace capstan::e2e {
namespace {

class CrashSweepTest : public MeshTest {
 protected:
  std::string DieAt() const { return absl::StrCat(folder_, "/die-at"); }

  void BeginWithMoments(const std::vector<std::string>& flags) {
    mesh::Mesh::Options options;
    options.soak = absl::ZeroDuration();
    options.capstand_flags = flags;
    options.capstand_environment = {absl::StrCat("LD_PRELOAD=", CAPSTAN_DIE_AT_LIBRARY),
                                    absl::StrCat("CAPSTAN_DIE_AT=", DieAt())};
    Begin(phases_.front().files, options);
    Await(phases_.front());
  }

  // Enters `to` while capstand dies at the given moment, lets it come back, and sees `to` come
  // about all the same. False: it never came to that moment.
  bool EnterDying(const mesh::Phase& to, const std::string& moment) {
    SCOPED_TRACE(absl::StrCat(to.name, ", ", moment));
    EXPECT_TRUE(WriteFileAtomically(DieAt(), moment, 0600, Overwrite::kReplace).ok());
    ReplaceCa(to.files);
    mesh::Process& capstand = mesh_->process("capstand");
    absl::Duration settled = absl::InfiniteDuration();
    const bool died = mesh::WaitFor(absl::Seconds(60),
                                    [&] {
                                      const absl::Duration now = RealClock().Monotonic();
                                      if (capstand.Ended()) return true;
                                      if (settled == absl::InfiniteDuration() &&
                                          mesh::CheckPhase(*mesh_, to).ok())
                                        settled = now;
                                      return now - settled > absl::Seconds(2);
                                    }) &&
                      capstand.Ended();
    std::filesystem::remove(DieAt());
    if (died) EXPECT_TRUE(mesh_->Restart("capstand").ok());
    Await(to);
    return died;
  }

  // Goes from `from` to `to` and back until capstand outlives it, one moment later each time.
  // The number of moments at which it was killed.
  int Sweep(const mesh::Phase& from, const mesh::Phase& to, const std::string& kind) {
    int killed = 0;
    for (int number = 1; number <= 60; ++number) {
      const bool died = EnterDying(to, absl::StrCat(kind, " ", number));
      if (HasFailure()) return killed;
      if (!died) {
        // Nothing is left to do: a restart by itself issues nothing.
        const std::string serial = Await(to).front().leaf_serial;
        mesh_->process("capstand").Kill();
        EXPECT_TRUE(mesh_->Restart("capstand").ok());
        Run(absl::Seconds(2));
        EXPECT_EQ(Await(to).front().leaf_serial, serial);
      } else {
        ++killed;
      }
      ReplaceCa(from.files);
      Await(from);
      if (!died) return killed;
    }
    ADD_FAILURE() << "no end of moments of kind " << kind;
    return killed;
  }

  // Every phase by every moment of `kind`; each phase has some.
  void SweepAll(const std::string& kind, const std::vector<std::string>& flags) {
    BeginWithMoments(flags);
    for (size_t i = 1; i < phases_.size() && !HasFailure(); ++i) {
      const int killed = Sweep(phases_[i - 1], phases_[i], kind);
      std::cout << phases_[i].name << ": killed at " << killed << " moments of kind \"" << kind
                << "\"\n";
      EXPECT_GT(killed, 0);
      ReplaceCa(phases_[i].files);
      Await(phases_[i]);
    }
    ExpectNothingFailed();
  }
};

// Every step at once: what happens between two files' changes is then the same each time.
const std::vector<std::string>& Immediate() {
  static const auto& flags = *new std::vector<std::string>{"--reload", "immediate"};
  return flags;
}

TEST_F(CrashSweepTest, BeforeEachWriteThatIsMadeDurable) {
  SweepAll("before sync", Immediate());
}
TEST_F(CrashSweepTest, AfterEachWriteThatWasMadeDurable) {
  SweepAll("after sync", Immediate());
}
TEST_F(CrashSweepTest, BeforeEachMessageThatIsSent) {
  SweepAll("before send", Immediate());
}
// Through the gates: each step is written down when everybody is ready for it, and what a crash
// forgets is who was.
TEST_F(CrashSweepTest, BeforeEachWriteOfAGatedRotation) {
  SweepAll("before sync", {});
}
TEST_F(CrashSweepTest, AfterEachWriteOfAGatedRotation) {
  SweepAll("after sync", {});
}

}  // namespace
}  // namespace capstan::e2e
