// SPDX-License-Identifier: Apache-2.0
// capstan simulate
#include <unistd.h>

#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/files.h"
#include "base/log.h"
#include "base/status.h"
#include "cli/commands.h"
#include "sim/chart.h"
#include "sim/fleet_file.h"
#include "sim/simulation.h"

namespace capstan::cli {
namespace {

// Exit codes: one for each promise, in the order of sim::kCheckers.
constexpr int kNotDeterministic = 20;
constexpr int kFirstChecker = 21;

struct SimulateFlags {
  uint64_t seed = 1;
  uint64_t seeds = 1;
  int workloads = 200;
  std::string fleet;
  bool example = false;
  std::string svg;
  std::string output = "text";
  bool twice = false;
  bool logs = false;
};

int CodeOf(const sim::Violation& violation) {
  int code = kFirstChecker;
  for (const std::string_view name : sim::kCheckers) {
    if (violation.checker == name) return code;
    ++code;
  }
  return kFailed;
}

std::string Hex(uint64_t fingerprint) {
  return absl::StrFormat("%016x", fingerprint);
}

// When a phase was first seen, by the minute.
std::vector<std::pair<std::string, absl::Duration>> PhasesOf(const sim::Result& result) {
  std::vector<std::pair<std::string, absl::Duration>> phases;
  for (const sim::Result::Sample& sample : result.samples) {
    if (sample.phase.empty()) continue;
    if (phases.empty() || phases.back().first != sample.phase) {
      phases.emplace_back(sample.phase, sample.at);
    }
  }
  return phases;
}

nlohmann::ordered_json ToJson(const sim::Options& options, const sim::Result& result) {
  nlohmann::ordered_json json;
  for (const auto& [name, value] : sim::Describe(options)) json["options"][name] = value;
  json["events"] = result.events;
  json["simulated_seconds"] = absl::ToInt64Seconds(result.ended);
  json["fingerprint"] = Hex(result.fingerprint);
  json["certificates"] = result.certificates;
  json["control_restarts"] = result.control_restarts;
  json["rotations"] = result.rotations;
  json["passed_over"] = result.passed_over;
  json["lapsed"] = result.lapsed;
  json["phases"] = nlohmann::ordered_json::array();
  for (const auto& [phase, since] : PhasesOf(result)) {
    json["phases"].push_back({{"phase", phase}, {"since_seconds", absl::ToInt64Seconds(since)}});
  }
  if (result.violation.has_value()) {
    json["violation"] = {{"checker", result.violation->checker},
                         {"text", result.violation->text},
                         {"at_seconds", absl::ToDoubleSeconds(result.violation->at)}};
  }
  return json;
}

void PrintOptions(const sim::Options& options) {
  for (const auto& [name, value] : sim::Describe(options)) {
    std::cout << absl::StrFormat("  %-20s %s\n", name, value);
  }
}

void PrintResult(const sim::Result& result) {
  std::cout << absl::StrFormat(
      "%s simulated, %d events, %d certificates, %d rotations ended, capstand restarted %d times, "
      "%d leaves lapsed, %d workloads passed over\n",
      absl::FormatDuration(absl::Trunc(result.ended, absl::Seconds(1))), result.events,
      result.certificates, result.rotations, result.control_restarts, result.lapsed,
      result.passed_over);
  for (const auto& [phase, since] : PhasesOf(result)) {
    std::cout << absl::StrFormat("  %-12s from %s on\n", phase, absl::FormatDuration(since));
  }
  std::cout << "fingerprint " << Hex(result.fingerprint) << "\n";
  if (result.violation.has_value()) {
    std::cout << "BROKEN after " << absl::FormatDuration(result.violation->at) << ": "
              << result.violation->checker << ": " << result.violation->text << "\n";
  }
}

sim::Options OptionsOf(const SimulateFlags& flags, const std::string& fleet, uint64_t seed) {
  if (flags.fleet.empty()) return sim::Draw(seed, flags.workloads);
  absl::StatusOr<sim::Options> options = sim::ParseFleetFile(fleet, seed);
  if (!options.ok()) Fail(Annotate(options.status(), flags.fleet));
  return *std::move(options);
}

void WriteChart(const SimulateFlags& flags, const sim::Options& options,
                const sim::Result& result) {
  if (flags.svg.empty()) return;
  if (absl::Status written =
          WriteFileAtomically(flags.svg, sim::ToSvg(options, result), 0644, Overwrite::kReplace);
      !written.ok()) {
    Fail(written);
  }
}

struct Ran {
  int code = kDone;  // the exit code; kDone where nothing was broken
  uint64_t fingerprint = 0;
};
Ran RunSeed(const SimulateFlags& flags, const sim::Options& options) {
  const bool one = flags.seeds == 1;
  const bool text = flags.output == "text";
  if (one && text) PrintOptions(options);
  const sim::Result result = sim::Simulation(options).Run();
  const bool same =
      !flags.twice || sim::Simulation(options).Run().fingerprint == result.fingerprint;
  WriteChart(flags, options, result);
  if (!text) {
    std::cout << ToJson(options, result).dump(one ? 2 : -1) << "\n";
  } else if (one) {
    PrintResult(result);
  } else if (result.violation.has_value()) {
    std::cout << "seed " << options.seed << ":\n";
    PrintOptions(options);
    PrintResult(result);
  }
  if (!same) {
    std::cout << "seed " << options.seed << ": the second run was another one\n";
    return {kNotDeterministic, result.fingerprint};
  }
  return {result.violation.has_value() ? CodeOf(*result.violation) : kDone, result.fingerprint};
}

// Every seed in turn; the code of the first that was broken.
int RunSeeds(const SimulateFlags& flags, const std::string& fleet) {
  const bool tell = flags.seeds > 1 && isatty(STDERR_FILENO) == 1;
  int code = kDone;
  uint64_t broken = 0;
  uint64_t fingerprint = 0;
  for (uint64_t i = 0; i < flags.seeds; ++i) {
    const Ran ran = RunSeed(flags, OptionsOf(flags, fleet, flags.seed + i));
    fingerprint = fingerprint * 31 + ran.fingerprint;
    if (ran.code != kDone) ++broken;
    if (code == kDone) code = ran.code;
    if (tell)
      std::cerr << "\r" << i + 1 << " of " << flags.seeds << " seeds, " << broken << " broken ";
  }
  if (tell) std::cerr << "\n";
  if (flags.seeds > 1 && flags.output == "text") {
    std::cout << flags.seeds << " seeds from " << flags.seed << " on: " << broken
              << " broken, fingerprint " << Hex(fingerprint) << "\n";
  }
  return code;
}

void Simulate(const SimulateFlags& flags) {
  if (flags.example) {
    std::cout << sim::FleetFileHelp();
    return;
  }
  std::string fleet;
  if (!flags.fleet.empty()) {
    absl::StatusOr<std::string> read = ReadFile(flags.fleet);
    if (!read.ok()) Fail(read.status());
    fleet = *std::move(read);
  }
  log::Configure(log::Format::kText, flags.logs ? log::Level::kInfo : log::Level::kOff);
  if (const int code = RunSeeds(flags, fleet); code != kDone) throw CLI::RuntimeError(code);
}

std::string Codes() {
  std::string codes = "exit codes: 0 nothing was broken; 20 the second run was another one; ";
  int code = kFirstChecker;
  for (const std::string_view name : sim::kCheckers) {
    absl::StrAppend(&codes, code == kFirstChecker ? "" : ", ", code, " ", std::string(name));
    ++code;
  }
  return codes;
}

}  // namespace

void AddSimulateCommand(CLI::App& app) {
  auto flags = std::make_shared<SimulateFlags>();
  CLI::App* command = app.add_subcommand(
      "simulate", "Rotate a simulated mesh, to break it, or to see how long yours will take");
  command->add_option("--seed", flags->seed, "The run: equal seeds give equal runs (1)");
  command->add_option("--seeds", flags->seeds, "How many, from --seed on (1)")
      ->check(CLI::Range(1, 100'000'000));
  command->add_option("--workloads", flags->workloads, "How many (200); a fleet file says its own")
      ->check(CLI::Range(1, 100'000));
  command->add_option(
      "--fleet", flags->fleet,
      "A mesh as you describe it (YAML), with one rotation and the failures it has");
  command->add_flag("--example", flags->example, "Print a fleet file with every key");
  command->add_option("--svg", flags->svg, "Write a chart of trust and leaves over time");
  command->add_flag("--twice", flags->twice, "Run each seed twice and compare");
  command->add_flag("--logs", flags->logs, "The programs' logs, to standard error");
  command->add_option("-o,--output", flags->output, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  command->footer(
      "The control plane, the agents' lifecycle and the SDS machine are the real ones; the "
      "network, "
      "the\ndisk, the clocks and the Envoys are not, and certificates are on paper. Without "
      "--fleet "
      "every fault\nthat is known is drawn from the seed.\n\n" +
      Codes() +
      "\n\nexamples:\n"
      "  capstan simulate --seed 42 --twice\n"
      "  capstan simulate --seeds 1000 --workloads 100\n"
      "  capstan simulate --example > fleet.yaml\n"
      "  capstan simulate --fleet fleet.yaml --svg fleet.svg");
  command->callback([flags] { Simulate(*flags); });
}

}  // namespace capstan::cli
