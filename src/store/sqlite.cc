// SPDX-License-Identifier: Apache-2.0
#include "store/sqlite.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace capstan::store {

absl::Status SqliteError(int code, std::string_view message, std::string_view path) {
  std::string text = absl::StrCat("state database ", path, ": ", message);
  switch (code & 0xff) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(absl::StrCat(text, "; free some space on its disk"));
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(absl::StrCat(text, "; another program has it open"));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(absl::StrCat(text,
                                              "; put back the file from a backup (with its -wal "
                                              "file), or move the state directory away "
                                              "and start anew"));
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
    case SQLITE_AUTH:
      return absl::PermissionDeniedError(
          absl::StrCat(text, "; look at the owner and mode of it and its folder"));
    case SQLITE_CONSTRAINT:
      return absl::AlreadyExistsError(text);
    default:
      return absl::UnavailableError(text);
  }
}

Statement::~Statement() {
  sqlite3_finalize(statement_);
}

Statement& Statement::Bind(int64_t value) {
  sqlite3_bind_int64(statement_, ++bound_, value);
  return *this;
}

Statement& Statement::BindReal(double value) {
  sqlite3_bind_double(statement_, ++bound_, value);
  return *this;
}

Statement& Statement::Bind(absl::Time value) {
  if (value == absl::InfinitePast()) {
    sqlite3_bind_null(statement_, ++bound_);
    return *this;
  }
  return Bind(absl::ToUnixMillis(value));
}

Statement& Statement::Text(std::string_view value) {
  sqlite3_bind_text(statement_, ++bound_, value.data() == nullptr ? "" : value.data(),
                    static_cast<int>(value.size()), SQLITE_TRANSIENT);
  return *this;
}

Statement& Statement::Blob(std::string_view value) {
  sqlite3_bind_blob(statement_, ++bound_, value.data() == nullptr ? "" : value.data(),
                    static_cast<int>(value.size()), SQLITE_TRANSIENT);
  return *this;
}

absl::StatusOr<bool> Statement::Step() {
  int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  sqlite3* db = sqlite3_db_handle(statement_);
  const char* path = sqlite3_db_filename(db, "main");
  return SqliteError(sqlite3_extended_errcode(db), sqlite3_errmsg(db), path == nullptr ? "" : path);
}

absl::Status Statement::Run() {
  CAPSTAN_ASSIGN_OR_RETURN(bool row, Step());
  return row ? absl::InternalError("a statement without rows gave one") : absl::OkStatus();
}

int64_t Statement::Integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

double Statement::Real(int column) const {
  return sqlite3_column_double(statement_, column);
}

absl::Time Statement::Time(int column) const {
  if (sqlite3_column_type(statement_, column) == SQLITE_NULL) return absl::InfinitePast();
  return absl::FromUnixMillis(Integer(column));
}

std::string Statement::Bytes(int column) const {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  if (bytes == nullptr) return "";
  return std::string(bytes, static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path) {
  // SQLite gives the -wal and -shm files the mode of the main one.
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoError(errno, absl::StrCat("cannot open the state database ", path));
  close(fd);
  sqlite3* db = nullptr;
  int code =
      sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, nullptr);
  auto database = std::unique_ptr<Database>(new Database(db, path));
  if (code != SQLITE_OK) return database->ErrorOf(code, "open");
  sqlite3_extended_result_codes(db, 1);
  sqlite3_busy_timeout(db, 2000);
  // FULL: a commit that returned is on the disk, also after a power cut.
  CAPSTAN_RETURN_IF_ERROR(
      database->Execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; "
                        "PRAGMA secure_delete=ON;"));
  CAPSTAN_ASSIGN_OR_RETURN(Statement check, database->Prepare("PRAGMA quick_check(1)"));
  CAPSTAN_ASSIGN_OR_RETURN(bool row, check.Step());
  if (!row || check.Bytes(0) != "ok") {
    return SqliteError(SQLITE_CORRUPT, row ? check.Bytes(0) : "no answer to quick_check", path);
  }
  return database;
}

Database::~Database() {
  sqlite3_close_v2(db_);
}

absl::Status Database::ErrorOf(int code, std::string_view doing) const {
  return SqliteError(
      code, absl::StrCat(doing, ": ", db_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(db_)),
      path_);
}

absl::StatusOr<Statement> Database::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  int code = sqlite3_prepare_v2(db_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  if (code != SQLITE_OK) return ErrorOf(code, "prepare");
  return Statement(statement);
}

absl::Status Database::Execute(const std::string& sql) {
  int code = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : ErrorOf(code, "execute");
}

int64_t Database::changed_rows() const {
  return sqlite3_changes64(db_);
}

absl::Status Database::Transaction(const std::function<absl::Status()>& work) {
  CAPSTAN_RETURN_IF_ERROR(Execute("BEGIN IMMEDIATE"));
  absl::Status done = work();
  if (done.ok() && fence_ != nullptr) done = fence_();
  if (done.ok()) done = Execute("COMMIT");
  if (!done.ok())
    (void)Execute("ROLLBACK");  // fails where the commit's failure rolled back already
  return done;
}

}  // namespace capstan::store
