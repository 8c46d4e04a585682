// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"

namespace capstan::rpc {

// Listens on a Unix socket and hands every connection on with what the kernel says of its other
// end, which gRPC's own listener does not tell.
class UnixListener {
 public:
  // Runs on the listener's thread; owns the descriptor, which does not block.
  using Accept = std::function<void(int fd, const ucred& peer)>;

  // The errors of PrepareUnixSocket. Listens when it returns; the socket has mode 0600.
  static absl::StatusOr<std::unique_ptr<UnixListener>> Listen(const std::string& path,
                                                              Accept accept);
  // Accepts no more, and removes the socket unless another one took its place.
  ~UnixListener();
  UnixListener(const UnixListener&) = delete;
  UnixListener& operator=(const UnixListener&) = delete;

 private:
  UnixListener(std::string path, Accept accept)
      : path_(std::move(path)), accept_(std::move(accept)) {}
  absl::Status Bind();
  void Run();
  void AcceptOne();

  const std::string path_;
  const Accept accept_;
  int listening_ = -1;
  int stop_ = -1;  // an eventfd
  dev_t device_ = 0;
  ino_t inode_ = 0;
  std::thread thread_;
};

}  // namespace capstan::rpc
