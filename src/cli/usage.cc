// SPDX-License-Identifier: Apache-2.0
#include "cli/usage.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/config.h"
#include "base/status.h"
#include "cli/commands.h"

namespace capstan::cli {
namespace {

// The command that was reached, and how it is typed.
struct Reached {
  CLI::App* command;
  std::string typed;
};

Reached DeepestCommand(CLI::App& app) {
  Reached reached{&app, app.get_name()};
  while (!reached.command->get_subcommands().empty()) {
    reached.command = reached.command->get_subcommands().back();
    absl::StrAppend(&reached.typed, " ", reached.command->get_name());
  }
  return reached;
}

std::vector<std::string> SubcommandNames(CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* sub : command.get_subcommands([](CLI::App*) { return true; })) {
    if (!sub->get_name().empty() && !sub->get_group().empty()) names.push_back(sub->get_name());
  }
  return names;
}

std::vector<std::string> FlagNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

std::string DidYouMean(std::string_view word, const std::vector<std::string>& known) {
  const std::string nearest = Nearest(word, known);
  return nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?");
}

std::string ExplainUnknown(const Reached& reached, const std::string& argument) {
  if (argument.size() > 1 && argument.front() == '-') {
    const std::string flag = argument.substr(0, argument.find('='));
    return absl::StrCat("`", reached.typed, "` has no flag ", flag,
                        DidYouMean(flag, FlagNames(*reached.command)));
  }
  const std::vector<std::string> commands = SubcommandNames(*reached.command);
  if (commands.empty()) {
    return absl::StrCat("`", reached.typed, "` has no use for \"", argument, "\"");
  }
  const std::string nearest = DidYouMean(argument, commands);
  return absl::StrCat("`", reached.typed, "` has no command \"", argument, "\"",
                      nearest.empty() ? "; it has " + absl::StrJoin(commands, ", ") : nearest);
}

// The type without the checks that CLI11 appends ("INT:INT in [1 - 9]"), or the values to choose
// from.
std::string ValueKind(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t open = type.find('{');
  const size_t close = type.find('}', open);
  if (open != std::string::npos && close != std::string::npos) {
    return absl::StrReplaceAll(type.substr(open + 1, close - open - 1), {{",", "|"}});
  }
  const std::string plain = type.substr(0, type.find(':'));
  return plain == "INT" || plain == "UINT" ? "N" : plain;
}

}  // namespace

HelpFormatter::HelpFormatter() {
  column_width(30);
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  if (option->get_type_size() == 0 || option->get_items_expected_max() == 0) return "";
  return absl::StrCat(" ", ValueKind(*option));
}

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
  const std::string fallback = option->get_default_str();
  return absl::StrCat(
      option->get_description(), fallback.empty() ? "" : absl::StrCat(" [", fallback, "]"),
      option->get_required() ? " (required)" : "",
      option->get_envname().empty() ? "" : absl::StrCat(" (variable ", option->get_envname(), ")"));
}

std::string ExplainUsage(CLI::App& app, const CLI::ParseError& error) {
  const Reached reached = DeepestCommand(app);
  const std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
  const std::vector<std::string> commands = SubcommandNames(*reached.command);
  std::string what;
  if (!unknown.empty()) {
    what = ExplainUnknown(reached, unknown.front());
  } else if (!commands.empty()) {
    what = absl::StrCat("`", reached.typed, "` needs a command: ", absl::StrJoin(commands, ", "));
  } else {
    what = error.what();
  }
  return absl::StrCat(absl::StripTrailingAsciiWhitespace(what), "\n`", reached.typed,
                      " --help` explains it.");
}

int RunProgram(CLI::App& app, int argc, const char* const* argv, std::ostream& out,
               std::ostream& err) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::RuntimeError& error) {  // thrown by Fail(), which has printed
    return error.get_exit_code();
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
      return app.exit(error, out, err);  // --help, --version
    }
    err << app.get_name() << ": " << ExplainUsage(app, error) << "\n";
    return kUsage;
  }
  return kDone;
}

}  // namespace capstan::cli
