// SPDX-License-Identifier: Apache-2.0
#include "server/ca_directory.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/seal.h"

namespace capstan::server {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxCaFileBytes = 1 << 20;

// What has to change for `path` to become another thing: its own name in its folder, or that of the
// topmost folder above it that is not there.
void AddName(fs::path path, WatchPoints& points) {
  std::error_code error;
  while (!fs::is_directory(path.parent_path(), error) && path.parent_path().has_relative_path()) {
    path = path.parent_path();
  }
  points[path.parent_path().string()].insert(path.filename().string());
}

// A link is replaced in the folder it stands in, and its target in the target's.
void AddLink(const fs::path& path, int depth, WatchPoints& points) {
  AddName(path, points);
  std::error_code error;
  if (depth == 0 || !fs::is_symlink(path, error)) return;
  fs::path target = fs::read_symlink(path, error);
  if (error) return;
  if (target.is_relative()) target = path.parent_path() / target;
  AddLink(target.lexically_normal(), depth - 1, points);
}

}  // namespace

absl::StatusOr<trust::CaFiles> CaDirectory::Read() {
  trust::CaFiles files;
  for (const std::string& name : trust::CaFileNames()) {
    absl::StatusOr<std::string> bytes = ReadFile(absl::StrCat(path_, "/", name), kMaxCaFileBytes);
    if (absl::IsNotFound(bytes.status())) continue;
    CAPSTAN_RETURN_IF_ERROR(bytes.status());
    files[name] = *std::move(bytes);
  }
  return files;
}

absl::Status CaDirectory::CheckWritable() {
  std::error_code error;
  const fs::path directory(path_);
  const bool mounted = fs::exists(fs::symlink_status(directory / "..data", error));
  if (!mounted && access(path_.c_str(), W_OK | X_OK) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "capstand follows ", path_, " and cannot write it (",
      mounted ? "a mount that is replaced from outside" : "no write access",
      "): put the new CA there yourself. For a folder: cp DIR/{ca-cert,ca-key,cert-chain,root-cert}"
      ".pem ",
      path_,
      "/ ; for a Secret: kubectl create secret generic cacerts -n istio-system --from-file=DIR "
      "--dry-run=client -o yaml | kubectl replace -f - . The same gates hold then"));
}

absl::Status CaDirectory::Write(const trust::CaFiles& files) {
  for (const std::string& name : trust::CaFileNames()) {
    const std::string path = absl::StrCat(path_, "/", name);
    const auto file = files.find(name);
    if (file == files.end()) {
      if (unlink(path.c_str()) != 0 && errno != ENOENT) {
        return ErrnoError(errno, absl::StrCat("cannot remove ", path));
      }
      continue;
    }
    const bool key = absl::EndsWith(name, "key.pem") || absl::EndsWith(name, ".key");
    CAPSTAN_RETURN_IF_ERROR(
        WriteFileAtomically(path, file->second, key ? 0600 : 0644, Overwrite::kReplace));
  }
  return absl::OkStatus();
}

trust::CaFiles FilesOfSet(const trust::CaSet& set) {
  trust::CaFiles files{
      {"ca-cert.pem", set.authority.certificate.ToPem()},
      {"ca-key.pem", std::string(set.key.ToPkcs8Pem().Reveal())},
      {"cert-chain.pem", x509::ToPem(set.authority.intermediates) + set.authority.root.ToPem()},
      {"root-cert.pem", set.bundle.ToPem()}};
  if (!set.crls.empty()) files["ca-crl.pem"] = x509::ToPem(set.crls);
  return files;
}

std::string DigestOf(const trust::CaFiles& files) {
  std::string content;
  for (const auto& [name, bytes] : files)
    absl::StrAppend(&content, name, "\n", x509::Sha256(bytes));
  return x509::Sha256(content);
}

WatchPoints WatchPointsOf(const std::string& path) {
  constexpr int kLinks = 4;
  std::error_code error;
  fs::path directory = fs::absolute(path, error).lexically_normal();
  if (!directory.has_filename()) directory = directory.parent_path();
  WatchPoints points;
  AddLink(directory, kLinks, points);
  AddLink(directory / "..data", kLinks, points);
  for (const std::string& name : trust::CaFileNames()) AddLink(directory / name, kLinks, points);
  return points;
}

}  // namespace capstan::server
