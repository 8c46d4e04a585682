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
  log::Configure(log::Format::kText, getenv("SIM_LOG") ? log::Level::kInfo : log::Level::kOff);
  const uint64_t from = getenv("SIM_SEED") ? std::strtoul(getenv("SIM_SEED"), nullptr, 10) : 1;
  const uint64_t to = getenv("SIM_TO")     ? std::strtoul(getenv("SIM_TO"), nullptr, 10)
                      : getenv("SIM_SEED") ? from
                                           : 32;
  for (uint64_t seed = from; seed <= to; ++seed) {
    if (getenv("SIM_LOG"))
      for (auto& [k, v] : Describe(Draw(seed, 30))) std::printf("%s=%s ", k.c_str(), v.c_str());
    const Result result = Simulation(Draw(seed, 30)).Run();
    std::printf("seed %lu: %ld events, %s, %ld rotations, %ld certificates\n", seed, result.events,
                absl::FormatDuration(result.ended).c_str(), result.rotations, result.certificates);
    EXPECT_FALSE(result.violation.has_value())
        << "seed " << seed << " at " << result.violation->at << " " << result.violation->checker
        << ": " << result.violation->text;
  }
}

}  // namespace
}  // namespace capstan::sim
