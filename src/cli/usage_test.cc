// SPDX-License-Identifier: Apache-2.0
#include "cli/usage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "cli/commands.h"

namespace capstan::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Result {
  int code;
  std::string out;
  std::string err;
};

// A small program: `tool pki key --type T --out FILE [--force]`, `tool fail CODE`.
Result RunTool(std::vector<const char*> arguments) {
  CLI::App app("A tool.", "tool");
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_version_flag("--version", "tool 1");
  app.require_subcommand(1);
  CLI::App* pki = app.add_subcommand("pki", "Make keys");
  pki->require_subcommand(1);
  CLI::App* key = pki->add_subcommand("key", "Make a key");
  std::string type = "a";
  std::string out_file;
  bool force = false;
  int days = 3;
  key->add_option("--type", type, "Its kind")
      ->check(CLI::IsMember({"a", "b"}))
      ->capture_default_str();
  key->add_option("--days", days, "Days")->check(CLI::Range(1, 9))->envname("TOOL_DAYS");
  key->add_option("--out", out_file, "File")->type_name("FILE")->required();
  key->add_flag("--force", force, "Replace files");
  key->footer("examples:\n  tool pki key --out k");
  CLI::App* fail = app.add_subcommand("fail", "Fail");
  int code = 0;
  fail->add_option("CODE", code, "")->required();
  fail->callback([&] { throw CLI::RuntimeError(code); });
  arguments.insert(arguments.begin(), "tool");
  std::ostringstream out;
  std::ostringstream err;
  const int exit_code =
      RunProgram(app, static_cast<int>(arguments.size()), arguments.data(), out, err);
  return {exit_code, out.str(), err.str()};
}

TEST(Usage, GoodCommandLinesEndWithZero) {
  const Result result = RunTool({"pki", "key", "--out", "x"});
  EXPECT_EQ(result.code, kDone);
  EXPECT_EQ(result.err, "");
}

TEST(Usage, CommandsChooseTheirExitCode) {
  EXPECT_EQ(RunTool({"fail", "1"}).code, kNo);
  EXPECT_EQ(RunTool({"fail", "3"}).code, kFailed);
  EXPECT_EQ(RunTool({"fail", "3"}).err, "");  // Fail() prints, nobody else
}

TEST(Usage, NamesTheNearestCommand) {
  const Result result = RunTool({"pky"});
  EXPECT_EQ(result.code, kUsage);
  EXPECT_EQ(result.err,
            "tool: `tool` has no command \"pky\"; did you mean pki?\n`tool --help` explains it.\n");
  EXPECT_THAT(RunTool({"pki", "kye", "--out", "x"}).err,
              StartsWith("tool: `tool pki` has no command \"kye\"; did you mean key?\n"));
}

TEST(Usage, ListsCommandsWhereNoneIsNear) {
  EXPECT_THAT(RunTool({"frobnicate"}).err,
              HasSubstr("no command \"frobnicate\"; it has pki, fail\n"));
}

TEST(Usage, NamesTheNearestFlag) {
  const Result result = RunTool({"pki", "key", "--out", "x", "--fource"});
  EXPECT_EQ(result.code, kUsage);
  EXPECT_EQ(result.err,
            "tool: `tool pki key` has no flag --fource; did you mean --force?\n"
            "`tool pki key --help` explains it.\n");
  EXPECT_THAT(RunTool({"pki", "key", "--tipe=b"}).err,
              HasSubstr("no flag --tipe; did you mean --type?"));
}

TEST(Usage, SaysWhatIsMissing) {
  EXPECT_THAT(RunTool({}).err, StartsWith("tool: `tool` needs a command: pki, fail\n"));
  EXPECT_THAT(RunTool({"pki"}).err, StartsWith("tool: `tool pki` needs a command: key\n"));
  EXPECT_THAT(RunTool({"pki", "key"}).err, StartsWith("tool: --out is required\n"));
  EXPECT_THAT(RunTool({"pki", "key", "surplus", "--out", "x"}).err,
              StartsWith("tool: `tool pki key` has no use for \"surplus\"\n"));
}

TEST(Usage, RefusesValuesOutsideTheList) {
  const Result result = RunTool({"pki", "key", "--type", "c", "--out", "x"});
  EXPECT_EQ(result.code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("--type: c not in {a,b}"));
}

TEST(Usage, HelpAndVersionAreNoMistakes) {
  const Result help = RunTool({"pki", "key", "--help"});
  EXPECT_EQ(help.code, kDone);
  EXPECT_THAT(help.out, HasSubstr("--type a|b "));
  EXPECT_THAT(help.out, HasSubstr("Its kind [a]"));
  EXPECT_THAT(help.out, HasSubstr("--out FILE "));
  EXPECT_THAT(help.out, HasSubstr("File (required)"));
  EXPECT_THAT(help.out, HasSubstr("--days N "));
  EXPECT_THAT(help.out, HasSubstr("(variable TOOL_DAYS)"));
  EXPECT_THAT(help.out, HasSubstr("examples:\n  tool pki key --out k"));
  EXPECT_EQ(RunTool({"--version"}).out, "tool 1\n");
}

}  // namespace
}  // namespace capstan::cli
