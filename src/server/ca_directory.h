// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trust/ca_set.h"

namespace capstan::server {

// The CA files that are in a directory now; none where there is no directory. An error for one that
// is there and cannot be read.
absl::StatusOr<trust::CaFiles> ReadCaDirectory(const std::string& path);

// Equal for equal names and bytes.
std::string DigestOf(const trust::CaFiles& files);

// The folders in which something must happen when the files change: the directory, the one it is
// in, and the same for whatever symbolic links lead to (a Kubernetes mount swaps one of them).
// Where the directory is missing, the nearest one above it that is there.
std::vector<std::string> FoldersToWatch(const std::string& path);

}  // namespace capstan::server
