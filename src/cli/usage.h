// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <ostream>
#include <string>

namespace capstan::cli {

// Help with one line per flag: its value's kind, what it does, and the default.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter();
  std::string make_option_opts(const CLI::Option* option) const override;
  std::string make_option_desc(const CLI::Option* option) const override;
};

// What is wrong with a command line that `app` just refused with `error`: one sentence with what
// was meant, as far as that can be guessed, and the help that explains it.
std::string ExplainUsage(CLI::App& app, const CLI::ParseError& error);

// Parses the arguments, which runs the chosen command, and gives the program's exit code: every
// refusal of a command line is kUsage.
int RunProgram(CLI::App& app, int argc, const char* const* argv, std::ostream& out,
               std::ostream& err);

}  // namespace capstan::cli
