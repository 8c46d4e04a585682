// SPDX-License-Identifier: Apache-2.0
#include "base/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/random.h"
#include "base/status.h"

namespace capstan {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

absl::StatusOr<std::string> ReadAll(int fd, const std::string& name, size_t max_bytes) {
  std::string bytes;
  char buffer[65536];
  while (true) {
    ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoError(errno, absl::StrCat("cannot read ", name));
    }
    if (n == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(n));
    if (bytes.size() > max_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " is larger than ", max_bytes, " bytes"));
    }
  }
}

absl::Status WriteAll(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoError(errno, absl::StrCat("cannot write ", path));
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  if (fsync(fd) != 0) return ErrnoError(errno, absl::StrCat("cannot sync ", path));
  return absl::OkStatus();
}

std::string ParentOf(const std::string& path) {
  std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

absl::Status SyncDirectory(const std::string& path) {
  FileDescriptor dir(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir.get() < 0 || fsync(dir.get()) != 0) {
    return ErrnoError(errno, absl::StrCat("cannot sync the folder ", path));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoError(errno, absl::StrCat("cannot open ", path));
  return ReadAll(fd.get(), path, max_bytes);
}

absl::StatusOr<std::string> ReadStandardInput(size_t max_bytes) {
  return ReadAll(STDIN_FILENO, "standard input", max_bytes);
}

absl::Status WriteFileAtomically(const std::string& path, std::string_view bytes, mode_t mode,
                                 Overwrite overwrite) {
  std::string temporary = absl::StrCat(path, ".", SystemRandom().Uuid(), ".tmp");
  absl::Status written = [&]() -> absl::Status {
    FileDescriptor fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    if (fd.get() < 0) return ErrnoError(errno, absl::StrCat("cannot create ", path));
    if (fchmod(fd.get(), mode) != 0) {
      return ErrnoError(errno, absl::StrCat("cannot set the mode of ", path));
    }
    return WriteAll(fd.get(), bytes, path);
  }();
  if (written.ok()) {
    // link(2) fails where the name exists, rename(2) replaces it: both are atomic.
    int failed = overwrite == Overwrite::kRefuse ? link(temporary.c_str(), path.c_str())
                                                 : rename(temporary.c_str(), path.c_str());
    if (failed != 0 && errno == EEXIST) {
      written = absl::AlreadyExistsError(
          absl::StrCat(path, " exists and is not overwritten (--force replaces it)"));
    } else if (failed != 0) {
      written = ErrnoError(errno, absl::StrCat("cannot put ", path, " in place"));
    }
  }
  if (!written.ok() || overwrite == Overwrite::kRefuse) unlink(temporary.c_str());
  if (!written.ok()) return written;
  return SyncDirectory(ParentOf(path));
}

absl::Status MakePrivateDirectory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(ParentOf(path), error);
  if (error)
    return ErrnoError(error.value(), absl::StrCat("cannot make the folder ", ParentOf(path)));
  if (mkdir(path.c_str(), 0700) == 0) return absl::OkStatus();
  if (errno != EEXIST) return ErrnoError(errno, absl::StrCat("cannot make the folder ", path));
  struct stat st;
  if (stat(path.c_str(), &st) != 0) return ErrnoError(errno, absl::StrCat("cannot look at ", path));
  if (!S_ISDIR(st.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is not a folder"));
  }
  if ((st.st_mode & 0077) != 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("the folder %s is open to others (mode %04o); it will hold secrets: run "
                        "chmod 700 %s",
                        path, st.st_mode & 07777, path));
  }
  return absl::OkStatus();
}

bool FileExists(const std::string& path) {
  struct stat st;
  return stat(path.c_str(), &st) == 0;
}

absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  DIR* dir = opendir(path.c_str());
  if (dir == nullptr) return ErrnoError(errno, absl::StrCat("cannot list the folder ", path));
  std::vector<std::string> names;
  while (dirent* entry = readdir(dir)) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace capstan
