// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <tuple>

#include "absl/synchronization/mutex.h"
#include "store/store.h"

namespace capstan::store {

// A store for tests and the simulator: held to the same contract test as the real ones, and
// stricter where it can be: it refuses changes that no correct caller makes (Internal).
class MemoryStore final : public Store {
 public:
  explicit MemoryStore(std::string lineage);

  absl::StatusOr<State> Load() override;
  absl::Status Commit(const Change& change) override;
  absl::Status Reserve(std::string_view authority, absl::Time until) override;
  absl::Status MarkUnwritten(std::string_view authority, absl::Time until) override;
  absl::Status ClearUnwritten(std::string_view authority) override;
  absl::StatusOr<std::vector<JournalEntry>> Journal(int limit) override;
  absl::StatusOr<RotationHistory> Rotations(int limit) override;
  absl::StatusOr<std::vector<HistoryRecord>> History() override;
  absl::Status AddToken(const TokenRecord& token) override;
  absl::StatusOr<TokenRecord> FindToken(std::string_view hash) override;
  absl::Status ConsumeToken(const Consumption& consumption) override;
  absl::StatusOr<std::vector<TokenRecord>> OpenTokens(absl::Time now) override;
  absl::StatusOr<int64_t> ForgetTokens(absl::Time before) override;
  absl::Status PutPopulation(const std::vector<PopulationRecord>& records) override;
  absl::StatusOr<std::vector<PopulationRecord>> LoadPopulation() override;
  absl::StatusOr<int64_t> ForgetPopulation(absl::Time before) override;

 private:
  using PopulationKey = std::tuple<std::string, std::string, std::string, std::string>;
  static PopulationKey KeyOf(const PopulationRecord& record);
  absl::Status CheckChange(const Change& change) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  TrustRecord trust_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, AuthorityRecord, std::less<>> authorities_ ABSL_GUARDED_BY(mutex_);
  std::optional<DesiredRecord> desired_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, bool> refused_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, RotationRecord> rotations_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<int64_t, std::string>, ExemptionRecord> exemptions_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, UnseenRecord> unseen_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, absl::Time, std::less<>> unwritten_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, BaselineRecord> baselines_ ABSL_GUARDED_BY(mutex_);
  std::vector<JournalEntry> journal_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, std::string> history_ ABSL_GUARDED_BY(mutex_);
  using Tokens = std::map<std::string, TokenRecord, std::less<>>;
  Tokens unused_ ABSL_GUARDED_BY(mutex_);
  Tokens consumed_ ABSL_GUARDED_BY(mutex_);
  std::map<PopulationKey, PopulationRecord> population_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace capstan::store
