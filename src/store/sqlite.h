// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

struct sqlite3;
struct sqlite3_stmt;

namespace capstan::store {

// Just enough of SQLite in C++: statements that bind and read by position, errors as Status.
class Statement {
 public:
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
  Statement(Statement&& other) noexcept : statement_(other.statement_) {
    other.statement_ = nullptr;
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  ~Statement();

  // Parameters in order.
  Statement& Bind(int64_t value);
  Statement& BindReal(double value);
  Statement& Bind(absl::Time value);  // milliseconds since 1970; InfinitePast is NULL
  Statement& Text(std::string_view value);
  Statement& Blob(std::string_view value);

  // True: a row is there to read. False: done.
  absl::StatusOr<bool> Step();
  // For statements without rows.
  absl::Status Run();

  int64_t Integer(int column) const;
  double Real(int column) const;
  absl::Time Time(int column) const;
  std::string Bytes(int column) const;

 private:
  sqlite3_stmt* statement_;
  int bound_ = 0;
};

class Database {
 public:
  // Makes the file (0600) where it is missing, checks it where it is there.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  absl::StatusOr<Statement> Prepare(std::string_view sql);
  absl::Status Execute(const std::string& sql);  // one or more statements without parameters
  int64_t changed_rows() const;

  // Runs `work` between BEGIN IMMEDIATE and COMMIT; ROLLBACK where it or the commit fails.
  absl::Status Transaction(const std::function<absl::Status()>& work);
  // Whether this process may still write.
  using Fence = std::function<absl::Status()>;
  void set_fence(Fence fence) { fence_ = std::move(fence); }

 private:
  Database(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}
  absl::Status ErrorOf(int code, std::string_view doing) const;
  sqlite3* db_;
  std::string path_;
  Fence fence_;  // null: it always may
};

// The status of an SQLite result code, with what to do about it.
absl::Status SqliteError(int code, std::string_view message, std::string_view path);

}  // namespace capstan::store
