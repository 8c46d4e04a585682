// SPDX-License-Identifier: Apache-2.0
// Rotations that nobody asks for: capstand replaces its own intermediates by the clock, under load.
#include "rotation_fixture.h"

namespace capstan::e2e {
namespace {

class TimerTest : public RotatingTest {
 protected:
  int64_t Number() { return std::stoll(Rotation().value("number", "0")); }
};

TEST_F(TimerTest, IntermediatesAreReplacedByTheClock) {
  mesh::Mesh::Options options;
  // CAs begin two minutes in the past: the first is due 15 s from its making, the others after 20.
  options.capstand_flags = {"--intermediate-ttl", "54m", "--rotate-intermediate-at", "0.0417"};
  options.leaf_ttl = absl::Minutes(10);
  Begin({}, options);
  const int64_t before = Number();
  const auto root = mesh_->Held("sleep");
  ASSERT_TRUE(root.ok()) << root.status();
  // Two of them from beginning to end under load.
  EXPECT_TRUE(mesh::WaitFor(absl::Seconds(90), [&] {
    return Number() > before + 2 || (Number() == before + 2 && Finished());
  })) << Rotation().dump(1);
  EXPECT_EQ(Rotation().value("source", ""), "timer");
  for (const char* workload : mesh::Mesh::kWorkloads) {
    const auto held = mesh_->Held(workload);
    ASSERT_TRUE(held.ok()) << held.status();
    EXPECT_EQ(held->roots, root->roots) << workload;
    EXPECT_GE(held->chain.size(), 2u) << workload;
  }
  ExpectNothingFailed();
}

}  // namespace
}  // namespace capstan::e2e
