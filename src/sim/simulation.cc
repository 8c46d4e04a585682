// SPDX-License-Identifier: Apache-2.0
#include "sim/simulation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace capstan::sim {
namespace {

using Fault = store::FaultyStore::Fault;

constexpr absl::Duration kAsk = absl::Seconds(20);

}  // namespace

Simulation::Simulation(Options options, ControlMaker maker)
    : options_(std::move(options)),
      checker_(world_, options_),
      network_(world_, options_),
      control_(world_, network_, checker_, options_, std::move(maker)) {}

Result Simulation::Run() {
  control_.Boot();
  Offer(0, 0);
  Rng births(options_.seed, "joining");
  for (int64_t i = 0; i < options_.workloads; ++i) {
    agents_.push_back(std::make_unique<AgentNode>(
        i, AgentNode::Surroundings{world_, network_, checker_, options_, control_}));
    world_.At(births.Between(absl::ZeroDuration(), options_.joining), [this, i] { Born(i); });
  }
  const absl::Duration calm_at = options_.joining + options_.trouble;
  PlanFaults();
  PlanRotations();
  world_.At(calm_at, [this] { Calm(); });
  Watch();
  Readmit();
  Sample();
  // What was lost in a crash may keep a gate shut until the last leaf that may be out there ends.
  const absl::Duration bound = calm_at + 2 * options_.leaf_ttl + absl::Hours(1);
  world_.RunUntil(bound);
  if (!world_.stopped()) checker_.Fail("convergence", WhyNot());
  result_.violation = checker_.violation();
  result_.ended = world_.now();
  result_.events = world_.events();
  result_.fingerprint = world_.fingerprint();
  result_.certificates = control_.granted();
  result_.control_restarts = control_.restarts();
  result_.rotations = finished_;
  result_.passed_over = checker_.exempted();
  result_.lapsed = checker_.lapsed();
  return std::move(result_);
}

void Simulation::Born(int64_t workload) {
  AgentNode& agent = *agents_[static_cast<size_t>(workload)];
  if (!agent.alive() || agent.joined()) return;
  if (auto joining = control_.Join(agent.id())) {
    agent.Join(*std::move(joining));
  } else {
    world_.After(absl::Seconds(5), [this, workload] { Born(workload); });
  }
}

void Simulation::Every(std::string_view what, absl::Duration mean,
                       std::function<void(Rng&)> happens) {
  if (mean == absl::InfiniteDuration()) return;
  auto rng = std::make_shared<Rng>(options_.seed, what);
  world_.At(options_.joining + rng->Around(mean),
            [this, rng, mean, happens = std::move(happens)] { Repeat(rng, mean, happens); });
}

void Simulation::Repeat(std::shared_ptr<Rng> rng, absl::Duration mean,
                        std::function<void(Rng&)> happens) {
  if (calm_) return;
  happens(*rng);
  world_.After(absl::Milliseconds(1) + rng->Around(mean),
               [this, rng, mean, happens = std::move(happens)] { Repeat(rng, mean, happens); });
}

void Simulation::PlanFaults() {
  Every("control crash", options_.control_crash,
        [this](Rng& rng) { control_.Crash(absl::Seconds(1) + Length(rng)); });
  Every("control write fault", options_.control_write_fault, [this](Rng& rng) {
    const Fault faults[] = {Fault::kCrashBefore, Fault::kCrashAfter, Fault::kRefuseOnce};
    const Fault fault = faults[rng.Below(3)];
    control_.ArmDisk(fault, static_cast<int>(1 + rng.Below(6)));
  });
  Every("control clock step", options_.control_clock_step, [this](Rng& rng) {
    const absl::Duration most = rng.Chance(1, 2) ? absl::Hours(24 * 7) : absl::Minutes(5);
    const absl::Duration by = rng.Between(absl::ZeroDuration(), most) * (rng.Chance(1, 3) ? -1 : 1);
    const absl::Duration length = Length(rng);
    control_.clock().Step(by);
    checker_.DisturbedAll(world_.now() + length + absl::Minutes(2));
    world_.After(length, [this] { control_.clock().Correct(); });
  });
  Every("control sleep", options_.control_sleep, [this](Rng& rng) {
    const absl::Duration end = world_.now() + Length(rng);
    control_.executor().SleepUntil(end);
    checker_.DisturbedAll(end + absl::Seconds(30));
  });
  Every("control trouble", options_.control_trouble, [this](Rng& rng) {
    const absl::Duration end = world_.now() + Length(rng);
    if (rng.Chance(1, 2)) {
      control_.Slow(rng.Between(absl::Seconds(1), absl::Seconds(20)), end);
    } else {
      control_.Refuse(end);
    }
    checker_.DisturbedAll(end + absl::Minutes(1));
  });
  Every("agent crash", options_.agent_crash, [this](Rng& rng) {
    AgentNode& agent = Any(rng);
    agent.Crash(absl::Seconds(1) + Length(rng));
  });
  Every("agent write fault", options_.agent_write_fault, [this](Rng& rng) {
    AgentNode& agent = Any(rng);
    agent.FailWritesUntil(world_.now() + Length(rng));
  });
  Every("agent clock step", options_.agent_clock_step, [this](Rng& rng) {
    AgentNode& agent = Any(rng);
    const int64_t workload = agent.workload();
    const absl::Duration by =
        rng.Between(absl::ZeroDuration(), absl::Hours(48)) * (rng.Chance(1, 2) ? -1 : 1);
    const absl::Duration length = Length(rng);
    agent.clock().Step(by);
    checker_.Disturbed(workload, world_.now() + length + absl::Minutes(6));
    world_.After(length, [&agent] { agent.clock().Correct(); });
  });
  Every("agent sleep", options_.agent_sleep, [this](Rng& rng) {
    AgentNode& agent = Any(rng);
    const absl::Duration end = world_.now() + Length(rng);
    agent.executor().SleepUntil(end);
    checker_.Disturbed(agent.workload(), end + absl::Minutes(1));
  });
  Every("envoy restart", options_.envoy_restart, [this](Rng& rng) {
    AgentNode& agent = Any(rng);
    agent.RestartEnvoy(absl::Seconds(1) + Length(rng));
  });
  Every("envoy refuses", options_.envoy_refuses, [this](Rng& rng) {
    AgentNode& agent = Any(rng);
    agent.RefuseUntil(world_.now() + Length(rng));
  });
  Every("partition", options_.partition, [this](Rng& rng) {
    AgentNode& agent = Any(rng);
    const absl::Duration end = world_.now() + Length(rng);
    const uint64_t ways = 1 + rng.Below(3);
    if ((ways & 1) != 0) network_.Cut(Network::Way::kToControl, agent.workload(), end);
    if ((ways & 2) != 0) network_.Cut(Network::Way::kToAgent, agent.workload(), end);
    checker_.Disturbed(agent.workload(), end + absl::Minutes(1));
  });
  Every("birth", options_.birth, [this](Rng&) {
    const auto workload = static_cast<int64_t>(agents_.size());
    agents_.push_back(std::make_unique<AgentNode>(
        workload, AgentNode::Surroundings{world_, network_, checker_, options_, control_}));
    Born(workload);
  });
  Every("death", options_.death, [this](Rng& rng) { Any(rng).Die(); });
}

void Simulation::PlanRotations() {
  Rng rng(options_.seed, "rotations");
  absl::Duration at = options_.joining;
  const absl::Duration each = options_.trouble / static_cast<int64_t>(options_.way.size());
  for (size_t leg = 1; leg <= options_.way.size(); ++leg) {
    // By hand: its root first, then its authority, then the old root away.
    for (int step = options_.by_hand ? 0 : 2; step < 3; ++step) {
      const absl::Duration drawn = rng.Between(absl::ZeroDuration(), each / 3);
      const absl::Duration when = at + std::min(options_.rotate_at, drawn);
      world_.At(options_.by_hand ? when + each / 4 * step : when, [this, leg, step] {
        if (!calm_) Offer(leg, step);
      });
    }
    at += each;
  }
  for (int i = 0; i < options_.steerings; ++i) {
    world_.At(options_.joining + rng.Between(absl::ZeroDuration(), options_.trouble),
              [this, seed = rng.Next()] {
                Rng draw(seed, "steering");
                Steer(draw);
              });
  }
}

trust::CaSet Simulation::SetFor(size_t leg, int step) const {
  const std::string& to = leg == 0 ? "A1" : options_.way[leg - 1];
  const std::string& from = leg <= 1 ? "A1" : options_.way[leg - 2];
  if (leg == 0 || step == 2) return CaNamed(to).set;
  trust::CaSet set = CaNamed(step == 0 ? from : to).set;
  set.bundle = trust::Union(CaNamed(from).set.bundle, CaNamed(to).set.bundle);
  return set;
}

void Simulation::Offer(size_t leg, int step) {
  if (leg < leg_) return;  // another one came meanwhile
  const auto again = [this, leg, step] {
    world_.After(kAsk, [this, leg, step] { Offer(leg, step); });
  };
  if (!control_.up() || control_.executor().asleep()) return again();
  leg_ = std::max(leg_, leg);
  const absl::StatusOr<server::Outcome> outcome =
      control_.plane()->Offer(SetFor(leg, step), {.source = leg == 0 ? "built-in" : "managed"});
  world_.Note("offered", static_cast<int64_t>(leg), static_cast<int64_t>(outcome.status().code()));
  // Refused by a rollback: whoever rolled back meant it.
  if (!outcome.ok() && !absl::IsFailedPrecondition(outcome.status())) again();
}

void Simulation::Steer(Rng& rng) {
  if (calm_ || !control_.up() || control_.executor().asleep()) return;
  server::TrustKeeper& keeper = control_.plane()->keeper();
  const uint64_t what = rng.Below(4);
  world_.Note("steered", static_cast<int64_t>(what));
  if (what == 0) {
    (void)keeper.Steer(server::Steering::kRollback);
  } else if (what == 1) {
    (void)keeper.Steer(server::Steering::kAbort);
  } else {
    (void)keeper.Steer(server::Steering::kPause);
    world_.After(rng.Between(absl::Seconds(1), absl::Minutes(3)), [this] {
      if (control_.up()) (void)control_.plane()->keeper().Steer(server::Steering::kResume);
    });
  }
}

// From outside: what began, and what came to its end.
void Simulation::Watch() {
  if (control_.up()) {
    if (const auto view = control_.plane()->keeper().rotation()) {
      const bool rotates = !view->record.finished();
      if (rotates && !control_.rotates()) {
        for (const auto& agent : agents_) agent->Report();
      }
      control_.set_rotates(rotates);
      for (const store::ExemptionRecord& record : view->exempt) {
        if (const auto workload = WorkloadNamed(record.name)) checker_.Exempt(*workload);
      }
      if (view->record.finished() && view->record.number > finished_) {
        finished_ = view->record.number;
        checker_.Finished(view->record.outcome);
      }
    }
  }
  if (calm_ && AtRest()) return world_.Stop();
  if (calm_) LetGo();
  world_.After(options_.housekeep_every, [this] { Watch(); });
}

// Who was locked out gets a new join file, sooner or later.
void Simulation::Readmit() {
  for (const auto& agent : agents_) {
    if (!agent->joined() || !agent->LockedOut()) continue;
    if (auto joining = control_.Join(agent->id())) agent->JoinAnew(*std::move(joining));
  }
  world_.After(30 * options_.housekeep_every, [this] { Readmit(); });
}

void Simulation::Calm() {
  world_.Note("calm");
  calm_ = true;
  network_.Heal();
  control_.Heal();
  control_.clock().Correct();
  for (const auto& agent : agents_) agent->Heal();
}

// What an operator does in the end: resumes, names those who are gone for good, and passes over
// what a crash left unrecorded once nobody else is waited for. A leaf that was signed by a clock
// that was days ahead would be waited for for days.
void Simulation::LetGo() {
  if (!control_.up() || control_.executor().asleep()) return;
  server::TrustKeeper& keeper = control_.plane()->keeper();
  const auto view = keeper.rotation();
  if (!view.has_value() || view->record.finished()) return;
  if (view->record.paused) (void)keeper.Steer(server::Steering::kResume);
  for (const rotation::Holder& holder : view->decision.gate.holders) {
    const auto workload = WorkloadNamed(holder.name);
    if (workload.has_value() && !agents_[static_cast<size_t>(*workload)]->alive()) {
      (void)keeper.Exclude(holder.name, "it is gone for good");
    }
  }
  if (view->decision.gate.holders.size() != 1) return;
  const rotation::Holder& last = view->decision.gate.holders.front();
  if (last.kind == rotation::Holder::Kind::kUnrecorded &&
      last.until > control_.clock().Now() + options_.leaf_ttl + absl::Minutes(2)) {
    (void)keeper.Exclude(last.name, "every workload shows a new leaf");
  }
}

bool Simulation::AtRest() {
  if (!control_.up()) return false;
  server::TrustKeeper& keeper = control_.plane()->keeper();
  const auto trust = keeper.trust();
  const auto desired = keeper.desired();
  if (trust == nullptr || !desired.has_value() || !desired->applied()) return false;
  const auto view = keeper.rotation();
  if (view.has_value() && !view->record.finished()) return false;
  const Roots last = RootsOf(trust->bundle);
  return std::all_of(agents_.begin(), agents_.end(), [&](const auto& agent) {
    return agent->AtRest(last, trust->issuer) || checker_.exempt(agent->workload());
  });
}

std::string Simulation::WhyNot() {
  if (!control_.up()) return "the control plane is down";
  const auto view = control_.plane()->keeper().rotation();
  std::string why = "nothing was running";
  if (view.has_value() && !view->record.finished()) {
    why = absl::StrCat("the rotation is in ", view->record.phase, ": ", view->decision.gate.summary,
                       view->record.paused ? " (paused)" : "");
  }
  const auto trust = control_.plane()->trust();
  if (trust == nullptr) return "there is no CA";
  for (const auto& agent : agents_) {
    if (agent->AtRest(RootsOf(trust->bundle), trust->issuer)) continue;
    return absl::StrCat(why, "; workload ", agent->workload(), ": ", agent->Describe());
  }
  return why;
}

void Simulation::Sample() {
  std::string phase;
  if (control_.up()) {
    if (const auto view = control_.plane()->keeper().rotation()) phase = view->record.phase;
  }
  result_.samples.push_back({world_.now(), checker_.census(), std::move(phase)});
  world_.After(absl::Minutes(1), [this] { Sample(); });
}

}  // namespace capstan::sim
