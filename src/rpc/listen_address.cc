// SPDX-License-Identifier: Apache-2.0
#include "rpc/listen_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/status.h"

namespace capstan::rpc {
namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

absl::StatusOr<Addresses> Resolve(const std::string& address) {
  const absl::Status malformed = absl::InvalidArgumentError(absl::StrCat(
      "listen address \"", address, "\" is not IP:PORT, such as 0.0.0.0:15012 or [::1]:15012"));
  const size_t colon = address.rfind(':');
  int port = -1;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
      port < 0 || port > 65535) {
    return malformed;
  }
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (host.empty() ||
      ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    return malformed;
  }
  return Addresses(found, &::freeaddrinfo);
}

}  // namespace

absl::Status CheckListenAddress(const std::string& address) {
  CAPSTAN_ASSIGN_OR_RETURN(Addresses addresses, Resolve(address));
  const int fd = ::socket(addresses->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const bool listens =
      fd >= 0 && ::bind(fd, addresses->ai_addr, addresses->ai_addrlen) == 0 && ::listen(fd, 1) == 0;
  const int error = errno;
  if (fd >= 0) {
    ::close(fd);
  }
  if (!listens) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", address, ": ", std::strerror(error)));
  }
  return absl::OkStatus();
}

}  // namespace capstan::rpc
