// SPDX-License-Identifier: Apache-2.0
#include "store/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace capstan::store {
namespace {

std::string HolderOf(int fd) {
  char text[32] = {};
  ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
  std::string_view pid(text, n > 0 ? static_cast<size_t>(n) : 0);
  pid = pid.substr(0, pid.find_first_not_of("0123456789"));
  return pid.empty() ? "another process" : absl::StrCat("process ", pid);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LockFile>> LockFile::Take(const std::string& path) {
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoError(errno, absl::StrCat("cannot open ", path));
  auto lock = std::unique_ptr<LockFile>(new LockFile(fd));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoError(errno, absl::StrCat("cannot lock ", path));
    return absl::UnavailableError(
        absl::StrCat("the state is in use by ", HolderOf(fd), " (", path,
                     "); stop that one, or give this one another --state-dir"));
  }
  // The process id is for people: the lock itself dies with its holder.
  std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid.data(), pid.size(), 0) < 0) {
    return ErrnoError(errno, absl::StrCat("cannot write ", path));
  }
  return lock;
}

LockFile::~LockFile() {
  close(fd_);
}

}  // namespace capstan::store
