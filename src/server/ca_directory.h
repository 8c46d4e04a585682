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

// A CA directory that may be written.
class CaDirectoryWriter {
 public:
  // FailedPrecondition: somebody else's, such as a Kubernetes mount or a folder without write
  // access; says what to do instead.
  static absl::StatusOr<CaDirectoryWriter> For(const std::string& path);
  // Replaces every CA file by `files`, each atomically, keys with mode 0600.
  absl::Status Write(const trust::CaFiles& files) const;

 private:
  explicit CaDirectoryWriter(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// A verified set in Istio's layout.
trust::CaFiles FilesOfSet(const trust::CaSet& set);

// Equal for equal names and bytes.
std::string DigestOf(const trust::CaFiles& files);

// Folder → the names in it that must change when the CA files do: the files, the directory itself,
// and the same for whatever symbolic links lead to (a Kubernetes mount swaps one of them). Where a
// folder is missing, the first missing name below the nearest one that is there.
using WatchPoints = std::map<std::string, std::set<std::string>>;
WatchPoints WatchPointsOf(const std::string& path);

}  // namespace capstan::server
