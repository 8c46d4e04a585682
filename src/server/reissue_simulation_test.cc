// SPDX-License-Identifier: Apache-2.0
// Ten thousand lifecycle machines, the admission of one CA and a clock: what a switch of the
// issuer, the return after an outage and a fleet that starts at once look like to the signer.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/jitter.h"
#include "issuance/admission.h"
#include "lifecycle/machine.h"
#include "rotation/pacing.h"

namespace capstan::server {
namespace {

using issuance::Admission;
using issuance::Urgency;
using lifecycle::Machine;

constexpr int kAgents = 10'000;
constexpr double kBudget = 200;
constexpr absl::Duration kLife = absl::Hours(24);
constexpr absl::Duration kRoundTrip = absl::Milliseconds(5);
const absl::Time kEpoch = absl::FromUnixSeconds(1'750'000'000);

trust::AuthorityId Authority(char digit) {
  return *trust::AuthorityId::Parse(std::string(40, digit));
}

class Simulation {
 public:
  Simulation() {
    for (int i = 0; i < kAgents; ++i) {
      agents_.push_back({std::make_unique<Machine>(
          absl::StrCat("spiffe://td/ns/a/sa/w", i, "|instance|workload"), lifecycle::Policy())});
    }
  }

  // Every agent holds a leaf of 'a'; `age` says how old it is.
  void StartHolding(const std::function<absl::Duration(int)>& age) {
    for (int i = 0; i < kAgents; ++i) {
      const absl::Time from = now().wall - age(i);
      Feed(i, lifecycle::Started{
                  lifecycle::Leaf{absl::StrCat("old", i), Authority('a'), from, from + kLife}});
    }
  }
  void At(absl::Duration when, std::function<void()> what) {
    queue_.push({when, ++order_, std::move(what)});
  }
  void RunUntil(absl::Duration end) {
    while (!queue_.empty() && queue_.top().when <= end) {
      Task task = queue_.top();
      queue_.pop();
      time_ = std::max(time_, task.when);
      task.what();
    }
    time_ = std::max(time_, end);
  }
  void Feed(int i, const lifecycle::Event& event) {
    Agent& agent = agents_[static_cast<size_t>(i)];
    for (const lifecycle::Action& action : agent.machine->On(event, now()).actions) {
      if (std::holds_alternative<lifecycle::Request>(action)) Ask(i);
      if (const auto* wake = std::get_if<lifecycle::WakeAfter>(&action)) {
        const int64_t version = ++agent.wake;
        At(time_ + wake->delay, [this, i, version] {
          if (agents_[static_cast<size_t>(i)].wake == version) Feed(i, lifecycle::Woke{});
        });
      }
    }
  }
  // A directive for the switch to 'b' of this moment reaches everybody within 50 ms.
  void Switch(absl::Duration at) {
    At(at, [this] {
      issuer_ = 'b';
      std::vector<rotation::Replaceable> leaves;
      for (const Agent& agent : agents_) {
        leaves.push_back({agent.machine->held()->serial, agent.machine->held()->not_after});
      }
      plan_ = rotation::PlanReissue(leaves, kBudget, now().wall);
      for (int i = 0; i < kAgents; ++i) {
        At(time_ + absl::Milliseconds(50) * Jitter("fan-out", absl::StrCat(i)), [this, i] {
          Feed(i, lifecycle::Directed{lifecycle::Directive{Authority('b'), plan_.window}});
        });
      }
    });
  }
  lifecycle::Instant now() const { return {kEpoch + time_, time_}; }
  const Machine& machine(int i) const { return *agents_[static_cast<size_t>(i)].machine; }
  const rotation::ReissuePlan& plan() const { return plan_; }
  void set_up(bool up) { up_ = up; }

  struct Load {
    int asked = 0;
    int admitted = 0;
  };
  // By the second.
  const std::map<int64_t, Load>& loads() const { return loads_; }
  int Peak(int Load::*what, absl::Duration from) const {
    int peak = 0;
    for (const auto& [second, load] : loads_) {
      if (second >= absl::ToInt64Seconds(from)) peak = std::max(peak, load.*what);
    }
    return peak;
  }
  absl::Duration last_issued() const { return last_issued_; }
  int lapsed() const { return lapsed_; }
  int put_off() const { return put_off_; }

 private:
  struct Agent {
    std::unique_ptr<Machine> machine;
    int64_t wake = 0;
  };
  struct Task {
    absl::Duration when;
    int64_t order;
    std::function<void()> what;
    bool operator<(const Task& other) const {
      return std::tie(when, order) > std::tie(other.when, other.order);
    }
  };

  void Ask(int i) {
    if (!up_) {
      At(time_ + kRoundTrip, [this, i] {
        Feed(i, lifecycle::Failed{lifecycle::Failed::Kind::kTransient, "nobody answers"});
      });
      return;
    }
    const std::optional<lifecycle::Leaf>& held = machine(i).held();
    const absl::Time wall = now().wall;
    if (held && held->not_after <= wall) ++lapsed_;
    const bool urgent = !held || held->not_after - wall < kLife / 4;
    const absl::Duration wait =
        admission_.Ask(urgent ? Urgency::kUrgent : Urgency::kOrdinary, time_);
    Load& load = loads_[absl::ToInt64Seconds(time_)];
    ++load.asked;
    if (wait > absl::ZeroDuration()) {
      ++put_off_;
      At(time_ + kRoundTrip, [this, i, wait] {
        Feed(i, lifecycle::Failed{lifecycle::Failed::Kind::kPutOff, "later", wait});
      });
      return;
    }
    ++load.admitted;
    last_issued_ = time_;
    const lifecycle::Leaf leaf{absl::StrCat("new", ++serial_), Authority(issuer_), wall,
                               wall + kLife};
    At(time_ + kRoundTrip, [this, i, leaf] { Feed(i, lifecycle::Issued{leaf}); });
  }

  Admission admission_{kBudget, {}};
  std::vector<Agent> agents_;
  std::priority_queue<Task> queue_;
  int64_t order_ = 0;
  absl::Duration time_ = absl::Hours(1000);
  char issuer_ = 'a';
  bool up_ = true;
  rotation::ReissuePlan plan_;
  std::map<int64_t, Load> loads_;
  absl::Duration last_issued_;
  int serial_ = 0;
  int lapsed_ = 0;
  int put_off_ = 0;
};

void Print(const char* what, const Simulation& simulation, absl::Duration from) {
  std::printf(
      "%s: at most %d asked and %d were admitted in a second, %d times put off, %d lapsed\n", what,
      simulation.Peak(&Simulation::Load::asked, from),
      simulation.Peak(&Simulation::Load::admitted, from), simulation.put_off(),
      simulation.lapsed());
}

// Leaves of `age`; how long the move took against the number over the budget.
void ExpectPacedSwitch(const char* what, const std::function<absl::Duration(int)>& age) {
  Simulation simulation;
  simulation.StartHolding(age);
  const absl::Duration begin = simulation.now().monotonic + absl::Seconds(10);
  simulation.Switch(begin);
  const absl::Duration ideal = absl::Seconds(kAgents / kBudget);
  simulation.RunUntil(begin + 3 * ideal);
  const double ratio = absl::FDivDuration(simulation.last_issued() - begin, ideal);
  Print(what, simulation, begin);
  std::printf("  moved in %.1f s, ideal %.1f s: ratio %.3f\n",
              absl::ToDoubleSeconds(simulation.last_issued() - begin), absl::ToDoubleSeconds(ideal),
              ratio);
  for (int i = 0; i < kAgents; ++i) {
    ASSERT_EQ(simulation.machine(i).held()->authority, Authority('b')) << i;
  }
  EXPECT_EQ(simulation.plan().window.length, ideal);
  EXPECT_LE(simulation.Peak(&Simulation::Load::admitted, begin), kBudget * 1.25);
  EXPECT_LE(simulation.Peak(&Simulation::Load::asked, begin), kBudget * 1.6);
  EXPECT_GE(ratio, 0.9);
  EXPECT_LE(ratio, 1.15);
  EXPECT_EQ(simulation.lapsed(), 0);
}

TEST(ReissueSimulationTest, ASwitchOfAFleetThatWasIssuedOverHalfADay) {
  ExpectPacedSwitch("switch, ages up to 12 h",
                    [](int i) { return absl::Hours(12) * Jitter("age", absl::StrCat(i)); });
}

TEST(ReissueSimulationTest, ASwitchOfAFleetThatWasIssuedInOneSecond) {
  ExpectPacedSwitch("switch, all of the same second", [](int) { return absl::Hours(1); });
}

TEST(ReissueSimulationTest, TheReturnAfterAnOutage) {
  Simulation simulation;
  simulation.StartHolding([](int i) { return absl::Hours(12) * Jitter("age", absl::StrCat(i)); });
  const absl::Duration down = simulation.now().monotonic;
  simulation.set_up(false);
  const absl::Duration back = down + absl::Hours(4);
  simulation.RunUntil(back);
  simulation.set_up(true);
  int overdue = 0;
  for (int i = 0; i < kAgents; ++i) {
    if (*simulation.machine(i).renew_at() <= simulation.now().wall) ++overdue;
    // As rpc/trust_client.h comes back.
    simulation.At(back + absl::Seconds(12) * Jitter("stream", absl::StrCat(i)),
                  [&simulation, i] { simulation.Feed(i, lifecycle::Reachable{}); });
  }
  simulation.RunUntil(back + absl::Minutes(6));
  Print("return after 4 h", simulation, back);
  std::printf("  %d renewals were overdue\n", overdue);
  EXPECT_GT(overdue, 1500);
  for (int i = 0; i < kAgents; ++i) EXPECT_EQ(simulation.machine(i).failures(), 0) << i;
  EXPECT_LE(simulation.Peak(&Simulation::Load::admitted, back), kBudget * 1.25);
  EXPECT_LE(simulation.Peak(&Simulation::Load::asked, back), kBudget * 2);
  EXPECT_EQ(simulation.lapsed(), 0);
}

TEST(ReissueSimulationTest, AFleetThatStartsAtOnceIsServedAtTheBudget) {
  Simulation simulation;
  const absl::Duration begin = simulation.now().monotonic;
  for (int i = 0; i < kAgents; ++i) simulation.Feed(i, lifecycle::Started{});
  const absl::Duration ideal = absl::Seconds(kAgents / kBudget);
  simulation.RunUntil(begin + 3 * ideal);
  const double ratio = absl::FDivDuration(simulation.last_issued() - begin, ideal);
  Print("start of all", simulation, begin);
  std::printf("  served in a ratio of %.3f to the ideal\n", ratio);
  for (int i = 0; i < kAgents; ++i) ASSERT_TRUE(simulation.machine(i).held()) << i;
  EXPECT_LE(simulation.Peak(&Simulation::Load::admitted, begin), kBudget * 1.25);
  EXPECT_LE(ratio, 1.6);
}

}  // namespace
}  // namespace capstan::server
