// SPDX-License-Identifier: Apache-2.0
#include "agent/options.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/files.h"
#include "base/random.h"

namespace capstan::agent {
namespace {

TEST(OptionsTest, ProbeTargetsComeFromFlagVariableAndFile) {
  const auto load = [](std::vector<const char*> argv, const std::string& variable) {
    argv.insert(argv.begin(), "capstan-agent");
    Options options;
    auto loaded = LoadOptions(
        static_cast<int>(argv.size()), argv.data(),
        [&](const std::string& name) -> std::optional<std::string> {
          if (name != "CAPSTAN_AGENT_PROBE" || variable.empty()) {
            return std::nullopt;
          }
          return variable;
        },
        options);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return absl::StrJoin(options.probes, " ",
                         [](std::string* out, const probe::ProbeTarget& target) {
                           absl::StrAppend(out, probe::ToString(target));
                         });
  };
  EXPECT_EQ(load({"--probe", "a:1,sni=x", "--probe=b:2"}, ""), "a:1,sni=x b:2");
  EXPECT_EQ(load({}, "a:1,sni=x,b:2"), "a:1,sni=x b:2");
  const std::string file = absl::StrCat(::testing::TempDir(), "/", SystemRandom().Uuid(), ".yaml");
  ASSERT_TRUE(
      WriteFileAtomically(file, "probe: [\"a:1,sni=x\", \"b:2\"]\n", 0600, Overwrite::kRefuse)
          .ok());
  EXPECT_EQ(load({"--config", file.c_str()}, ""), "a:1,sni=x b:2");
  EXPECT_EQ(load({}, ""), "");
}

}  // namespace
}  // namespace capstan::agent
