// SPDX-License-Identifier: Apache-2.0
// TCP connections with a deadline. Not for other rooms.
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace capstan::x509 {

// Owns a file descriptor.
class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket();
  int fd() const { return fd_; }

 private:
  int fd_;
};

// Waits for `events` (of poll(2)) until `deadline` on the monotonic clock; false where it passed
// first.
bool WaitForSocket(int fd, short events, absl::Duration deadline);

// A non-blocking connection. Tries every address of the name. Unavailable: none accepts.
absl::StatusOr<Socket> Connect(const std::string& host, int port, absl::Duration deadline);

}  // namespace capstan::x509
