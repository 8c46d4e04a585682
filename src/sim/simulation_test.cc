// SPDX-License-Identifier: Apache-2.0
#include "sim/simulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "sim/chart.h"
#include "sim/fleet_file.h"

namespace capstan::sim {
namespace {

using ::testing::HasSubstr;

class SimulationTest : public ::testing::Test {
 protected:
  SimulationTest() { log::Configure(log::Format::kText, log::Level::kOff); }
};

// `./dev sim` runs a thousand and more.
TEST_F(SimulationTest, NothingIsBrokenWhateverHappens) {
  for (uint64_t seed = 1; seed <= 24; ++seed) {
    const Result result = Simulation(Draw(seed, 20)).Run();
    ASSERT_FALSE(result.violation.has_value())
        << "seed " << seed << ", at " << result.violation->at << ": " << result.violation->checker
        << ": " << result.violation->text;
    EXPECT_GT(result.certificates, 0);
  }
}

TEST_F(SimulationTest, EqualSeedsAreEqualRunsAndOthersAreNot) {
  const auto run = [](uint64_t seed) { return Simulation(Draw(seed, 10)).Run().fingerprint; };
  const uint64_t once = run(5);
  EXPECT_EQ(run(5), once);
  EXPECT_NE(run(6), once);
}

TEST_F(SimulationTest, AMeshThatIsLeftAloneRotatesInMinutes) {
  Options options{.seed = 1, .workloads = 50};
  options.leaf_ttl = absl::Hours(24);
  options.issue_per_second = 50;
  options.trouble = absl::Minutes(10);
  options.rotate_at = absl::ZeroDuration();
  const Result result = Simulation(options).Run();
  ASSERT_FALSE(result.violation.has_value()) << result.violation->text;
  EXPECT_EQ(result.rotations, 1);
  EXPECT_EQ(result.certificates, 200);  // two for each, twice
  EXPECT_EQ(result.lapsed, 0);
  EXPECT_LE(result.ended, absl::Minutes(13));
  const std::string svg = ToSvg(options, result);
  EXPECT_THAT(svg, HasSubstr("root B"));
  EXPECT_THAT(svg, HasSubstr("new-issuer"));
}

TEST(FleetFileTest, TheExampleIsAFleetFileThatSaysTheDefaults) {
  const auto example = ParseFleetFile(FleetFileHelp(), 1);
  ASSERT_TRUE(example.ok()) << example.status();
  EXPECT_EQ(Describe(*example), Describe(*ParseFleetFile("{}", 1)));
}

TEST(FleetFileTest, SaysWhatIsWrongAndWhere) {
  const auto error = [](const std::string& text) {
    return std::string(ParseFleetFile(text, 1).status().message());
  };
  EXPECT_THAT(error("workloads: 5\nleaf_ttl: 5h\n"),
              HasSubstr("line 2: leaf_ttl: there is no such"));
  EXPECT_THAT(error("workloads: many"), HasSubstr("line 1: workloads: a number"));
  EXPECT_THAT(error("soak: [1]"), HasSubstr("line 1: soak: \"\" is no duration"));
  EXPECT_THAT(error("leaf-ttl: 1s"), HasSubstr("leaf-ttl: between"));
  EXPECT_THAT(error("workloads: 0"), HasSubstr("at least one"));
  EXPECT_THAT(error("a: : b"), HasSubstr("line 1"));
  EXPECT_THAT(error("- a"), HasSubstr("keys and values"));
}

}  // namespace
}  // namespace capstan::sim
