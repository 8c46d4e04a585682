// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "trust/ca_set.h"

namespace capstan::server {

// The CA files that are in a directory now; none where there is no directory. An error for one that
// is there and cannot be read.
absl::StatusOr<trust::CaFiles> ReadCaDirectory(const std::string& path);

// Equal for equal names and bytes.
std::string DigestOf(const trust::CaFiles& files);

// Folder → the names in it that must change when the CA files do: the files, the directory itself,
// and the same for whatever symbolic links lead to (a Kubernetes mount swaps one of them). Where a
// folder is missing, the first missing name below the nearest one that is there.
using WatchPoints = std::map<std::string, std::set<std::string>>;
WatchPoints WatchPointsOf(const std::string& path);

}  // namespace capstan::server
