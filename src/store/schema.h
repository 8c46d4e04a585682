// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "store/sqlite.h"

namespace capstan::store {

// The statements that lead from each version of the schema (PRAGMA user_version) to the next; the
// first from nothing to 1. An entry that was released is never edited.
const std::vector<std::string_view>& Migrations();

// Brings the file to the newest version, each migration in its own transaction with its version.
// FailedPrecondition: the file is newer than this program.
absl::Status Migrate(Database& db);

}  // namespace capstan::store
