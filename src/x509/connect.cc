// SPDX-License-Identifier: Apache-2.0
#include "x509/connect.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/clock.h"

namespace capstan::x509 {
namespace {

struct AddressFree {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};

constexpr int kMaxPort = 65535;

// errno of the attempt, 0 where it is connected.
int ConnectTo(const addrinfo& address, Socket& socket, absl::Duration deadline) {
  socket = Socket(::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (socket.fd() < 0) {
    return errno;
  }
  const int on = 1;
  setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (::connect(socket.fd(), address.ai_addr, address.ai_addrlen) == 0) {
    return 0;
  }
  if (errno != EINPROGRESS) {
    return errno;
  }
  if (!WaitForSocket(socket.fd(), POLLOUT, deadline)) {
    return ETIMEDOUT;
  }
  int error = 0;
  socklen_t size = sizeof(error);
  return getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

}  // namespace

Socket::~Socket() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

bool WaitForSocket(int fd, short events, absl::Duration deadline) {
  while (true) {
    const absl::Duration left = deadline - RealClock().Monotonic();
    if (left <= absl::ZeroDuration()) {
      return false;
    }
    // Rounded up, so that the last millisecond is waited for and not spun through.
    const int64_t milliseconds = absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1)));
    pollfd poll_fd{fd, events, 0};
    const int ready =
        ::poll(&poll_fd, 1, static_cast<int>(std::min<int64_t>(milliseconds, INT_MAX)));
    if (ready > 0) {
      return true;
    }
    if (ready < 0 && errno != EINTR) {
      return false;
    }
  }
}

absl::StatusOr<Socket> Connect(const std::string& host, int port, absl::Duration deadline) {
  const std::string who = absl::StrCat(host, ":", port);
  if (port < 1 || port > kMaxPort) {
    return absl::InvalidArgumentError(absl::StrCat(who, ": a port is a number from 1 to 65535"));
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(absl::StrCat(who, ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, AddressFree> addresses(found);
  int last_error = 0;
  for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
    Socket socket(-1);
    last_error = ConnectTo(*address, socket, deadline);
    if (last_error == 0) {
      return socket;
    }
  }
  return absl::UnavailableError(
      absl::StrCat("no connection to ", who, ": ", std::strerror(last_error)));
}

}  // namespace capstan::x509
