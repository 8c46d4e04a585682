// SPDX-License-Identifier: Apache-2.0
#include "base/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/random.h"

namespace capstan {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

struct Options {
  std::string state_dir = "/var/lib/capstand";
  absl::Duration ttl = absl::Hours(24);
  int64_t limit = 10;
  bool wait = false;
  std::vector<std::string> hosts;
  std::string peers;
};

class ConfigTest : public ::testing::Test {
 protected:
  ConfigTest() : settings_("capstan-agent", "a program") {
    settings_.Text("state-dir", "folder", &options_.state_dir);
    settings_.Duration("default-ttl", "life", &options_.ttl, absl::Seconds(1));
    settings_.Integer("limit", "how many", &options_.limit, 1, 100);
    settings_.Bool("wait", "wait", &options_.wait);
    settings_.List("hosts", "names", &options_.hosts);
    settings_.CustomList(
        "peer", "peers", "HOST[,KEY=VALUE]",
        [this](std::string_view text) {
          options_.peers = std::string(text);
          return absl::OkStatus();
        },
        [this] { return options_.peers; });
  }

  std::string File(std::string_view text) {
    std::string path = absl::StrCat(::testing::TempDir(), "/", SystemRandom().Uuid(), ".yaml");
    EXPECT_TRUE(WriteFileAtomically(path, text, 0600, Overwrite::kRefuse).ok());
    return path;
  }

  absl::StatusOr<Settings::Todo> Load(std::vector<std::string> arguments) {
    std::vector<const char*> argv = {"capstan-agent"};
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    return settings_.Load(static_cast<int>(argv.size()), argv.data(),
                          [this](const std::string& name) -> std::optional<std::string> {
                            auto it = environment_.find(name);
                            if (it == environment_.end()) return std::nullopt;
                            return it->second;
                          });
  }

  Options options_;
  Settings settings_;
  std::map<std::string, std::string> environment_;
};

TEST_F(ConfigTest, AListOfOnesOwnIsJoinedWhereverItComesFrom) {
  const std::string joined = "a:1,sni=x,b:2";
  ASSERT_TRUE(Load({"--peer", "a:1,sni=x", "--peer", "b:2"}).ok());
  EXPECT_EQ(options_.peers, joined);
  options_.peers.clear();
  ASSERT_TRUE(Load({"--config", File("peer:\n- a:1,sni=x\n- b:2\n")}).ok());
  EXPECT_EQ(options_.peers, joined);
  options_.peers.clear();
  environment_["CAPSTAN_AGENT_PEER"] = joined;
  ASSERT_TRUE(Load({}).ok());
  EXPECT_EQ(options_.peers, joined);
  environment_.clear();
  ASSERT_TRUE(Load({"--config", File(settings_.ToYaml())}).ok());
  EXPECT_EQ(options_.peers, joined);
  EXPECT_FALSE(Load({"--limit", "1", "--limit", "2"}).ok()) << "what is one value stays one";
}

TEST_F(ConfigTest, DefaultsStand) {
  ASSERT_EQ(*Load({}), Settings::Todo::kRun);
  EXPECT_EQ(options_.ttl, absl::Hours(24));
  EXPECT_EQ(settings_.Origin("default-ttl"), "default");
}

TEST_F(ConfigTest, FlagBeatsVariableBeatsFileBeatsDefault) {
  std::string file = File("limit: 3\ndefault-ttl: 3h\nstate-dir: /file\nhosts: [a, b]\n");
  environment_ = {{"CAPSTAN_AGENT_LIMIT", "4"},
                  {"CAPSTAN_AGENT_DEFAULT_TTL", "4h"},
                  {"CAPSTAN_AGENT_CONFIG", file}};
  ASSERT_TRUE(Load({"--limit", "5", "--wait"}).ok());
  EXPECT_EQ(options_.limit, 5);
  EXPECT_EQ(options_.ttl, absl::Hours(4));
  EXPECT_EQ(options_.state_dir, "/file");
  EXPECT_TRUE(options_.wait);
  EXPECT_THAT(options_.hosts, ElementsAre("a", "b"));
  EXPECT_EQ(settings_.Origin("limit"), "--limit");
  EXPECT_EQ(settings_.Origin("default-ttl"), "CAPSTAN_AGENT_DEFAULT_TTL");
  EXPECT_EQ(settings_.Origin("state-dir"), absl::StrCat(file, ":3"));
}

TEST_F(ConfigTest, UnknownKeyNamesPlaceAndNearest) {
  std::string file = File("limit: 3\n\nstat-dir: /x\n");
  absl::Status status = Load({"--config", file}).status();
  EXPECT_THAT(std::string(status.message()),
              EndsWith(":3: unknown key \"stat-dir\"; did you mean state-dir?"));
  EXPECT_THAT(std::string(Load({"--deflaut-ttl=3h"}).status().message()),
              HasSubstr("unknown flag --deflaut-ttl; did you mean --default-ttl?"));
  EXPECT_THAT(std::string(Load({"--zzzzzzzz", "1"}).status().message()),
              Not(HasSubstr("did you mean")));
}

TEST_F(ConfigTest, BadValuesNameWhereTheyStand) {
  EXPECT_THAT(std::string(Load({"--config", File("\ndefault-ttl: 3 hours\n")}).status().message()),
              HasSubstr(":2: default-ttl: \"3 hours\" is not a duration"));
  EXPECT_THAT(std::string(Load({"--default-ttl", "0s"}).status().message()),
              HasSubstr("--default-ttl: \"0s\" is not a duration of at least 1s"));
  EXPECT_THAT(std::string(Load({"--limit", "101"}).status().message()),
              HasSubstr("--limit: \"101\" is not a whole number from 1 to 100"));
  EXPECT_THAT(std::string(Load({"--config", File("limit: [1]\n")}).status().message()),
              HasSubstr(":1: limit is a list or a map"));
  EXPECT_THAT(std::string(Load({"--config", File("limit: 1\nlimit: 2\n")}).status().message()),
              HasSubstr(":2: \"limit\" is there twice"));
  EXPECT_THAT(std::string(Load({"--config", File("limit: {\n")}).status().message()),
              HasSubstr("not YAML"));
  EXPECT_THAT(std::string(Load({"--config", "/no/such/file"}).status().message()),
              HasSubstr("/no/such/file"));
  EXPECT_THAT(std::string(Load({"stray"}).status().message()), HasSubstr("unexpected argument"));
  EXPECT_FALSE(Load({"--limit"}).ok());
  EXPECT_FALSE(Load({"--limit", "1", "--limit", "2"}).ok());
}

TEST_F(ConfigTest, AHiddenValueOfTheFileIsCheckedToo) {
  EXPECT_FALSE(Load({"--config", File("limit: many\n"), "--limit", "2"}).ok());
  EXPECT_EQ(options_.limit, 10);
}

TEST_F(ConfigTest, PrintedConfigurationReadsBack) {
  ASSERT_EQ(*Load({"--print-config", "--limit", "7", "--state-dir", "a: b # c", "--hosts", "x,y"}),
            Settings::Todo::kPrintConfig);
  std::string yaml = settings_.ToYaml();
  EXPECT_THAT(yaml, HasSubstr("limit: 7  # --limit"));
  Options before = options_;
  options_ = Options();
  ASSERT_TRUE(Load({"--config", File(yaml)}).ok());
  EXPECT_EQ(options_.limit, before.limit);
  EXPECT_EQ(options_.state_dir, before.state_dir);
  EXPECT_EQ(options_.hosts, before.hosts);
}

TEST_F(ConfigTest, HelpListsEverySetting) {
  ASSERT_EQ(*Load({"--help"}), Settings::Todo::kExit);
  for (const char* name : {"--state-dir", "--default-ttl", "--config", "--print-config"}) {
    EXPECT_THAT(settings_.output(), HasSubstr(name));
  }
}

TEST(NearestTest, TooFarIsNothing) {
  EXPECT_EQ(Nearest("sokcet", {"socket", "state-dir"}), "socket");
  EXPECT_EQ(Nearest("qqqqqqqq", {"socket", "state-dir"}), "");
}

}  // namespace
}  // namespace capstan
