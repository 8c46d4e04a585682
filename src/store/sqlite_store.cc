// SPDX-License-Identifier: Apache-2.0
#include "store/sqlite_store.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "base/status.h"
#include "store/schema.h"

namespace capstan::store {
namespace {

// Certificates of an answer and ids of consumers, in one column each: neither holds this byte.
constexpr char kSeparator[] = "\x1f";

std::string JoinList(const std::vector<std::string>& list) {
  return absl::StrJoin(list, kSeparator);
}

std::vector<std::string> SplitList(const std::string& text) {
  if (text.empty()) return {};
  return absl::StrSplit(text, kSeparator);
}

TokenRecord TokenOf(const Statement& row) {
  return {row.Bytes(0),
          row.Bytes(1),
          row.Time(2),
          row.Time(3),
          row.Time(4),
          row.Bytes(5),
          SplitList(row.Bytes(6)),
          row.Integer(7)};
}

std::string Discriminator(const PopulationRecord& record) {
  return record.instance.empty() ? record.serial : "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(const std::string& state_dir,
                                                               Random& random,
                                                               Database::Fence fence) {
  CAPSTAN_RETURN_IF_ERROR(MakePrivateDirectory(state_dir));
  CAPSTAN_ASSIGN_OR_RETURN(std::unique_ptr<LockFile> lock,
                           LockFile::Take(absl::StrCat(state_dir, "/capstan.lock")));
  CAPSTAN_ASSIGN_OR_RETURN(std::unique_ptr<Database> db,
                           Database::Open(absl::StrCat(state_dir, "/capstan.db")));
  db->set_fence(std::move(fence));
  CAPSTAN_RETURN_IF_ERROR(Migrate(*db));
  CAPSTAN_RETURN_IF_ERROR(db->Transaction([&]() -> absl::Status {
    CAPSTAN_ASSIGN_OR_RETURN(
        Statement first,
        db->Prepare("INSERT OR IGNORE INTO trust VALUES (1, ?, 0, '', 0, '', 0, '', '')"));
    return first.Text(random.Uuid()).Run();
  }));
  return std::unique_ptr<SqliteStore>(new SqliteStore(std::move(lock), std::move(db)));
}

absl::StatusOr<TrustRecord> SqliteStore::LoadTrust() {
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement row,
      db_->Prepare("SELECT lineage, sequence, roots_pem, issuer_epoch, issuer, crl_number, "
                   "crls_pem, serving_authority FROM trust"));
  CAPSTAN_ASSIGN_OR_RETURN(bool there, row.Step());
  if (!there)
    return absl::DataLossError(
        "the state database has lost its lineage; put it back from a backup");
  TrustRecord trust;
  trust.version = {row.Bytes(0), row.Integer(1)};
  trust.roots_pem = row.Bytes(2);
  trust.issuer_epoch = row.Integer(3);
  trust.issuer = row.Bytes(4);
  trust.crl_number = row.Integer(5);
  trust.crls_pem = row.Bytes(6);
  trust.serving_authority = row.Bytes(7);
  return trust;
}

absl::StatusOr<std::optional<DesiredRecord>> SqliteStore::LoadDesired() {
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement row,
      db_->Prepare("SELECT digest, source, roots_pem, crls_pem, issuer, accepted_at, "
                   "applied_at FROM desired"));
  CAPSTAN_ASSIGN_OR_RETURN(bool there, row.Step());
  if (!there) return std::optional<DesiredRecord>();
  return DesiredRecord{row.Bytes(0), row.Bytes(1), row.Bytes(2), row.Bytes(3),
                       row.Bytes(4), row.Time(5),  row.Time(6)};
}

absl::StatusOr<State> SqliteStore::Load() {
  absl::MutexLock lock(&mutex_);
  State state;
  CAPSTAN_RETURN_IF_ERROR(db_->Transaction([&]() -> absl::Status {
    mutex_.AssertHeld();
    CAPSTAN_ASSIGN_OR_RETURN(state.trust, LoadTrust());
    CAPSTAN_ASSIGN_OR_RETURN(state.desired, LoadDesired());
    CAPSTAN_ASSIGN_OR_RETURN(
        Statement row,
        db_->Prepare(
            "SELECT id, state, chain_pem, sealed_key, reserved_until, state_since FROM authority "
            "ORDER BY id"));
    while (true) {
      CAPSTAN_ASSIGN_OR_RETURN(bool there, row.Step());
      if (!there) break;
      CAPSTAN_ASSIGN_OR_RETURN(trust::AuthorityState authority_state,
                               trust::ParseAuthorityState(row.Bytes(1)));
      state.authorities.push_back(
          {row.Bytes(0), authority_state, row.Bytes(2), row.Bytes(3), row.Time(4), row.Time(5)});
    }
    CAPSTAN_ASSIGN_OR_RETURN(Statement refused,
                             db_->Prepare("SELECT digest FROM refused ORDER BY digest"));
    while (true) {
      CAPSTAN_ASSIGN_OR_RETURN(bool there, refused.Step());
      if (!there) break;
      state.refused.push_back(refused.Bytes(0));
    }
    CAPSTAN_RETURN_IF_ERROR(LoadRotation(state));
    CAPSTAN_RETURN_IF_ERROR(LoadUnwritten(state));
    return LoadBaselines(state);
  }));
  return state;
}

absl::Status SqliteStore::Commit(const Change& change) {
  absl::MutexLock lock(&mutex_);
  return db_->Transaction([&] {
    mutex_.AssertHeld();
    return Apply(change);
  });
}

absl::Status SqliteStore::Apply(const Change& change) {
  CAPSTAN_ASSIGN_OR_RETURN(TrustRecord now, LoadTrust());
  if (!(now == change.expected)) {
    return absl::AbortedError(absl::StrCat("the state moved on to bundle ", now.version.ToString(),
                                           ", issuer epoch ", now.issuer_epoch, " and CRL ",
                                           now.crl_number, " meanwhile"));
  }
  if (change.trust.has_value()) CAPSTAN_RETURN_IF_ERROR(PutTrust(*change.trust));
  for (const AuthorityRecord& authority : change.authorities) {
    CAPSTAN_RETURN_IF_ERROR(PutAuthority(authority));
  }
  if (change.desired.has_value()) CAPSTAN_RETURN_IF_ERROR(PutDesired(*change.desired));
  if (change.refuse.has_value()) {
    CAPSTAN_ASSIGN_OR_RETURN(Statement refuse,
                             db_->Prepare("INSERT OR IGNORE INTO refused VALUES (?)"));
    CAPSTAN_RETURN_IF_ERROR(refuse.Text(*change.refuse).Run());
  }
  if (change.unrefuse.has_value()) {
    CAPSTAN_ASSIGN_OR_RETURN(Statement unrefuse,
                             db_->Prepare("DELETE FROM refused WHERE digest = ?"));
    CAPSTAN_RETURN_IF_ERROR(unrefuse.Text(*change.unrefuse).Run());
  }
  if (change.rotation.has_value()) CAPSTAN_RETURN_IF_ERROR(PutRotation(*change.rotation));
  for (const ExemptionRecord& exemption : change.exemptions) {
    CAPSTAN_RETURN_IF_ERROR(PutExemption(exemption));
  }
  for (const UnseenRecord& unseen : change.unseen) {
    CAPSTAN_RETURN_IF_ERROR(PutUnseen(unseen));
  }
  if (change.forget_unwritten) {
    CAPSTAN_RETURN_IF_ERROR(db_->Execute("DELETE FROM unwritten_leaves"));
  }
  if (change.baselines.has_value()) CAPSTAN_RETURN_IF_ERROR(PutBaselines(*change.baselines));
  for (const JournalEntry& entry : change.journal) CAPSTAN_RETURN_IF_ERROR(PutEntry(entry));
  return change.history.has_value() ? PutHistory(*change.history) : absl::OkStatus();
}

absl::Status SqliteStore::PutTrust(const TrustRecord& record) {
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement put,
      db_->Prepare("UPDATE trust SET sequence=?, roots_pem=?, issuer_epoch=?, issuer=?, "
                   "crl_number=?, crls_pem=?, serving_authority=?"));
  return put.Bind(record.version.sequence)
      .Text(record.roots_pem)
      .Bind(record.issuer_epoch)
      .Text(record.issuer)
      .Bind(record.crl_number)
      .Text(record.crls_pem)
      .Text(record.serving_authority)
      .Run();
}

absl::Status SqliteStore::PutAuthority(const AuthorityRecord& record) {
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement put,
      db_->Prepare(
          "INSERT INTO authority (id, state, chain_pem, sealed_key, reserved_until, state_since) "
          "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state=excluded.state, "
          "state_since=excluded.state_since, chain_pem=excluded.chain_pem, "
          "sealed_key=excluded.sealed_key, "
          "reserved_until=max(coalesce(reserved_until, excluded.reserved_until), "
          "coalesce(excluded.reserved_until, reserved_until))"));
  return put.Text(record.id)
      .Text(trust::AuthorityStateName(record.state))
      .Text(record.chain_pem)
      .Blob(record.sealed_key)
      .Bind(record.reserved_until)
      .Bind(record.state_since)
      .Run();
}

absl::Status SqliteStore::PutDesired(const DesiredRecord& record) {
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement put,
      db_->Prepare("INSERT OR REPLACE INTO desired VALUES (1, ?, ?, ?, ?, ?, ?, ?)"));
  return put.Text(record.digest)
      .Text(record.source)
      .Text(record.roots_pem)
      .Text(record.crls_pem)
      .Text(record.issuer)
      .Bind(record.accepted_at)
      .Bind(record.applied_at)
      .Run();
}

absl::Status SqliteStore::PutEntry(const JournalEntry& entry) {
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement put,
      db_->Prepare("INSERT INTO journal (at, kind, why, digest, sequence, issuer_epoch, rotation) "
                   "VALUES (?, ?, ?, ?, ?, ?, ?)"));
  return put.Bind(entry.at)
      .Text(entry.kind)
      .Text(entry.why)
      .Text(entry.digest)
      .Bind(entry.sequence)
      .Bind(entry.issuer_epoch)
      .Bind(entry.rotation)
      .Run();
}

absl::Status SqliteStore::PutRotation(const RotationRecord& record) {
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement put,
      db_->Prepare(
          "INSERT INTO rotation (number, source, from_roots_pem, from_crls_pem, from_issuer, "
          "to_roots_pem, to_issuer, started_at, finished_at, outcome, phase, phase_since, paused, "
          "emergency, soak_ms, absent_deadline_ms, require_proven, canary, turned_why, "
          "issue_per_second) "
          "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
          "ON CONFLICT (number) DO UPDATE SET source=excluded.source, "
          "to_roots_pem=excluded.to_roots_pem, to_issuer=excluded.to_issuer, "
          "finished_at=excluded.finished_at, outcome=excluded.outcome, "
          "phase=excluded.phase, phase_since=excluded.phase_since, "
          "paused=excluded.paused, emergency=excluded.emergency, "
          "soak_ms=excluded.soak_ms, absent_deadline_ms=excluded.absent_deadline_ms, "
          "require_proven=excluded.require_proven, canary=excluded.canary, "
          "turned_why=excluded.turned_why, issue_per_second=excluded.issue_per_second"));
  const bool waits = record.absent_deadline == absl::InfiniteDuration();
  return put.Bind(record.number)
      .Text(record.source)
      .Text(record.from_roots_pem)
      .Text(record.from_crls_pem)
      .Text(record.from_issuer)
      .Text(record.to_roots_pem)
      .Text(record.to_issuer)
      .Bind(record.started_at)
      .Bind(record.finished_at)
      .Text(record.outcome)
      .Text(record.phase)
      .Bind(record.phase_since)
      .Bind(int64_t{record.paused})
      .Bind(int64_t{record.emergency})
      .Bind(absl::ToInt64Milliseconds(record.soak))
      .Bind(waits ? -1 : absl::ToInt64Milliseconds(record.absent_deadline))
      .Bind(int64_t{record.require_proven})
      .Text(record.canary)
      .Text(record.turned_why)
      .BindReal(record.issue_per_second)
      .Run();
}

absl::Status SqliteStore::PutExemption(const ExemptionRecord& record) {
  CAPSTAN_ASSIGN_OR_RETURN(Statement put,
                           db_->Prepare("INSERT OR REPLACE INTO exemption VALUES (?, ?, ?, ?)"));
  return put.Bind(record.rotation).Text(record.name).Text(record.why).Bind(record.at).Run();
}

absl::Status SqliteStore::PutUnseen(const UnseenRecord& record) {
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement put,
      db_->Prepare("INSERT INTO unseen_leaves VALUES (?, ?, ?) ON CONFLICT (signer) DO UPDATE SET "
                   "until=excluded.until, why=excluded.why WHERE until < excluded.until"));
  return put.Text(record.signer).Bind(record.until).Text(record.why).Run();
}

absl::Status SqliteStore::PutBaselines(const std::vector<BaselineRecord>& records) {
  CAPSTAN_RETURN_IF_ERROR(db_->Execute("DELETE FROM baseline"));
  for (const BaselineRecord& record : records) {
    CAPSTAN_ASSIGN_OR_RETURN(Statement put, db_->Prepare("INSERT INTO baseline VALUES (?, ?, ?)"));
    CAPSTAN_RETURN_IF_ERROR(put.Text(record.name).Bind(record.failed).Bind(record.per_hour).Run());
  }
  return absl::OkStatus();
}

absl::Status SqliteStore::LoadBaselines(State& state) {
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement row, db_->Prepare("SELECT name, failed, per_hour FROM baseline ORDER BY name"));
  while (true) {
    CAPSTAN_ASSIGN_OR_RETURN(bool there, row.Step());
    if (!there) return absl::OkStatus();
    state.baselines.push_back({row.Bytes(0), row.Integer(1), row.Integer(2)});
  }
}

absl::Status SqliteStore::MarkUnwritten(std::string_view authority, absl::Time until) {
  absl::MutexLock lock(&mutex_);
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement put,
      db_->Prepare("INSERT INTO unwritten_leaves VALUES (?, ?) ON CONFLICT (authority) DO UPDATE "
                   "SET until=excluded.until WHERE until < excluded.until"));
  return put.Text(authority).Bind(until).Run();
}

absl::Status SqliteStore::ClearUnwritten(std::string_view authority) {
  absl::MutexLock lock(&mutex_);
  CAPSTAN_ASSIGN_OR_RETURN(Statement clear,
                           db_->Prepare("DELETE FROM unwritten_leaves WHERE authority=?"));
  return clear.Text(authority).Run();
}

absl::Status SqliteStore::LoadUnwritten(State& state) {
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement row,
      db_->Prepare("SELECT authority, until FROM unwritten_leaves ORDER BY authority"));
  while (true) {
    CAPSTAN_ASSIGN_OR_RETURN(bool there, row.Step());
    if (!there) return absl::OkStatus();
    state.unwritten.push_back({row.Bytes(0), row.Time(1)});
  }
}

absl::StatusOr<std::vector<RotationRecord>> SqliteStore::SelectRotations(int limit) {
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement row,
      db_->Prepare("SELECT number, source, from_roots_pem, from_crls_pem, from_issuer, "
                   "to_roots_pem, to_issuer, started_at, finished_at, outcome, phase, phase_since, "
                   "paused, emergency, soak_ms, absent_deadline_ms, require_proven, canary, "
                   "turned_why, issue_per_second FROM rotation ORDER BY number DESC LIMIT ?"));
  row.Bind(int64_t{limit});
  std::vector<RotationRecord> rotations;
  while (true) {
    CAPSTAN_ASSIGN_OR_RETURN(bool there, row.Step());
    if (!there) break;
    rotations.push_back(
        {row.Integer(0),
         row.Bytes(1),
         row.Bytes(2),
         row.Bytes(3),
         row.Bytes(4),
         row.Bytes(5),
         row.Bytes(6),
         row.Time(7),
         row.Time(8),
         row.Bytes(9),
         row.Bytes(10),
         row.Time(11),
         row.Integer(12) != 0,
         row.Integer(13) != 0,
         absl::Milliseconds(row.Integer(14)),
         row.Integer(15) < 0 ? absl::InfiniteDuration() : absl::Milliseconds(row.Integer(15)),
         row.Integer(16) != 0,
         row.Real(19),
         row.Bytes(17),
         row.Bytes(18)});
  }
  std::reverse(rotations.begin(), rotations.end());
  return rotations;
}

absl::StatusOr<std::vector<ExemptionRecord>> SqliteStore::SelectExemptions(int64_t from_rotation) {
  CAPSTAN_ASSIGN_OR_RETURN(Statement row,
                           db_->Prepare("SELECT rotation, name, why, at FROM exemption WHERE "
                                        "rotation >= ? ORDER BY rotation, name"));
  row.Bind(from_rotation);
  std::vector<ExemptionRecord> exemptions;
  while (true) {
    CAPSTAN_ASSIGN_OR_RETURN(bool there, row.Step());
    if (!there) break;
    exemptions.push_back({row.Integer(0), row.Bytes(1), row.Bytes(2), row.Time(3)});
  }
  return exemptions;
}

absl::Status SqliteStore::LoadRotation(State& state) {
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<RotationRecord> latest, SelectRotations(1));
  if (!latest.empty()) {
    state.rotation = latest.front();
    CAPSTAN_ASSIGN_OR_RETURN(state.exemptions, SelectExemptions(state.rotation->number));
  }
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement row, db_->Prepare("SELECT signer, until, why FROM unseen_leaves ORDER BY signer"));
  while (true) {
    CAPSTAN_ASSIGN_OR_RETURN(bool there, row.Step());
    if (!there) return absl::OkStatus();
    state.unseen.push_back({row.Bytes(0), row.Time(1), row.Bytes(2)});
  }
}

absl::StatusOr<Store::RotationHistory> SqliteStore::Rotations(int limit) {
  absl::MutexLock lock(&mutex_);
  RotationHistory history;
  CAPSTAN_ASSIGN_OR_RETURN(history.rotations, SelectRotations(limit));
  if (history.rotations.empty()) return history;
  CAPSTAN_ASSIGN_OR_RETURN(history.exemptions, SelectExemptions(history.rotations.front().number));
  return history;
}

absl::Status SqliteStore::PutHistory(const HistoryRecord& record) {
  CAPSTAN_ASSIGN_OR_RETURN(Statement put, db_->Prepare("INSERT INTO history VALUES (?, ?)"));
  CAPSTAN_RETURN_IF_ERROR(put.Bind(record.sequence).Text(record.document).Run());
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement forget,
      db_->Prepare("DELETE FROM history WHERE sequence <= (SELECT sequence FROM history ORDER BY "
                   "sequence DESC LIMIT 1 OFFSET ?)"));
  return forget.Bind(kMostHistory).Run();
}

absl::StatusOr<std::vector<HistoryRecord>> SqliteStore::History() {
  absl::MutexLock lock(&mutex_);
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement row, db_->Prepare("SELECT sequence, document FROM history ORDER BY sequence"));
  std::vector<HistoryRecord> records;
  while (true) {
    CAPSTAN_ASSIGN_OR_RETURN(bool there, row.Step());
    if (!there) break;
    records.push_back({row.Integer(0), row.Bytes(1)});
  }
  return records;
}

absl::Status SqliteStore::Reserve(std::string_view authority, absl::Time until) {
  absl::MutexLock lock(&mutex_);
  return db_->Transaction([&]() -> absl::Status {
    mutex_.AssertHeld();
    CAPSTAN_ASSIGN_OR_RETURN(
        Statement put,
        db_->Prepare("UPDATE authority SET reserved_until=max(coalesce(reserved_until, ?1), "
                     "?1) WHERE id=?2"));
    CAPSTAN_RETURN_IF_ERROR(put.Bind(until).Text(authority).Run());
    if (db_->changed_rows() != 1) {
      return absl::NotFoundError(
          absl::StrCat("no authority ", authority, " in the state database"));
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<JournalEntry>> SqliteStore::Journal(int limit) {
  absl::MutexLock lock(&mutex_);
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement row,
      db_->Prepare("SELECT number, at, kind, why, digest, sequence, issuer_epoch, rotation FROM "
                   "journal ORDER BY number DESC LIMIT ?"));
  row.Bind(int64_t{limit});
  std::vector<JournalEntry> entries;
  while (true) {
    CAPSTAN_ASSIGN_OR_RETURN(bool there, row.Step());
    if (!there) break;
    entries.push_back({row.Integer(0), row.Time(1), row.Bytes(2), row.Bytes(3), row.Bytes(4),
                       row.Integer(5), row.Integer(6), row.Integer(7)});
  }
  std::reverse(entries.begin(), entries.end());
  return entries;
}

absl::Status SqliteStore::AddToken(const TokenRecord& token) {
  absl::MutexLock lock(&mutex_);
  return db_->Transaction([&]() -> absl::Status {
    mutex_.AssertHeld();
    CAPSTAN_ASSIGN_OR_RETURN(Statement put,
                             db_->Prepare("INSERT INTO token VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
    return put.Blob(token.hash)
        .Text(token.spiffe_id)
        .Bind(token.created_at)
        .Bind(token.expires_at)
        .Bind(token.consumed_at)
        .Blob(token.csr_key_hash)
        .Text(JoinList(token.certificate))
        .Bind(token.sequence)
        .Run();
  });
}

absl::StatusOr<TokenRecord> SqliteStore::FindToken(std::string_view hash) {
  absl::MutexLock lock(&mutex_);
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement row, db_->Prepare("SELECT hash, spiffe_id, created_at, expires_at, consumed_at, "
                                  "csr_key_hash, certificate, sequence FROM token WHERE hash=?"));
  row.Blob(hash);
  CAPSTAN_ASSIGN_OR_RETURN(bool there, row.Step());
  if (!there) return absl::NotFoundError("no such token");
  return TokenOf(row);
}

absl::StatusOr<std::vector<TokenRecord>> SqliteStore::OpenTokens(absl::Time now) {
  absl::MutexLock lock(&mutex_);
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement row,
      db_->Prepare("SELECT hash, spiffe_id, created_at, expires_at, consumed_at, csr_key_hash, "
                   "certificate, sequence FROM token WHERE consumed_at IS NULL AND expires_at > ? "
                   "ORDER BY hash"));
  row.Bind(now);
  std::vector<TokenRecord> open;
  while (true) {
    CAPSTAN_ASSIGN_OR_RETURN(bool there, row.Step());
    if (!there) return open;
    open.push_back(TokenOf(row));
  }
}

absl::Status SqliteStore::ConsumeToken(const Consumption& consumption) {
  absl::MutexLock lock(&mutex_);
  return db_->Transaction([&]() -> absl::Status {
    mutex_.AssertHeld();
    CAPSTAN_ASSIGN_OR_RETURN(
        Statement put,
        db_->Prepare("UPDATE token SET consumed_at=?, csr_key_hash=?, certificate=? WHERE "
                     "hash=? AND consumed_at IS NULL"));
    CAPSTAN_RETURN_IF_ERROR(put.Bind(consumption.at)
                                .Blob(consumption.csr_key_hash)
                                .Text(JoinList(consumption.certificate))
                                .Blob(consumption.token_hash)
                                .Run());
    if (db_->changed_rows() != 1) {
      return absl::FailedPreconditionError("the token was used before, or is gone");
    }
    return PutRecord(consumption.record);
  });
}

absl::StatusOr<int64_t> SqliteStore::ForgetTokens(absl::Time before) {
  absl::MutexLock lock(&mutex_);
  CAPSTAN_ASSIGN_OR_RETURN(Statement forget,
                           db_->Prepare("DELETE FROM token WHERE expires_at < ?"));
  CAPSTAN_RETURN_IF_ERROR(forget.Bind(before).Run());
  return db_->changed_rows();
}

absl::Status SqliteStore::PutRecord(const PopulationRecord& record) {
  CAPSTAN_ASSIGN_OR_RETURN(Statement put, db_->Prepare("INSERT OR REPLACE INTO population VALUES "
                                                       "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  return put.Text(record.spiffe_id)
      .Text(record.instance)
      .Text(record.purpose)
      .Text(Discriminator(record))
      .Text(record.serial)
      .Text(record.authority)
      .Bind(record.not_before)
      .Bind(record.not_after)
      .Bind(record.last_seen)
      .Text(JoinList(record.consumers))
      .Bind(record.told)
      .Run();
}

absl::Status SqliteStore::PutPopulation(const std::vector<PopulationRecord>& records) {
  absl::MutexLock lock(&mutex_);
  return db_->Transaction([&] {
    mutex_.AssertHeld();
    for (const PopulationRecord& record : records) CAPSTAN_RETURN_IF_ERROR(PutRecord(record));
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<PopulationRecord>> SqliteStore::LoadPopulation() {
  absl::MutexLock lock(&mutex_);
  CAPSTAN_ASSIGN_OR_RETURN(
      Statement row,
      db_->Prepare("SELECT spiffe_id, instance, purpose, serial, authority, not_before, "
                   "not_after, last_seen, consumers, told FROM population ORDER BY spiffe_id, "
                   "instance, purpose, discriminator"));
  std::vector<PopulationRecord> records;
  while (true) {
    CAPSTAN_ASSIGN_OR_RETURN(bool there, row.Step());
    if (!there) break;
    records.push_back({row.Bytes(0), row.Bytes(1), row.Bytes(2), row.Bytes(3), row.Bytes(4),
                       row.Time(5), row.Time(6), row.Time(7), SplitList(row.Bytes(8)),
                       row.Integer(9)});
  }
  return records;
}

absl::StatusOr<int64_t> SqliteStore::ForgetPopulation(absl::Time before) {
  absl::MutexLock lock(&mutex_);
  CAPSTAN_ASSIGN_OR_RETURN(Statement forget,
                           db_->Prepare("DELETE FROM population WHERE not_after < ?"));
  CAPSTAN_RETURN_IF_ERROR(forget.Bind(before).Run());
  return db_->changed_rows();
}

}  // namespace capstan::store
