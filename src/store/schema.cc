// SPDX-License-Identifier: Apache-2.0
#include "store/schema.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace capstan::store {

const std::vector<std::string_view>& Migrations() {
  static const auto& migrations = *new std::vector<std::string_view>{
      // Times are milliseconds since 1970, NULL where there is none.
      R"sql(
CREATE TABLE trust (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  lineage TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  roots_pem TEXT NOT NULL,
  issuer_epoch INTEGER NOT NULL,
  issuer TEXT NOT NULL,
  crl_number INTEGER NOT NULL,
  crls_pem TEXT NOT NULL,
  serving_authority TEXT NOT NULL
) STRICT;
CREATE TABLE authority (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  chain_pem TEXT NOT NULL,
  sealed_key BLOB NOT NULL,
  reserved_until INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE desired (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  digest TEXT NOT NULL,
  source TEXT NOT NULL,
  roots_pem TEXT NOT NULL,
  crls_pem TEXT NOT NULL,
  issuer TEXT NOT NULL REFERENCES authority (id),
  accepted_at INTEGER,
  applied_at INTEGER
) STRICT;
CREATE TABLE refused (digest TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE journal (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER,
  kind TEXT NOT NULL,
  why TEXT NOT NULL,
  digest TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  issuer_epoch INTEGER NOT NULL
) STRICT;
CREATE TABLE token (
  hash BLOB PRIMARY KEY,
  spiffe_id TEXT NOT NULL,
  created_at INTEGER,
  expires_at INTEGER,
  consumed_at INTEGER,
  csr_key_hash BLOB NOT NULL,
  certificate TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX token_expiry ON token (expires_at);
CREATE TABLE population (
  spiffe_id TEXT NOT NULL,
  instance TEXT NOT NULL,
  purpose TEXT NOT NULL,
  -- Callers without an instance are told apart by serial. The columns of the key stand first: the
  -- integrity check of SQLite 3.40 misreads a table WITHOUT ROWID whose key has another order.
  discriminator TEXT NOT NULL,
  serial TEXT NOT NULL,
  authority TEXT NOT NULL,
  not_before INTEGER,
  not_after INTEGER,
  last_seen INTEGER,
  consumers TEXT NOT NULL,
  PRIMARY KEY (spiffe_id, instance, purpose, discriminator)
) STRICT, WITHOUT ROWID;
CREATE INDEX population_expiry ON population (not_after);
)sql",
      R"sql(
CREATE TABLE rotation (
  number INTEGER PRIMARY KEY,
  source TEXT NOT NULL,
  from_roots_pem TEXT NOT NULL,
  from_crls_pem TEXT NOT NULL,
  from_issuer TEXT NOT NULL,
  to_roots_pem TEXT NOT NULL,
  to_issuer TEXT NOT NULL,
  started_at INTEGER,
  finished_at INTEGER,
  outcome TEXT NOT NULL,
  phase TEXT NOT NULL,
  phase_since INTEGER,
  paused INTEGER NOT NULL,
  emergency INTEGER NOT NULL,
  soak_ms INTEGER NOT NULL,
  absent_deadline_ms INTEGER NOT NULL, -- -1: none
  require_proven INTEGER NOT NULL
) STRICT;
CREATE TABLE exemption (
  rotation INTEGER NOT NULL REFERENCES rotation (number),
  name TEXT NOT NULL,
  why TEXT NOT NULL,
  at INTEGER,
  PRIMARY KEY (rotation, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE unseen_leaves (
  signer TEXT PRIMARY KEY,
  until INTEGER,
  why TEXT NOT NULL
) STRICT, WITHOUT ROWID;
ALTER TABLE authority ADD COLUMN state_since INTEGER;
ALTER TABLE journal ADD COLUMN rotation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE token ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;
)sql",
      // The links of the trust history.
      R"sql(
CREATE TABLE history (
  sequence INTEGER PRIMARY KEY,
  document TEXT NOT NULL
) STRICT;
)sql",
      // Canaries.
      R"sql(
ALTER TABLE rotation ADD COLUMN canary TEXT NOT NULL DEFAULT '';
ALTER TABLE rotation ADD COLUMN turned_why TEXT NOT NULL DEFAULT '';
CREATE TABLE baseline (
  name TEXT PRIMARY KEY,
  failed INTEGER NOT NULL,
  per_hour INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
)sql",
      // A rotation's own budget.
      R"sql(
ALTER TABLE rotation ADD COLUMN issue_per_second REAL NOT NULL DEFAULT 0;
)sql",
      // Leaves that were given out before their records were written.
      R"sql(
CREATE TABLE unwritten_leaves (
  authority TEXT PRIMARY KEY,
  until INTEGER
) STRICT, WITHOUT ROWID;
)sql",
      // What the answers to stock agents said of the roots.
      R"sql(
ALTER TABLE population ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
)sql",
  };
  return migrations;
}

absl::Status Migrate(Database& db) {
  int64_t version = 0;
  {
    CAPSTAN_ASSIGN_OR_RETURN(Statement statement, db.Prepare("PRAGMA user_version"));
    CAPSTAN_ASSIGN_OR_RETURN(bool row, statement.Step());
    if (row) version = statement.Integer(0);
  }
  const auto newest = static_cast<int64_t>(Migrations().size());
  if (version > newest) {
    return absl::FailedPreconditionError(
        absl::StrCat("the state database was written by a newer capstand (schema ", version,
                     ", this one knows ", newest, "); run that version or a later one"));
  }
  for (; version < newest; ++version) {
    CAPSTAN_RETURN_IF_ERROR(db.Transaction([&] {
      CAPSTAN_RETURN_IF_ERROR(db.Execute(std::string(Migrations()[version])));
      return db.Execute(absl::StrCat("PRAGMA user_version=", version + 1));
    }));
  }
  return absl::OkStatus();
}

}  // namespace capstan::store
