// SPDX-License-Identifier: Apache-2.0
#include "sim/options.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "sim/world.h"

namespace capstan::sim {
namespace {

const std::vector<std::vector<std::string>>& Ways() {
  static const auto& ways = *new std::vector<std::vector<std::string>>{
      {"B1"}, {"B1"}, {"A2"}, {"B1", "C1"}, {"B1", "B2"}, {"A2", "B1"}, {"B1", "C1", "A2"}};
  return ways;
}

std::string Text(absl::Duration d) {
  return d == absl::InfiniteDuration() ? "never" : absl::FormatDuration(d);
}

}  // namespace

Options Draw(uint64_t seed, int workloads) {
  Rng rng(seed, "options");
  Options options{.seed = seed, .workloads = workloads};
  const auto one_of = [&](auto... values) {
    const absl::Duration all[] = {values...};
    return all[rng.Below(sizeof...(values))];
  };
  options.leaf_ttl = one_of(absl::Minutes(10), absl::Minutes(20), absl::Hours(1));
  options.rejoin_grace = one_of(absl::ZeroDuration(), absl::Hours(24));
  // Enough for everybody to be renewed in half a life, and for a switch within a few minutes.
  options.issue_per_second = 10 + workloads * 0.05 + static_cast<double>(rng.Below(100));
  options.heartbeat = absl::Seconds(100);
  options.trouble = absl::Minutes(10 + static_cast<int64_t>(rng.Below(20)));
  options.soak = one_of(absl::Seconds(5), absl::Seconds(30), absl::Minutes(2));
  options.absent_deadline = rng.Chance(1, 5) ? absl::Minutes(10) : absl::InfiniteDuration();
  options.way = Ways()[rng.Below(Ways().size())];
  options.by_hand = rng.Chance(1, 3);
  options.steerings = rng.Chance(1, 2) ? static_cast<int>(1 + rng.Below(4)) : 0;

  // Each kind of fault is there in every other run, rarely or often.
  const auto fault = [&](absl::Duration often) {
    if (rng.Chance(1, 2)) return absl::InfiniteDuration();
    return often * static_cast<int64_t>(1 + rng.Below(8));
  };
  options.control_crash = fault(absl::Minutes(3));
  options.control_write_fault = fault(absl::Minutes(2));
  options.control_clock_step = fault(absl::Minutes(5));
  options.control_sleep = fault(absl::Minutes(6));
  options.control_trouble = fault(absl::Minutes(5));
  options.agent_crash = fault(absl::Seconds(20));
  options.agent_write_fault = fault(absl::Seconds(20));
  options.agent_clock_step = fault(absl::Seconds(60));
  options.agent_sleep = fault(absl::Seconds(20));
  options.envoy_restart = fault(absl::Seconds(20));
  options.envoy_refuses = fault(absl::Seconds(60));
  options.partition = fault(absl::Seconds(20));
  options.birth = fault(absl::Seconds(60));
  options.death = fault(absl::Seconds(90));
  options.fault_length = one_of(absl::Seconds(10), absl::Minutes(2), absl::Minutes(10));
  options.drift_ppm = rng.Chance(1, 2) ? static_cast<int64_t>(rng.Below(200)) : 0;
  options.loss_ppm = rng.Chance(1, 2) ? static_cast<int64_t>(rng.Below(100'000)) : 0;
  options.duplicates_ppm = rng.Chance(1, 2) ? static_cast<int64_t>(rng.Below(100'000)) : 0;
  options.latency = one_of(absl::Milliseconds(5), absl::Milliseconds(200), absl::Seconds(3));
  return options;
}

std::vector<std::pair<std::string, std::string>> Describe(const Options& options) {
  return {{"seed", absl::StrCat(options.seed)},
          {"workloads", absl::StrCat(options.workloads)},
          {"leaf-ttl", Text(options.leaf_ttl)},
          {"rejoin-grace", Text(options.rejoin_grace)},
          {"issue-per-second", absl::StrCat(options.issue_per_second)},
          {"housekeep-every", Text(options.housekeep_every)},
          {"heartbeat", Text(options.heartbeat)},
          {"longest-sleep", Text(options.longest_sleep)},
          {"idle-heartbeats", options.idle_heartbeats ? "true" : "false"},
          {"soak", Text(options.soak)},
          {"absent-deadline", Text(options.absent_deadline)},
          {"way", absl::StrCat("A1 → ", absl::StrJoin(options.way, " → "))},
          {"by-hand", options.by_hand ? "true" : "false"},
          {"rotate-at",
           options.rotate_at == absl::InfiniteDuration() ? "drawn" : Text(options.rotate_at)},
          {"steerings", absl::StrCat(options.steerings)},
          {"control-crash", Text(options.control_crash)},
          {"control-write-fault", Text(options.control_write_fault)},
          {"control-clock-step", Text(options.control_clock_step)},
          {"control-sleep", Text(options.control_sleep)},
          {"control-trouble", Text(options.control_trouble)},
          {"agent-crash", Text(options.agent_crash)},
          {"agent-write-fault", Text(options.agent_write_fault)},
          {"agent-clock-step", Text(options.agent_clock_step)},
          {"agent-sleep", Text(options.agent_sleep)},
          {"envoy-restart", Text(options.envoy_restart)},
          {"envoy-refuses", Text(options.envoy_refuses)},
          {"partition", Text(options.partition)},
          {"birth", Text(options.birth)},
          {"death", Text(options.death)},
          {"fault-length", Text(options.fault_length)},
          {"drift-ppm", absl::StrCat(options.drift_ppm)},
          {"loss-ppm", absl::StrCat(options.loss_ppm)},
          {"duplicates-ppm", absl::StrCat(options.duplicates_ppm)},
          {"latency", Text(options.latency)},
          {"joining", Text(options.joining)},
          {"trouble", Text(options.trouble)}};
}

}  // namespace capstan::sim
