// SPDX-License-Identifier: Apache-2.0
// The scripts are run by the shells themselves, where those are installed.
#include "cli/completion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "base/random.h"
#include "cli/commands.h"

namespace capstan::cli {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class CompletionTest : public ::testing::Test {
 protected:
  CompletionTest() : app_("It's a tool.", "capstan") {
    AddPkiCommands(app_);
    AddRotateCommands(app_, {});
    app_.get_subcommand("pki")->alias("p");
    AddCompletionCommand(app_);
    path_ =
        std::filesystem::temp_directory_path() / absl::StrCat("completion-", SystemRandom().Uuid());
  }
  ~CompletionTest() override { std::filesystem::remove(path_); }

  void Save(const std::string& script) {
    ASSERT_TRUE(WriteFileAtomically(path_, script, 0600, Overwrite::kReplace).ok());
  }
  static bool Has(const std::string& shell) {
    return std::system(absl::StrCat("command -v ", shell, " >/dev/null").c_str()) == 0;
  }
  // The lines that a command prints; its exit code must be zero.
  static std::vector<std::string> Lines(const std::string& command) {
    FILE* pipe = popen(command.c_str(), "r");
    std::string text;
    char buffer[4096];
    while (size_t n = fread(buffer, 1, sizeof(buffer), pipe)) text.append(buffer, n);
    EXPECT_EQ(pclose(pipe), 0) << command;
    return absl::StrSplit(text, '\n', absl::SkipEmpty());
  }
  // What bash offers for the last of `words` (the words after "capstan").
  std::vector<std::string> Offered(const std::string& words) {
    Save(BashCompletion(app_));
    return Lines(absl::StrCat("bash -c 'source ", path_, "; COMP_WORDS=(capstan ", words,
                              "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _capstan; "
                              "printf \"%s\\n\" \"${COMPREPLY[@]}\"'"));
  }

  CLI::App app_;
  std::string path_;
};

TEST_F(CompletionTest, BashOffersCommands) {
  if (!Has("bash")) GTEST_SKIP() << "bash is not installed";
  EXPECT_THAT(Offered("\"\""), ElementsAre("pki", "rotate", "completion"));
  EXPECT_THAT(Offered("p"), ElementsAre("pki"));
  EXPECT_THAT(Offered("pki \"\""), IsSupersetOf({"key", "root-ca", "sign", "bundle"}));
  EXPECT_THAT(Offered("pki int"), ElementsAre("intermediate-cacerts"));
  EXPECT_THAT(Offered("completion \"\""), UnorderedElementsAre("bash", "zsh", "fish"));
}

TEST_F(CompletionTest, BashOffersFlagsOfTheCommandTyped) {
  if (!Has("bash")) GTEST_SKIP() << "bash is not installed";
  EXPECT_THAT(Offered("pki key --"), AllOf(IsSupersetOf({"--type", "--out", "--force", "--help"}),
                                           Not(Contains("--csr"))));
  EXPECT_THAT(Offered("pki sign --out x --c"),
              UnorderedElementsAre("--csr", "--ca-cert", "--ca-key", "--copy-extensions",
                                   "--config", "--crl-sign"));
}

TEST_F(CompletionTest, BashKnowsAliases) {
  if (!Has("bash")) GTEST_SKIP() << "bash is not installed";
  EXPECT_THAT(Offered("p ke"), ElementsAre("key"));
  EXPECT_THAT(Offered("p key --type rsa-2"), ElementsAre("rsa-2048"));
}

TEST_F(CompletionTest, BashOffersValues) {
  if (!Has("bash")) GTEST_SKIP() << "bash is not installed";
  EXPECT_THAT(Offered("pki key --type rsa"), ElementsAre("rsa-2048", "rsa-3072", "rsa-4096"));
  EXPECT_THAT(Offered("pki bundle --order \"\""), UnorderedElementsAre("given", "canonical"));
  EXPECT_THAT(Offered("pki key -o \"\""), UnorderedElementsAre("json", "text"));
  EXPECT_THAT(Offered("pki key --out \"\""), IsEmpty());  // left to the shell: files
}

TEST_F(CompletionTest, BashKnowsRotations) {
  if (!Has("bash")) GTEST_SKIP() << "bash is not installed";
  EXPECT_THAT(Offered("rotate \"\""),
              ElementsAre("plan", "start", "status", "watch", "explain", "pause", "resume",
                          "rollback", "abort", "exclude", "history"));
  EXPECT_THAT(
      Offered("rotate start --"),
      IsSupersetOf({"--to", "--generate", "--intermediate", "--from-upstream", "--soak", "--absent",
                    "--require", "--budget", "--emergency", "--yes", "--wait"}));
  EXPECT_THAT(Offered("rotate plan --require \"\""), ElementsAre("proven"));
  EXPECT_THAT(Offered("rotate status -o \"\""), UnorderedElementsAre("json", "text"));
  EXPECT_THAT(Offered("rotate plan --to \"\""), IsEmpty());  // left to the shell: directories
}

TEST_F(CompletionTest, ShellsAcceptTheirScripts) {
  const std::vector<std::pair<std::string, std::string>> scripts = {
      {"bash", BashCompletion(app_)}, {"zsh", ZshCompletion(app_)}, {"fish", FishCompletion(app_)}};
  for (const auto& [shell, script] : scripts) {
    if (!Has(shell)) continue;
    Save(script);
    Lines(absl::StrCat(shell, " -n ", path_));
  }
}

TEST_F(CompletionTest, FishOffersCommandsAndValues) {
  if (!Has("fish")) GTEST_SKIP() << "fish is not installed";
  Save(FishCompletion(app_));
  const auto offered = [&](const std::string& line) {
    return Lines(absl::StrCat("HOME=/nonexistent fish -N -c 'source ", path_, "; complete -C \"",
                              line, "\"'"));
  };
  EXPECT_THAT(offered("capstan pki k"), ElementsAre("key\tMake a private key"));
  EXPECT_THAT(offered("capstan p ke"), ElementsAre("key\tMake a private key"));
  EXPECT_THAT(offered("capstan pki bundle --order c"), ElementsAre(HasSubstr("canonical")));
}

TEST_F(CompletionTest, ZshAndFishDescribeWhatTheyOffer) {
  EXPECT_THAT(ZshCompletion(app_), AllOf(HasSubstr("'key:Make a private key'"),
                                         HasSubstr("('capstan pki key --type') compadd rsa-2048")));
  EXPECT_THAT(
      FishCompletion(app_),
      HasSubstr("complete -c capstan -f -n '__capstan_at '\\''capstan pki'\\''' -a key -d 'Make a "
                "private key'"));
}

}  // namespace
}  // namespace capstan::cli
