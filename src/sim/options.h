// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace capstan::sim {

// Everything that a run is made of besides the code: equal options give equal runs.
struct Options {
  uint64_t seed = 1;
  int workloads = 100;

  // The mesh.
  absl::Duration leaf_ttl = absl::Hours(1);
  absl::Duration rejoin_grace = absl::ZeroDuration();
  double issue_per_second = 0;                        // the budget; 0: auto
  absl::Duration housekeep_every = absl::Seconds(1);  // and whoever looks on from outside
  absl::Duration heartbeat = absl::Seconds(30);       // of the agents' reports
  absl::Duration longest_sleep = absl::Minutes(1);    // of an agent that waits for a renewal
  bool idle_heartbeats = true;  // also while no rotation runs, when nobody looks at them

  // The rotations.
  absl::Duration soak = absl::Seconds(30);
  absl::Duration absent_deadline = absl::InfiniteDuration();
  std::vector<std::string> way = {"B1"};  // from A1 on, as CaNamed() says
  bool by_hand = false;                   // the four steps of a cacerts directory, not one stroke
  // When the first begins, after joining; InfiniteDuration(): as drawn.
  absl::Duration rotate_at = absl::InfiniteDuration();
  int steerings = 0;  // pauses, rollbacks and aborts in between

  // The faults: the mean time between two of a kind over the whole mesh; InfiniteDuration(): never.
  // They begin with the rotations and end with the calm.
  absl::Duration control_crash = absl::InfiniteDuration();
  absl::Duration control_write_fault = absl::InfiniteDuration();
  absl::Duration control_clock_step = absl::InfiniteDuration();
  absl::Duration control_sleep = absl::InfiniteDuration();
  absl::Duration control_trouble = absl::InfiniteDuration();  // slow, or refusing
  absl::Duration agent_crash = absl::InfiniteDuration();
  absl::Duration agent_write_fault = absl::InfiniteDuration();
  absl::Duration agent_clock_step = absl::InfiniteDuration();
  absl::Duration agent_sleep = absl::InfiniteDuration();
  absl::Duration envoy_restart = absl::InfiniteDuration();
  absl::Duration envoy_refuses = absl::InfiniteDuration();
  absl::Duration partition = absl::InfiniteDuration();
  absl::Duration birth = absl::InfiniteDuration();
  absl::Duration death = absl::InfiniteDuration();
  absl::Duration fault_length = absl::Minutes(2);  // mean, of those that last
  int64_t drift_ppm = 0;                           // of every clock, at most
  int64_t loss_ppm = 0;                            // of messages
  int64_t duplicates_ppm = 0;
  absl::Duration latency = absl::Milliseconds(5);  // at most, one way

  absl::Duration joining = absl::Minutes(2);   // everybody is born within that
  absl::Duration trouble = absl::Minutes(20);  // rotations and faults, after joining
};

// A run's options out of its seed alone: which faults happen at all, how often, and how the mesh is
// configured, all drawn.
Options Draw(uint64_t seed, int workloads);

// Every option, for people.
std::vector<std::pair<std::string, std::string>> Describe(const Options& options);

}  // namespace capstan::sim
