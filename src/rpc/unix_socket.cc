// SPDX-License-Identifier: Apache-2.0
#include "rpc/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/files.h"
#include "base/status.h"

namespace capstan::rpc {
namespace {

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) {
    return ".";
  }
  return slash == 0 ? "/" : path.substr(0, slash);
}

// 0: a server accepted; otherwise the errno of connect(2).
int TryConnect(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    return errno;
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const int result =
      ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ? 0 : errno;
  ::close(fd);
  return result;
}

absl::Status RemoveStale(const std::string& path) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoError(errno, path);
  }
  if (!S_ISSOCK(found.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": is there and is no socket; move it away or choose another path"));
  }
  switch (const int error = TryConnect(path); error) {
    case ECONNREFUSED:  // nobody listens: its server is gone
      break;
    case 0:
    case EAGAIN:  // somebody listens, with a full queue
      return absl::AlreadyExistsError(
          absl::StrCat(path, ": another server listens on this socket; stop it first"));
    default:
      return ErrnoError(error, absl::StrCat(path, ": cannot tell whether a server listens"));
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return ErrnoError(errno, absl::StrCat(path, ": cannot remove the socket of a dead server"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status PrepareUnixSocket(const std::string& path) {
  constexpr size_t kMaxPath = sizeof(sockaddr_un{}.sun_path) - 1;
  if (path.empty() || path.size() > kMaxPath) {
    return absl::InvalidArgumentError(absl::StrCat("socket path \"", path, "\": ", path.size(),
                                                   " bytes; a socket's path has 1 to ", kMaxPath));
  }
  CAPSTAN_RETURN_IF_ERROR(MakePrivateDirectory(FolderOf(path)));
  return RemoveStale(path);
}

absl::Status MakeUnixSocketPrivate(const std::string& path) {
  if (::chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0) {
    return ErrnoError(errno, absl::StrCat(path, ": cannot set mode 0600"));
  }
  return absl::OkStatus();
}

}  // namespace capstan::rpc
