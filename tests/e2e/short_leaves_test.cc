// SPDX-License-Identifier: Apache-2.0
// Hours of life in minutes: leaves of seconds, renewed again and again under load.
#include <set>

#include "fixture.h"

namespace capstan::e2e {
namespace {

class ShortLeavesTest : public MeshTest {};

TEST_F(ShortLeavesTest, AreRenewedForMinutesWithNoFailedRequest) {
  mesh::Mesh::Options options;
  options.leaf_ttl = absl::Seconds(20);
  Begin(phases_.front().files, options);
  std::set<std::string> serials;
  const absl::Duration end = RealClock().Monotonic() + absl::Minutes(2);
  while (RealClock().Monotonic() < end) {
    for (const char* workload : mesh::Mesh::kWorkloads) {
      auto held = mesh_->Held(workload);
      ASSERT_TRUE(held.ok()) << held.status();
      EXPECT_GT(held->chain.front().not_after(), RealClock().Now());
      serials.insert(absl::StrCat(workload, held->chain.front().serial().ToHex()));
    }
    Run(absl::Milliseconds(500));
  }
  EXPECT_GE(serials.size(), 16u) << "leaves of 20 s are renewed several times a minute";
  ExpectNothingFailed();
}

}  // namespace
}  // namespace capstan::e2e
