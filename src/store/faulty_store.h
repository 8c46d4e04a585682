// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "store/store.h"

namespace capstan::store {

// A store that dies at a chosen write, for tests that try every one of them.
class FaultyStore final : public Store {
 public:
  enum class Fault {
    kNone,
    kCrashBefore,  // the write is lost, and nothing works any more
    kCrashAfter,   // the write is there, but nobody hears of it, and nothing works any more
    kRefuseOnce,   // the write is refused, as by a full disk; the next one works
  };

  explicit FaultyStore(Store& inner) : inner_(inner) {}
  // The `nth` write from now on (1: the next) meets `fault`.
  void Arm(Fault fault, int nth) {
    fault_ = fault;
    countdown_ = nth;
  }
  bool dead() const { return dead_; }
  int writes() const { return writes_; }

  absl::StatusOr<State> Load() override {
    if (dead_) return Dead();
    return inner_.Load();
  }
  absl::Status Commit(const Change& change) override {
    return Write([&] { return inner_.Commit(change); });
  }
  absl::Status Reserve(std::string_view authority, absl::Time until) override {
    return Write([&] { return inner_.Reserve(authority, until); });
  }
  absl::Status MarkUnwritten(std::string_view authority, absl::Time until) override {
    return Write([&] { return inner_.MarkUnwritten(authority, until); });
  }
  absl::Status ClearUnwritten(std::string_view authority) override {
    return Write([&] { return inner_.ClearUnwritten(authority); });
  }
  absl::StatusOr<std::vector<JournalEntry>> Journal(int limit) override {
    return inner_.Journal(limit);
  }
  absl::StatusOr<RotationHistory> Rotations(int limit) override { return inner_.Rotations(limit); }
  absl::StatusOr<std::vector<HistoryRecord>> History() override {
    if (dead_) return Dead();
    return inner_.History();
  }
  absl::Status AddToken(const TokenRecord& token) override {
    return Write([&] { return inner_.AddToken(token); });
  }
  absl::StatusOr<TokenRecord> FindToken(std::string_view hash) override {
    if (dead_) return Dead();
    return inner_.FindToken(hash);
  }
  absl::Status ConsumeToken(const Consumption& consumption) override {
    return Write([&] { return inner_.ConsumeToken(consumption); });
  }
  absl::StatusOr<std::vector<TokenRecord>> OpenTokens(absl::Time now) override {
    return inner_.OpenTokens(now);
  }
  absl::StatusOr<int64_t> ForgetTokens(absl::Time before) override {
    return inner_.ForgetTokens(before);
  }
  absl::Status PutPopulation(const std::vector<PopulationRecord>& records) override {
    return Write([&] { return inner_.PutPopulation(records); });
  }
  absl::StatusOr<std::vector<PopulationRecord>> LoadPopulation() override {
    return inner_.LoadPopulation();
  }
  absl::StatusOr<int64_t> ForgetPopulation(absl::Time before) override {
    return inner_.ForgetPopulation(before);
  }

 private:
  static absl::Status Dead() { return absl::UnavailableError("the machine has crashed"); }

  template <typename Work>
  absl::Status Write(Work work) {
    if (dead_) return Dead();
    ++writes_;
    if (fault_ == Fault::kNone || --countdown_ > 0) return work();
    switch (std::exchange(fault_, Fault::kNone)) {
      case Fault::kRefuseOnce:
        return absl::ResourceExhaustedError("the disk is full");
      case Fault::kCrashAfter:
        (void)work();
        break;
      default:
        break;
    }
    dead_ = true;
    return Dead();
  }

  Store& inner_;
  Fault fault_ = Fault::kNone;
  int countdown_ = 0;
  int writes_ = 0;
  bool dead_ = false;
};

}  // namespace capstan::store
