// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/agent_node.h"
#include "sim/checker.h"
#include "sim/control_node.h"
#include "sim/network.h"
#include "sim/options.h"
#include "sim/world.h"

namespace capstan::sim {

// What became of a run.
struct Result {
  std::optional<Violation> violation;
  absl::Duration ended;  // simulated
  int64_t events = 0;
  uint64_t fingerprint = 0;
  int64_t certificates = 0;
  int64_t control_restarts = 0;
  int64_t rotations = 0;  // that ended
  int64_t passed_over = 0;
  int64_t lapsed = 0;  // leaves of live proxies that expired
  // One in each simulated minute, for the chart.
  struct Sample {
    absl::Duration at;
    Checker::Census census;
    std::string phase;
  };
  std::vector<Sample> samples;
};

// One run: a mesh joins, rotates under faults as the options say, is left in peace, and must come
// to rest.
class Simulation {
 public:
  explicit Simulation(Options options, ControlMaker maker = RealControl());
  Result Run();

 private:
  // Calls `what` at random moments of the trouble, `mean` apart.
  void Every(std::string_view what, absl::Duration mean, std::function<void(Rng&)> happens);
  void Repeat(std::shared_ptr<Rng> rng, absl::Duration mean, std::function<void(Rng&)> happens);
  void Born(int64_t workload);
  AgentNode& Any(Rng& rng) { return *agents_[rng.Below(agents_.size())]; }
  absl::Duration Length(Rng& rng) { return rng.Around(options_.fault_length); }
  void PlanFaults();
  void PlanRotations();
  // Offers the next of the way until it is taken.
  void Offer(size_t leg, int step);
  trust::CaSet SetFor(size_t leg, int step) const;
  void Steer(Rng& rng);
  void Watch();
  void Readmit();
  void Calm();
  void LetGo();
  bool AtRest();
  void Sample();
  std::string WhyNot();

  const Options options_;
  World world_;
  Checker checker_;
  Network network_;
  ControlNode control_;
  std::vector<std::unique_ptr<AgentNode>> agents_;
  bool calm_ = false;
  size_t leg_ = 0;  // of options_.way, the last that was offered
  int64_t finished_ = 0;
  Result result_;
};

}  // namespace capstan::sim
