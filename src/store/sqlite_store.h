// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/synchronization/mutex.h"
#include "base/random.h"
#include "store/lock_file.h"
#include "store/sqlite.h"
#include "store/store.h"

namespace capstan::store {

// Everything in one file, STATE_DIR/capstan.db.
class SqliteStore final : public Store {
 public:
  // Makes the folder (0700) and the file (0600) where they are missing. Unavailable: another
  // process holds the state. FailedPrecondition: a newer version of the program wrote it. DataLoss:
  // a damaged file. `fence`, where there is one, is asked before every commit: what it
  // refuses is rolled back.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(const std::string& state_dir,
                                                           Random& random,
                                                           Database::Fence fence = nullptr);

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
  SqliteStore(std::unique_ptr<LockFile> lock, std::unique_ptr<Database> db)
      : lock_(std::move(lock)), db_(std::move(db)) {}
  absl::StatusOr<TrustRecord> LoadTrust() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::optional<DesiredRecord>> LoadDesired() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Apply(const Change& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PutTrust(const TrustRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PutAuthority(const AuthorityRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PutDesired(const DesiredRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PutHistory(const HistoryRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PutEntry(const JournalEntry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PutRotation(const RotationRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PutExemption(const ExemptionRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PutUnseen(const UnseenRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status LoadRotation(State& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PutBaselines(const std::vector<BaselineRecord>& records)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status LoadBaselines(State& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status LoadUnwritten(State& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::vector<RotationRecord>> SelectRotations(int limit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::vector<ExemptionRecord>> SelectExemptions(int64_t from_rotation)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PutRecord(const PopulationRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::unique_ptr<LockFile> lock_;
  absl::Mutex mutex_;
  const std::unique_ptr<Database> db_;
};

}  // namespace capstan::store
