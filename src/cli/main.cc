// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>

#include "base/version.h"
#include "cli/commands.h"
#include "cli/usage.h"

namespace {

// "" where it is not set.
std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

capstan::cli::Surroundings ReadSurroundings() {
  capstan::cli::Surroundings surroundings{.no_color = Variable("NO_COLOR"),
                                          .term = Variable("TERM")};
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    if (surroundings.locale.empty()) surroundings.locale = Variable(name);
  }
  return surroundings;
}

}  // namespace

int main(int argc, char** argv) {
  namespace cli = capstan::cli;
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app("capstan changes the trust anchors of a running mesh.", "capstan");
  app.formatter(std::make_shared<cli::HelpFormatter>());  // the commands inherit it
  app.set_version_flag("--version", std::string("capstan ") + capstan::kVersion);
  app.require_subcommand(1);
  app.set_help_all_flag("--help-all", "Print help of every command");
  cli::AddPkiCommands(app);
  cli::AddInspectCommand(app);
  cli::AddVerifyCommand(app);
  cli::AddProxyConfigCommand(app);
  cli::AddEnvoyStatsCommand(app);
  cli::AddEnvoyBootstrapCommand(app);
  cli::AddControlCommands(app);
  cli::AddRotateCommands(app, ReadSurroundings());
  cli::AddDemoCommand(app);
  cli::AddSimulateCommand(app);
  cli::AddCompletionCommand(app);
  app.footer(
      "exit codes: 0 done; 1 the answer is no; 2 wrong usage or bad input; 3 something else "
      "failed;\n10 to 13 how a rotation is (capstan rotate status --help)\n\n"
      "examples:\n"
      "  capstan pki root-ca && capstan pki intermediate-cacerts intermediateA\n"
      "  capstan inspect --short intermediateA/cert-chain.pem\n"
      "  capstan demo\n"
      "  eval \"$(capstan completion bash)\"");
  return cli::RunProgram(app, argc, argv, std::cout, std::cerr);
}
