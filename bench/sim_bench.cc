// SPDX-License-Identifier: Apache-2.0
// What simulating a mesh costs. "Fleet": the mesh of a fleet file that rotates once and otherwise
// renews its 24 h leaves, for some days; workload_days is how many days of one workload pass in a
// second, and what one workload takes of memory is bytes_per_workload. Both should hardly depend on
// the number of workloads.
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "sim/fleet_file.h"
#include "sim/simulation.h"

namespace capstan::sim {
namespace {

// The most that this process ever held, in bytes.
double PeakBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return 1024.0 * static_cast<double>(usage.ru_maxrss);
}

void Fleet(benchmark::State& state) {
  const int64_t days = state.range(1);
  const absl::StatusOr<Options> parsed =
      ParseFleetFile(absl::StrCat("workloads: ", state.range(0), "\nduration: ", 24 * days,
                                  "h\nissue-per-second: ", state.range(0) / 100,
                                  "\ncontrol-restart-every: never\n"),
                     1);
  if (!parsed.ok()) return state.SkipWithError(std::string(parsed.status().message()).c_str());
  const Options& options = *parsed;
  log::Configure(log::Format::kText, log::Level::kOff);
  const double before = PeakBytes();
  for (auto _ : state) {
    const Result result = Simulation(options).Run();
    if (result.violation.has_value()) return state.SkipWithError(result.violation->text.c_str());
    state.counters["certificates"] = static_cast<double>(result.certificates);
  }
  state.counters["workload_days"] = benchmark::Counter(
      static_cast<double>(state.range(0) * days), benchmark::Counter::kIsIterationInvariantRate);
  // Each of these meshes is larger than the one before, so the peak is its own.
  state.counters["bytes_per_workload"] = (PeakBytes() - before) / options.workloads;
}
BENCHMARK(Fleet)
    ->ArgNames({"workloads", "days"})
    ->Args({1'000, 30})
    ->Args({10'000, 10})
    ->Args({100'000, 1})
    ->Unit(benchmark::kMillisecond)
    ->Iterations(1);

}  // namespace
}  // namespace capstan::sim
