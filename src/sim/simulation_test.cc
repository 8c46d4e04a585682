// SPDX-License-Identifier: Apache-2.0
#include "sim/simulation.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace capstan::sim {
namespace {

TEST(SimulationTest, SeedsKeepThePromise) {
  log::Configure(log::Format::kText, log::Level::kOff);
  for (uint64_t seed = 1; seed <= 32; ++seed) {
    const Result result = Simulation(Draw(seed, 30)).Run();
    std::printf("seed %lu: %ld events, %s, %ld rotations, %ld certificates\n", seed, result.events,
                absl::FormatDuration(result.ended).c_str(), result.rotations, result.certificates);
    ASSERT_FALSE(result.violation.has_value())
        << "seed " << seed << " at " << result.violation->at << " " << result.violation->checker
        << ": " << result.violation->text;
  }
}

}  // namespace
}  // namespace capstan::sim
