// SPDX-License-Identifier: Apache-2.0
#include "rpc/unix_listener.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "rpc/unix_socket.h"

namespace capstan::rpc {
namespace {

// Long enough not to spin while descriptors are short, short enough not to be noticed after.
constexpr int kShortageMillis = 100;
constexpr int kBacklog = 128;

// Held while one process looks at a socket's path, clears it and binds to it, so that two that
// start at once do not clear away each other's. It is a lock on the folder: no file of its own
// stays behind.
class FolderLock {
 public:
  explicit FolderLock(const std::string& socket_path) {
    const size_t slash = socket_path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : socket_path.substr(0, slash + 1);
    fd_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd_ >= 0) {
      ::flock(fd_, LOCK_EX);
    }
  }
  ~FolderLock() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace

absl::StatusOr<std::unique_ptr<UnixListener>> UnixListener::Listen(const std::string& path,
                                                                   Accept accept) {
  std::unique_ptr<UnixListener> listener(new UnixListener(path, std::move(accept)));
  // Twice: the first makes the folder that is to be locked.
  CAPSTAN_RETURN_IF_ERROR(PrepareUnixSocket(path));
  const FolderLock lock(path);
  CAPSTAN_RETURN_IF_ERROR(PrepareUnixSocket(path));
  CAPSTAN_RETURN_IF_ERROR(listener->Bind());
  listener->thread_ = std::thread([raw = listener.get()] { raw->Run(); });
  return listener;
}

absl::Status UnixListener::Bind() {
  stop_ = ::eventfd(0, EFD_CLOEXEC);
  listening_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (stop_ < 0 || listening_ < 0) {
    return ErrnoError(errno, absl::StrCat(path_, ": cannot make a socket"));
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  if (::bind(listening_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoError(errno, absl::StrCat(path_, ": cannot bind"));
  }
  struct stat made {};
  if (::lstat(path_.c_str(), &made) != 0) {
    return ErrnoError(errno, path_);
  }
  device_ = made.st_dev;
  inode_ = made.st_ino;
  CAPSTAN_RETURN_IF_ERROR(MakeUnixSocketPrivate(path_));
  if (::listen(listening_, kBacklog) != 0) {
    return ErrnoError(errno, absl::StrCat(path_, ": cannot listen"));
  }
  return absl::OkStatus();
}

UnixListener::~UnixListener() {
  if (thread_.joinable()) {
    const uint64_t one = 1;
    // An eventfd's counter takes eight bytes at once or fails, which it cannot from zero.
    [[maybe_unused]] const ssize_t written = ::write(stop_, &one, sizeof(one));
    thread_.join();
  }
  if (inode_ != 0) {
    const FolderLock lock(path_);
    struct stat found {};
    if (::lstat(path_.c_str(), &found) == 0 && found.st_dev == device_ && found.st_ino == inode_) {
      ::unlink(path_.c_str());
    }
  }
  for (const int fd : {listening_, stop_}) {
    if (fd >= 0) {
      ::close(fd);
    }
  }
}

void UnixListener::Run() {
  while (true) {
    pollfd ready[] = {{stop_, POLLIN, 0}, {listening_, POLLIN, 0}};
    if (::poll(ready, 2, -1) < 0 && errno != EINTR) {
      log::Error("no more connections are accepted",
                 {{"socket", path_}, {"error", strerror(errno)}});
      return;
    }
    if (ready[0].revents != 0) {
      return;
    }
    if (ready[1].revents != 0) {
      AcceptOne();
    }
  }
}

void UnixListener::AcceptOne() {
  const int fd = ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) {
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      log::Warn("a connection waits", {{"socket", path_}, {"error", strerror(errno)}});
      pollfd stop{stop_, POLLIN, 0};
      ::poll(&stop, 1, kShortageMillis);
    }
    return;  // any other reason is the connection's own, which is gone
  }
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    ::close(fd);
    return;
  }
  accept_(fd, peer);
}

}  // namespace capstan::rpc
