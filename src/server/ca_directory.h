// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/ca_source.h"
#include "trust/ca_set.h"

namespace capstan::server {

// A directory, such as a mounted Secret. It can be written where it is no mount and access allows
// that: each file is replaced atomically, keys with mode 0600.
class CaDirectory final : public CaSource {
 public:
  explicit CaDirectory(std::string path) : path_(std::move(path)) {}
  const std::string& name() const override { return path_; }
  std::string kind() const override { return "directory"; }
  absl::StatusOr<trust::CaFiles> Read() override;
  absl::Status CheckWritable() override;
  absl::Status Write(const trust::CaFiles& files) override;

 private:
  const std::string path_;
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
