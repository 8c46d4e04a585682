// SPDX-License-Identifier: Apache-2.0
// The scripts hold one table: what may follow each command ("capstan pki sign"). A shell walks the
// words that were typed to the deepest command and offers its entries.
#include "cli/completion.h"

#include <functional>
#include <iostream>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "cli/commands.h"

namespace capstan::cli {
namespace {

struct Flag {
  std::vector<std::string> names;  // "--type", "-o"
  std::string help;
  bool takes_value = false;
  std::vector<std::string> values;  // empty: any, most often a file
};

struct Command {
  std::string path;  // "capstan pki key"
  std::string name;  // "key"
  std::string help;
  std::vector<std::string> aliases;  // paths too: "capstan pc"
  std::vector<Flag> flags;
  std::vector<std::string> values;  // of its positional argument
  std::vector<Command> commands;
};

// The members of an IsMember check, which CLI11 keeps as "TEXT:{a,b}" in the option's type.
std::vector<std::string> FixedValues(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t open = type.find('{');
  const size_t close = type.find('}', open);
  if (open == std::string::npos || close == std::string::npos) return {};
  return absl::StrSplit(type.substr(open + 1, close - open - 1), ',', absl::SkipEmpty());
}

Flag ToFlag(const CLI::Option& option) {
  Flag flag;
  for (const std::string& name : option.get_lnames()) flag.names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) flag.names.push_back("-" + name);
  flag.help = option.get_description();
  flag.takes_value = option.get_items_expected_max() > 0;
  if (flag.takes_value) flag.values = FixedValues(option);
  return flag;
}

Command ToCommand(CLI::App& app, const std::string& parent) {
  Command command;
  command.name = app.get_name();
  command.path = parent.empty() ? command.name : absl::StrCat(parent, " ", command.name);
  command.help = app.get_description();
  for (const std::string& alias : app.get_aliases()) {
    command.aliases.push_back(absl::StrCat(parent, " ", alias));
  }
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      command.values = FixedValues(*option);
    } else if (!option->get_group().empty()) {
      command.flags.push_back(ToFlag(*option));
    }
  }
  for (CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; })) {
    if (!sub->get_group().empty()) command.commands.push_back(ToCommand(*sub, command.path));
  }
  return command;
}

void ForEach(const Command& command, const std::function<void(const Command&)>& visit) {
  visit(command);
  for (const Command& sub : command.commands) ForEach(sub, visit);
}

// One word for a shell, whatever it holds.
std::string Quote(std::string_view text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

// The first sentence, on one line: what fits beside a candidate.
std::string Brief(std::string_view help) {
  return std::string(absl::StripTrailingAsciiWhitespace(help.substr(0, help.find_first_of("\n("))));
}

std::vector<std::string> Names(const std::vector<Command>& commands) {
  std::vector<std::string> names;
  for (const Command& command : commands) names.push_back(command.name);
  return names;
}

std::vector<std::string> Names(const std::vector<Flag>& flags) {
  std::vector<std::string> names;
  for (const Flag& flag : flags) names.insert(names.end(), flag.names.begin(), flag.names.end());
  return names;
}

// Every command but the first, as alternatives of a case.
std::string Paths(const Command& root) {
  std::vector<std::string> paths;
  ForEach(root, [&](const Command& command) {
    if (&command != &root) paths.push_back(Quote(command.path));
  });
  return absl::StrJoin(paths, " | ");
}

// A case arm for every alias: `before` the pattern, `between` it and the path it stands for,
// `after` that.
std::string AliasArms(const Command& root, std::string_view before, std::string_view between,
                      std::string_view after) {
  std::string arms;
  ForEach(root, [&](const Command& command) {
    for (const std::string& alias : command.aliases) {
      absl::StrAppend(&arms, before, Quote(alias), between, Quote(command.path), after);
    }
  });
  return arms;
}

// "PATH --flag" of every name of a flag, as alternatives of a case.
std::string FlagPatterns(const Command& command, const Flag& flag) {
  std::vector<std::string> patterns;
  for (const std::string& name : flag.names) {
    patterns.push_back(Quote(absl::StrCat(command.path, " ", name)));
  }
  return absl::StrJoin(patterns, " | ");
}

constexpr char kBashHead[] = R"(# bash completion for capstan, printed by `capstan completion bash`.
_capstan() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
  local at=capstan commands='' flags='' values='' i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at ${COMP_WORDS[i]}" in
)";
constexpr char kBashAfterPaths[] = R"() at="$at ${COMP_WORDS[i]}" ;;
    esac
  done
  COMPREPLY=()
  case "$at $previous" in
)";
constexpr char kBashAfterValues[] = R"(  esac
  case $at in
)";
constexpr char kBashTail[] = R"(  esac
  if [[ -z $values && $current == -* ]]; then
    values=$flags
  elif [[ -z $values ]]; then
    values=$commands
  fi
  mapfile -t COMPREPLY < <(compgen -W "$values" -- "$current")
}
complete -o default -F _capstan capstan
)";

constexpr char kZshHead[] = R"(#compdef capstan
# zsh completion for capstan, printed by `capstan completion zsh`.
_capstan() {
  local at=capstan word
  local -a commands flags values
  for word in "${(@)words[2,CURRENT-1]}"; do
    case "$at $word" in
)";
constexpr char kZshAfterPaths[] = R"() at="$at $word" ;;
    esac
  done
  case "$at ${words[CURRENT-1]}" in
)";
constexpr char kZshAfterValues[] = R"(  esac
  case $at in
)";
constexpr char kZshTail[] = R"(  esac
  if [[ ${words[CURRENT]} == -* ]]; then
    _describe -t flags flag flags
  elif (( $#commands )); then
    _describe -t commands command commands
  elif (( $#values )); then
    compadd -a values
  else
    _files
  fi
}
if [[ ${funcstack[1]} == _capstan ]]; then _capstan "$@"; else compdef _capstan capstan; fi
)";

constexpr char kFishHead[] = R"(# fish completion for capstan, printed by `capstan completion fish`.
function __capstan_at
  set -l at capstan
  for word in (commandline -opc)[2..-1]
    switch "$at $word"
)";
constexpr char kFishAfterPaths[] = R"(
        set at "$at $word"
    end
  end
  test "$at" = "$argv[1]"
end
complete -c capstan -e
)";

// 'name:help', as zsh's _describe reads it.
std::string Described(std::string_view name, const std::string& help) {
  const auto escape = [](std::string_view text) {
    return absl::StrReplaceAll(text, {{":", "\\:"}});
  };
  return Quote(absl::StrCat(escape(name), ":", escape(Brief(help))));
}

std::string FishFlag(const Command& command, const Flag& flag) {
  std::string line = absl::StrCat("complete -c capstan -n ",
                                  Quote(absl::StrCat("__capstan_at ", Quote(command.path))));
  for (const std::string& name : flag.names) {
    const bool is_long = name.starts_with("--");
    absl::StrAppend(&line, is_long ? " -l " : " -s ", name.substr(is_long ? 2 : 1));
  }
  if (!flag.values.empty()) {
    absl::StrAppend(&line, " -x -a ", Quote(absl::StrJoin(flag.values, " ")));
  } else if (flag.takes_value) {
    absl::StrAppend(&line, " -r -F");
  }
  return absl::StrCat(line, " -d ", Quote(Brief(flag.help)), "\n");
}

}  // namespace

std::string BashCompletion(CLI::App& app) {
  const Command root = ToCommand(app, "");
  std::string values;
  std::string commands;
  ForEach(root, [&](const Command& command) {
    for (const Flag& flag : command.flags) {
      if (!flag.takes_value) continue;
      // A value that may be anything is left to the shell, which offers files.
      const std::string action =
          flag.values.empty() ? "return"
                              : absl::StrCat("values=", Quote(absl::StrJoin(flag.values, " ")));
      absl::StrAppend(&values, "    ", FlagPatterns(command, flag), ") ", action, " ;;\n");
    }
    std::vector<std::string> next = Names(command.commands);
    next.insert(next.end(), command.values.begin(), command.values.end());
    absl::StrAppend(&commands, "    ", Quote(command.path),
                    ") commands=", Quote(absl::StrJoin(next, " ")),
                    " flags=", Quote(absl::StrJoin(Names(command.flags), " ")), " ;;\n");
  });
  return absl::StrCat(kBashHead, AliasArms(root, "      ", ") at=", " ;;\n"), "      ", Paths(root),
                      kBashAfterPaths, values, kBashAfterValues, commands, kBashTail);
}

std::string ZshCompletion(CLI::App& app) {
  const Command root = ToCommand(app, "");
  std::string values;
  std::string commands;
  ForEach(root, [&](const Command& command) {
    for (const Flag& flag : command.flags) {
      if (!flag.takes_value) continue;
      const std::string action = flag.values.empty()
                                     ? "_files"
                                     : absl::StrCat("compadd ", absl::StrJoin(flag.values, " "));
      absl::StrAppend(&values, "    (", FlagPatterns(command, flag), ") ", action, "; return ;;\n");
    }
    std::vector<std::string> described;
    for (const Command& sub : command.commands) described.push_back(Described(sub.name, sub.help));
    std::vector<std::string> flags;
    for (const Flag& flag : command.flags) {
      for (const std::string& name : flag.names) flags.push_back(Described(name, flag.help));
    }
    absl::StrAppend(&commands, "    (", Quote(command.path), ")\n      commands=(",
                    absl::StrJoin(described, " "), ")\n      flags=(", absl::StrJoin(flags, " "),
                    ")\n      values=(", absl::StrJoin(command.values, " "), ") ;;\n");
  });
  return absl::StrCat(kZshHead, AliasArms(root, "      (", ") at=", " ;;\n"), "      (",
                      Paths(root), kZshAfterPaths, values, kZshAfterValues, commands, kZshTail);
}

std::string FishCompletion(CLI::App& app) {
  const Command root = ToCommand(app, "");
  std::string lines;
  ForEach(root, [&](const Command& command) {
    const std::string here = Quote(absl::StrCat("__capstan_at ", Quote(command.path)));
    for (const Command& sub : command.commands) {
      absl::StrAppend(&lines, "complete -c capstan -f -n ", here, " -a ", sub.name, " -d ",
                      Quote(Brief(sub.help)), "\n");
    }
    if (!command.values.empty()) {
      absl::StrAppend(&lines, "complete -c capstan -f -n ", here, " -a ",
                      Quote(absl::StrJoin(command.values, " ")), "\n");
    }
    for (const Flag& flag : command.flags) lines += FishFlag(command, flag);
  });
  return absl::StrCat(kFishHead, AliasArms(root, "      case ", "\n        set at ", "\n"),
                      "      case ", absl::StrReplaceAll(Paths(root), {{" | ", " "}}),
                      kFishAfterPaths, lines);
}

void AddCompletionCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("completion", "Print a shell's completion script");
  auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "The shell")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->footer(
      "examples:\n"
      "  eval \"$(capstan completion bash)\"                      # in ~/.bashrc\n"
      "  capstan completion zsh > \"${fpath[1]}/_capstan\"\n"
      "  capstan completion fish > ~/.config/fish/completions/capstan.fish");
  command->callback([&app, shell] {
    if (*shell == "bash") std::cout << BashCompletion(app);
    if (*shell == "zsh") std::cout << ZshCompletion(app);
    if (*shell == "fish") std::cout << FishCompletion(app);
  });
}

}  // namespace capstan::cli
