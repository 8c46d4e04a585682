// SPDX-License-Identifier: Apache-2.0
// The simulator is worth something if it notices what it is there for: each safeguard is taken out
// in turn, and some seed must show it, by the checker that is named for it.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "base/log.h"
#include "sim/simulation.h"

namespace capstan::sim {
namespace {

using rotation::GateKind;
using rotation::Holder;

constexpr uint64_t kSeeds = 64;

// A control plane that does not see who keeps some gate shut.
class BlindControl final : public server::ControlPlane {
 public:
  using Blinding = std::function<void(const rotation::Gate&, rotation::Observation&)>;
  template <typename... Args>
  explicit BlindControl(Blinding blind, Args&&... args)
      : server::ControlPlane(std::forward<Args>(args)...), blind_(std::move(blind)) {}

  rotation::Observation Observe(const rotation::Gate& gate, absl::Time now) override {
    rotation::Observation seen = server::ControlPlane::Observe(gate, now);
    blind_(gate, seen);
    return seen;
  }

 private:
  const Blinding blind_;
};

ControlMaker Blind(BlindControl::Blinding blind) {
  return {nullptr,
          [blind = std::move(blind)](server::ControlPlaneOptions options, store::Store& store,
                                     keystore::SealedKeys keys, Clock& clock, Random& random,
                                     Executor& background, Metrics& metrics) {
            return std::make_unique<BlindControl>(blind, std::move(options), store, std::move(keys),
                                                  clock, random, background, metrics);
          }};
}

ControlMaker WithoutGate(GateKind kind) {
  return Blind([kind](const rotation::Gate& gate, rotation::Observation& seen) {
    if (gate.kind == kind) seen.holders.clear();
  });
}

// Says it wrote what it did not. The first wish and its steps are kept: there has to be a mesh.
class ForgetfulStore final : public store::Store {
 public:
  explicit ForgetfulStore(store::Store& inner) : inner_(inner) {}
  absl::StatusOr<store::State> Load() override { return inner_.Load(); }
  absl::Status Commit(const store::Change& change) override {
    const bool first = !change.rotation.has_value() &&
                       (!change.trust.has_value() || change.trust->issuer_epoch <= 1);
    return first ? inner_.Commit(change) : absl::OkStatus();
  }
  absl::Status Reserve(std::string_view authority, absl::Time until) override {
    return inner_.Reserve(authority, until);
  }
  absl::Status MarkUnwritten(std::string_view authority, absl::Time until) override {
    return inner_.MarkUnwritten(authority, until);
  }
  absl::Status ClearUnwritten(std::string_view authority) override {
    return inner_.ClearUnwritten(authority);
  }
  absl::StatusOr<std::vector<store::JournalEntry>> Journal(int limit) override {
    return inner_.Journal(limit);
  }
  absl::StatusOr<RotationHistory> Rotations(int limit) override { return inner_.Rotations(limit); }
  absl::StatusOr<std::vector<store::HistoryRecord>> History() override { return inner_.History(); }
  absl::Status AddToken(const store::TokenRecord& token) override { return inner_.AddToken(token); }
  absl::StatusOr<store::TokenRecord> FindToken(std::string_view hash) override {
    return inner_.FindToken(hash);
  }
  absl::Status ConsumeToken(const store::Consumption& consumption) override {
    return inner_.ConsumeToken(consumption);
  }
  absl::StatusOr<std::vector<store::TokenRecord>> OpenTokens(absl::Time now) override {
    return inner_.OpenTokens(now);
  }
  absl::StatusOr<int64_t> ForgetTokens(absl::Time before) override {
    return inner_.ForgetTokens(before);
  }
  absl::Status PutPopulation(const std::vector<store::PopulationRecord>& records) override {
    return inner_.PutPopulation(records);
  }
  absl::StatusOr<std::vector<store::PopulationRecord>> LoadPopulation() override {
    return inner_.LoadPopulation();
  }
  absl::StatusOr<int64_t> ForgetPopulation(absl::Time before) override {
    return inner_.ForgetPopulation(before);
  }

 private:
  store::Store& inner_;
};

// Runs seeds until one is caught; who caught it.
std::string CaughtBy(const ControlMaker& maker, const std::function<void(Options&)>& adjust = {},
                     uint64_t seeds = kSeeds) {
  log::Configure(log::Format::kText, log::Level::kOff);
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    Options options = Draw(seed, 20);
    if (adjust) adjust(options);
    const Result result = Simulation(options, maker).Run();
    if (!result.violation.has_value()) continue;
    std::printf("seed %lu: %s: %s\n", seed, result.violation->checker.c_str(),
                result.violation->text.c_str());
    return result.violation->checker;
  }
  return "nobody";
}

void StepTheClock(Options& options) {
  options.control_clock_step = absl::Minutes(2);
}

TEST(MutationTest, WithoutTheTrustGate) {
  EXPECT_EQ(CaughtBy(WithoutGate(GateKind::kTrust)), "switch");
}

// The agents gate comes straight after the trust gate, which asks for all that it asks for: it is a
// second lock on the same door, and taking it out alone opens nothing (rotation/machine_test.cc has
// it by itself). What would open the door are agents whose disks keep less than they tell.
void WithWornDisks(Options& options) {
  options.agent_write_fault = absl::Milliseconds(250);
  options.agent_crash = absl::Seconds(30);
  options.fault_length = absl::Seconds(10);
  options.soak = absl::Seconds(5);
  options.way = {"B1", "C1", "A1"};
  options.by_hand = false;
}

TEST(MutationTest, UnderTheHardestFaultsTheRealOneIsNotCaught) {
  EXPECT_EQ(CaughtBy(RealControl(), WithWornDisks, 24), "nobody");
  EXPECT_EQ(CaughtBy(RealControl(), StepTheClock, 24), "nobody");
}

TEST(MutationTest, WithoutTheMoveGate) {
  EXPECT_EQ(CaughtBy(WithoutGate(GateKind::kMove)), "needed");
}

TEST(MutationTest, WithoutTheDoneGate) {
  EXPECT_EQ(CaughtBy(WithoutGate(GateKind::kDone)), "done");
}

TEST(MutationTest, WithoutTheAbsent) {
  const std::string by = CaughtBy(Blind([](const rotation::Gate&, rotation::Observation& seen) {
    std::erase_if(seen.holders,
                  [](const Holder& holder) { return holder.kind == Holder::Kind::kAbsent; });
  }));
  EXPECT_TRUE((std::set<std::string>{"switch", "needed", "serving", "done", "soak"}).contains(by))
      << by;
}

TEST(MutationTest, WithoutTheDoubtAboutTheClock) {
  const std::string by = CaughtBy(Blind([](const rotation::Gate&, rotation::Observation& seen) {
                                    seen.clock_offset = absl::ZeroDuration();
                                  }),
                                  StepTheClock);
  EXPECT_TRUE((std::set<std::string>{"switch", "needed", "serving", "done", "soak"}).contains(by))
      << by;
}

TEST(MutationTest, WithoutTheJournal) {
  EXPECT_EQ(CaughtBy({[](store::FaultyStore& disk) -> std::unique_ptr<store::Store> {
                        return std::make_unique<ForgetfulStore>(disk);
                      },
                      RealControl().plane}),
            "journal");
}

TEST(MutationTest, WithoutTheSoak) {
  EXPECT_EQ(CaughtBy({nullptr,
                      [](server::ControlPlaneOptions options, store::Store& store,
                         keystore::SealedKeys keys, Clock& clock, Random& random,
                         Executor& background, Metrics& metrics) {
                        options.keeper.rotation.soak = absl::ZeroDuration();
                        return std::make_unique<server::ControlPlane>(std::move(options), store,
                                                                      std::move(keys), clock,
                                                                      random, background, metrics);
                      }}),
            "soak");
}

TEST(MutationTest, WithoutTheBudget) {
  EXPECT_EQ(
      CaughtBy(
          {nullptr,
           [](server::ControlPlaneOptions options, store::Store& store, keystore::SealedKeys keys,
              Clock& clock, Random& random, Executor& background, Metrics& metrics) {
             options.issue_per_second *= 20;
             return std::make_unique<server::ControlPlane>(
                 std::move(options), store, std::move(keys), clock, random, background, metrics);
           }},
          [](Options& options) {
            options.issue_per_second = 2;
            options.leaf_ttl = absl::Hours(1);
          }),
      "budget");
}

}  // namespace
}  // namespace capstan::sim
