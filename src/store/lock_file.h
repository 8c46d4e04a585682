// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace capstan::store {

// Keeps a second program out of a state directory for as long as this object, or its process,
// lives.
class LockFile {
 public:
  // FailedPrecondition names the process that holds it.
  static absl::StatusOr<std::unique_ptr<LockFile>> Take(const std::string& path);
  ~LockFile();
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

 private:
  explicit LockFile(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace capstan::store
