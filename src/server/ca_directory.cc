// SPDX-License-Identifier: Apache-2.0
#include "server/ca_directory.h"

#include <filesystem>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status.h"
#include "x509/seal.h"

namespace capstan::server {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxCaFileBytes = 1 << 20;

// The nearest folder at or above `path` that is there.
fs::path NearestFolder(fs::path path) {
  std::error_code error;
  while (!fs::is_directory(path, error) && path.has_relative_path()) path = path.parent_path();
  return path;
}

void AddFolder(const fs::path& path, std::set<std::string>& folders) {
  fs::path nearest = NearestFolder(path);
  if (!nearest.empty()) folders.insert(nearest.string());
}

// A link is replaced in the folder it stands in, and its target in the target's.
void AddLink(const fs::path& path, int depth, std::set<std::string>& folders) {
  std::error_code error;
  AddFolder(path.parent_path(), folders);
  if (depth == 0 || !fs::is_symlink(path, error)) return;
  fs::path target = fs::read_symlink(path, error);
  if (error) return;
  if (target.is_relative()) target = path.parent_path() / target;
  AddFolder(target, folders);
  AddLink(target.lexically_normal(), depth - 1, folders);
}

}  // namespace

absl::StatusOr<trust::CaFiles> ReadCaDirectory(const std::string& path) {
  trust::CaFiles files;
  for (const std::string& name : trust::CaFileNames()) {
    absl::StatusOr<std::string> bytes = ReadFile(absl::StrCat(path, "/", name), kMaxCaFileBytes);
    if (absl::IsNotFound(bytes.status())) continue;
    CAPSTAN_RETURN_IF_ERROR(bytes.status());
    files[name] = *std::move(bytes);
  }
  return files;
}

std::string DigestOf(const trust::CaFiles& files) {
  std::string content;
  for (const auto& [name, bytes] : files)
    absl::StrAppend(&content, name, "\n", x509::Sha256(bytes));
  return x509::Sha256(content);
}

std::vector<std::string> FoldersToWatch(const std::string& path) {
  constexpr int kLinks = 4;
  std::error_code error;
  const fs::path directory = fs::absolute(path, error).lexically_normal();
  std::set<std::string> folders;
  AddFolder(directory, folders);
  AddLink(directory.has_filename() ? directory : directory.parent_path(), kLinks, folders);
  AddLink(directory / "..data", kLinks, folders);
  for (const std::string& name : trust::CaFileNames()) AddLink(directory / name, kLinks, folders);
  return {folders.begin(), folders.end()};
}

}  // namespace capstan::server
