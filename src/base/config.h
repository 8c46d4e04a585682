// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace capstan {

// A program's configuration as a table of settings. Each one has a single name: the YAML key
// ("state-dir"), the flag ("--state-dir") and the environment variable ("CAPSTAND_STATE_DIR"). A
// flag beats a variable, a variable beats the file, the file beats the default.
//
//   Options options;                                     // its initial values are the defaults
//   Settings settings("capstand", "the control plane");  // CAPSTAND_…
//   settings.Text("state-dir", "folder of the state", &options.state_dir);
//   settings.Duration("default-ttl", "life of a leaf", &options.default_ttl);
//   CAPSTAN_ASSIGN_OR_RETURN(auto todo, settings.Load(argc, argv, FromProcessEnvironment));
class Settings {
 public:
  // The value of an environment variable, nullopt where it is not set. Composition roots pass
  // getenv.
  using Environment = std::function<std::optional<std::string>(const std::string& name)>;

  // "capstan-agent" reads CAPSTAN_AGENT_….
  Settings(std::string program, std::string summary);

  // `target` holds the default and outlives this object.
  void Text(std::string name, std::string help, std::string* target);
  void List(std::string name, std::string help,
            std::vector<std::string>* target);                  // "a,b" or a YAML list
  void Bool(std::string name, std::string help, bool* target);  // a bare flag is true
  void Integer(std::string name, std::string help, int64_t* target, int64_t least, int64_t most);
  void Duration(std::string name, std::string help, absl::Duration* target,
                absl::Duration least = absl::Nanoseconds(1));  // absl::ParseDuration: "24h", "90s"
  // `set` parses, checks and stores; `render` gives the text that `set` reads back. Both are kept.
  void Custom(std::string name, std::string help, std::string placeholder,
              std::function<absl::Status(std::string_view)> set,
              std::function<std::string()> render);
  // The same for several values, which `set` gets joined by commas and tells apart itself (a value
  // may hold commas): the flag may be given more than once, and YAML takes a list.
  void CustomList(std::string name, std::string help, std::string placeholder,
                  std::function<absl::Status(std::string_view)> set,
                  std::function<std::string()> render);

  enum class Todo { kRun, kPrintConfig, kExit };

  // Reads flags, the variables and the file that --config (or …_CONFIG) names, and stores the
  // values. kExit: --help or --version was asked for, `output()` holds the text. kPrintConfig: the
  // caller completes what it derives and prints ToYaml(). InvalidArgument: an unknown key, flag or
  // value, with where it stands ("capstand.yaml:3: …") and the nearest name.
  absl::StatusOr<Todo> Load(int argc, const char* const* argv, const Environment& environment);
  const std::string& output() const { return output_; }

  // Every setting with its value and, as a comment, where that came from. Load() reads it back.
  std::string ToYaml() const;

  // Where the value of `name` came from: "--ttl", "CAPSTAND_TTL", "capstand.yaml:3" or "default";
  // for messages about values that do not go together.
  std::string Origin(std::string_view name) const;
  bool IsSet(std::string_view name) const { return Origin(name) != "default"; }

 private:
  struct Setting {
    std::string name;
    std::string help;
    std::string placeholder;
    bool is_switch = false;
    bool is_list = false;    // YAML takes a list
    bool is_joined = false;  // …whose items may hold commas, and the flag may be repeated
    std::function<absl::Status(std::string_view)> set;
    std::function<std::string()> render;
    std::string origin = "default";
  };
  struct Given {
    std::string value;
    std::string origin;
  };
  using Values = std::map<std::string, Given>;

  void Add(Setting setting);
  const Setting* Find(std::string_view name) const;
  std::string VariableName(std::string_view setting) const;
  std::string Suggestion(std::string_view unknown, std::string_view prefix) const;
  absl::StatusOr<Todo> ReadFlags(int argc, const char* const* argv, Values& values);
  absl::Status ReadFile(const std::string& path, Values& values) const;
  absl::Status Store(const Values& values);

  std::string program_;
  std::string summary_;
  std::vector<Setting> settings_;
  std::string output_;
};

// The candidate with the smallest edit distance to `word`, or "" where none is close enough to have
// been meant.
std::string Nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace capstan
