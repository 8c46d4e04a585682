// SPDX-License-Identifier: Apache-2.0
#include "base/config.h"

#include <yaml-cpp/yaml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/files.h"
#include "base/status.h"
#include "base/version.h"

namespace capstan {
namespace {

// Settings that every program has and that make no sense inside the file.
constexpr char kConfig[] = "config";
constexpr char kPrint[] = "print-config";

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

absl::StatusOr<bool> ParseBool(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is neither true nor false"));
}

// A plain scalar where YAML reads it back as the same text, else a quoted one.
std::string YamlScalar(const std::string& value) {
  YAML::Emitter out;
  if (value.empty()) {
    out << YAML::DoubleQuoted;
  }
  out << value;
  return out.c_str();
}

absl::StatusOr<std::string> YamlValue(const YAML::Node& node, bool list, bool commas) {
  if (node.IsScalar()) return node.Scalar();
  if (node.IsNull()) return absl::InvalidArgumentError("has no value");
  if (node.IsSequence() && list) {
    std::vector<std::string> items;
    for (const YAML::Node& item : node) {
      if (!item.IsScalar())
        return absl::InvalidArgumentError("is a list of something else than text");
      if (!commas && item.Scalar().find(',') != std::string::npos) {
        return absl::InvalidArgumentError(
            absl::StrCat("has an item with a comma in it: \"", item.Scalar(), "\""));
      }
      items.push_back(item.Scalar());
    }
    return absl::StrJoin(items, ",");
  }
  return absl::InvalidArgumentError(list ? "is a map; it takes one value or a list of values"
                                         : "is a list or a map; it takes one value");
}

}  // namespace

std::string Nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = word.size() / 3 + 2;  // farther than this was not meant
  for (const std::string& candidate : candidates) {
    size_t distance = EditDistance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

Settings::Settings(std::string program, std::string summary)
    : program_(std::move(program)), summary_(std::move(summary)) {}

void Settings::Add(Setting setting) {
  settings_.push_back(std::move(setting));
}

void Settings::Text(std::string name, std::string help, std::string* target) {
  Custom(
      std::move(name), std::move(help), "TEXT",
      [target](std::string_view text) {
        *target = std::string(text);
        return absl::OkStatus();
      },
      [target] { return *target; });
}

void Settings::List(std::string name, std::string help, std::vector<std::string>* target) {
  Custom(
      std::move(name), std::move(help), "A,B,…",
      [target](std::string_view text) {
        target->clear();
        for (absl::string_view item : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
          target->emplace_back(absl::StripAsciiWhitespace(item));
        }
        return absl::OkStatus();
      },
      [target] { return absl::StrJoin(*target, ","); });
  settings_.back().is_list = true;
}

void Settings::Bool(std::string name, std::string help, bool* target) {
  Custom(
      std::move(name), std::move(help), "",
      [target](std::string_view text) -> absl::Status {
        CAPSTAN_ASSIGN_OR_RETURN(*target, ParseBool(text));
        return absl::OkStatus();
      },
      [target] { return *target ? "true" : "false"; });
  settings_.back().is_switch = true;
}

void Settings::Integer(std::string name, std::string help, int64_t* target, int64_t least,
                       int64_t most) {
  Custom(
      std::move(name), std::move(help), "N",
      [=](std::string_view text) {
        int64_t value = 0;
        if (!absl::SimpleAtoi(text, &value) || value < least || value > most) {
          return absl::InvalidArgumentError(
              absl::StrCat("\"", text, "\" is not a whole number from ", least, " to ", most));
        }
        *target = value;
        return absl::OkStatus();
      },
      [target] { return absl::StrCat(*target); });
}

void Settings::Duration(std::string name, std::string help, absl::Duration* target,
                        absl::Duration least) {
  Custom(
      std::move(name), std::move(help), "DURATION",
      [=](std::string_view text) {
        absl::Duration value;
        if (!absl::ParseDuration(text, &value)) {
          return absl::InvalidArgumentError(
              absl::StrCat("\"", text, "\" is not a duration; write 90s, 15m or 24h"));
        }
        if (value < least || value == absl::InfiniteDuration()) {
          return absl::InvalidArgumentError(absl::StrCat(
              "\"", text, "\" is not a duration of at least ", absl::FormatDuration(least)));
        }
        *target = value;
        return absl::OkStatus();
      },
      [target] { return absl::FormatDuration(*target); });
}

void Settings::Custom(std::string name, std::string help, std::string placeholder,
                      std::function<absl::Status(std::string_view)> set,
                      std::function<std::string()> render) {
  Setting setting;
  setting.name = std::move(name);
  setting.help = std::move(help);
  setting.placeholder = std::move(placeholder);
  setting.set = std::move(set);
  setting.render = std::move(render);
  Add(std::move(setting));
}

void Settings::CustomList(std::string name, std::string help, std::string placeholder,
                          std::function<absl::Status(std::string_view)> set,
                          std::function<std::string()> render) {
  Custom(std::move(name), std::move(help), std::move(placeholder), std::move(set),
         std::move(render));
  settings_.back().is_list = true;
  settings_.back().is_joined = true;
}

const Settings::Setting* Settings::Find(std::string_view name) const {
  for (const Setting& setting : settings_) {
    if (setting.name == name) return &setting;
  }
  return nullptr;
}

std::string Settings::VariableName(std::string_view setting) const {
  return absl::AsciiStrToUpper(
      absl::StrReplaceAll(absl::StrCat(program_, "_", setting), {{"-", "_"}}));
}

std::string Settings::Suggestion(std::string_view unknown, std::string_view prefix) const {
  std::vector<std::string> names = {kConfig, kPrint};
  for (const Setting& setting : settings_) names.push_back(setting.name);
  std::string nearest = Nearest(unknown, names);
  return nearest.empty() ? absl::StrCat("; ", program_, " --help lists them")
                         : absl::StrCat("; did you mean ", prefix, nearest, "?");
}

absl::StatusOr<Settings::Todo> Settings::Load(int argc, const char* const* argv,
                                              const Environment& environment) {
  Values values;
  CAPSTAN_ASSIGN_OR_RETURN(Todo todo, ReadFlags(argc, argv, values));
  if (todo == Todo::kExit) return todo;
  std::string file;
  if (auto given = values.find(kConfig); given != values.end()) {
    file = given->second.value;
    values.erase(given);
  } else {
    file = environment(VariableName(kConfig)).value_or("");
  }
  for (const Setting& setting : settings_) {
    if (values.contains(setting.name)) continue;
    std::string variable = VariableName(setting.name);
    if (std::optional<std::string> value = environment(variable)) {
      values[setting.name] = {*std::move(value), variable};
    }
  }
  if (!file.empty()) CAPSTAN_RETURN_IF_ERROR(ReadFile(file, values));
  CAPSTAN_RETURN_IF_ERROR(Store(values));
  return todo;
}

absl::StatusOr<Settings::Todo> Settings::ReadFlags(int argc, const char* const* argv,
                                                   Values& values) {
  CLI::App app(summary_, program_);
  app.allow_extras();
  app.set_help_flag("--help,-h", "this text");
  bool version = false;
  bool print = false;
  std::string file;
  app.add_flag("--version", version, "the version");
  CLI::Option* config =
      app.add_option("--config", file, "YAML file with these settings, a name for each flag")
          ->type_name("FILE");
  app.add_flag("--print-config", print, "print the configuration in force as YAML, and exit");
  std::map<std::string, std::pair<CLI::Option*, std::string>> given;
  for (const Setting& setting : settings_) {
    auto& [option, text] = given[setting.name];
    std::string help = setting.help;
    if (std::string value = setting.render(); !value.empty())
      absl::StrAppend(&help, " [", value, "]");
    std::string flag = absl::StrCat("--", setting.name);
    if (setting.is_switch) {
      option = app.add_flag(flag, text, help);
    } else {
      option = app.add_option(flag, text, help)->type_name(setting.placeholder);
    }
    if (setting.is_joined) {
      option->join(',');
    } else {
      option->multi_option_policy(CLI::MultiOptionPolicy::Throw);
    }
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    output_ = absl::StrCat(
        app.help(), "Every flag is also a key of the YAML file (without dashes in front) and a\n",
        "variable of the environment: ", VariableName("state-dir"), " for --state-dir.\n");
    return Todo::kExit;
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(error.what(), "; ", program_, " --help lists the flags"));
  }
  if (std::vector<std::string> extra = app.remaining(); !extra.empty()) {
    std::string_view name = extra.front();
    if (!absl::ConsumePrefix(&name, "--")) {
      return absl::InvalidArgumentError(
          absl::StrCat("unexpected argument \"", name, "\"; ", program_, " takes flags only"));
    }
    name = name.substr(0, name.find('='));
    return absl::InvalidArgumentError(
        absl::StrCat("unknown flag --", name, Suggestion(name, "--")));
  }
  if (version) {
    output_ = absl::StrCat(program_, " ", kVersion, "\n");
    return Todo::kExit;
  }
  if (config->count() > 0) values[kConfig] = {file, "--config"};
  for (const auto& [name, option] : given) {
    if (option.first->count() > 0) values[name] = {option.second, absl::StrCat("--", name)};
  }
  return print ? Todo::kPrintConfig : Todo::kRun;
}

absl::Status Settings::ReadFile(const std::string& path, Values& values) const {
  CAPSTAN_ASSIGN_OR_RETURN(std::string text, capstan::ReadFile(path, 1 << 20));
  YAML::Node root;
  try {
    root = YAML::Load(text);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ":", error.mark.line + 1, ": not YAML: ", error.msg));
  }
  if (root.IsNull()) return absl::OkStatus();
  if (!root.IsMap()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": must be a map of names to values"));
  }
  std::set<std::string> seen;
  for (const auto& entry : root) {
    std::string place = absl::StrCat(path, ":", entry.first.Mark().line + 1);
    if (!entry.first.IsScalar())
      return absl::InvalidArgumentError(absl::StrCat(place, ": not a name"));
    const std::string& name = entry.first.Scalar();
    const Setting* setting = Find(name);
    if (setting == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(place, ": unknown key \"", name, "\"", Suggestion(name, "")));
    }
    if (!seen.insert(name).second) {
      return absl::InvalidArgumentError(absl::StrCat(place, ": \"", name, "\" is there twice"));
    }
    absl::StatusOr<std::string> value =
        YamlValue(entry.second, setting->is_list, setting->is_joined);
    if (!value.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(place, ": ", name, " ", value.status().message()));
    }
    // Checked even where a flag or a variable hides it: a file is wrong or it is not.
    if (values.contains(name)) {
      std::string hidden = setting->render();
      absl::Status status = setting->set(*value);
      (void)setting->set(hidden);
      if (!status.ok())
        return absl::InvalidArgumentError(absl::StrCat(place, ": ", name, ": ", status.message()));
      continue;
    }
    values[name] = {*std::move(value), place};
  }
  return absl::OkStatus();
}

absl::Status Settings::Store(const Values& values) {
  for (Setting& setting : settings_) {
    auto given = values.find(setting.name);
    if (given == values.end()) continue;
    const auto& [value, origin] = given->second;
    if (absl::Status status = setting.set(value); !status.ok()) {
      bool names_it = absl::StrContains(origin, setting.name);
      return absl::InvalidArgumentError(
          absl::StrCat(origin, ": ", names_it ? "" : setting.name + ": ", status.message()));
    }
    setting.origin = origin;
  }
  return absl::OkStatus();
}

std::string Settings::ToYaml() const {
  std::string yaml;
  for (const Setting& setting : settings_) {
    absl::StrAppend(&yaml, "# ", setting.help, "\n", setting.name, ": ",
                    YamlScalar(setting.render()), "  # ", setting.origin, "\n");
  }
  return yaml;
}

std::string Settings::Origin(std::string_view name) const {
  const Setting* setting = Find(name);
  return setting == nullptr ? "default" : setting->origin;
}

}  // namespace capstan
