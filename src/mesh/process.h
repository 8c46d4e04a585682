// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace capstan::mesh {

// One child process in a process group of its own. It dies with its parent, however the parent
// ends, and with this object.
class Process {
 public:
  struct Options {
    std::vector<std::string> argv;              // argv[0] is a path or found in PATH
    std::vector<std::string> environment = {};  // "NAME=value", beside the parent's own
    std::string log_path;                       // standard output and error, appended
    std::string working_directory = {};
  };

  // NotFound: no such program.
  static absl::StatusOr<std::unique_ptr<Process>> Start(const Options& options);
  ~Process();

  const std::string& name() const { return name_; }
  pid_t pid() const { return pid_; }
  // Empty while it runs; then "exit code 1" or "signal 9 (Killed)".
  std::optional<std::string> Ended();
  void Signal(int signal);
  // Terminates it politely, after `patience` for good, and waits for its end.
  void Stop(absl::Duration patience = absl::Seconds(5));
  // SIGKILL, and waits.
  void Kill();

 private:
  Process(std::string name, pid_t pid) : name_(std::move(name)), pid_(pid) {}
  bool WaitUntil(absl::Duration patience);

  std::string name_;
  pid_t pid_;
  std::optional<std::string> ended_;
};

// Runs a program to its end; its standard output, or an error that carries what it said.
absl::StatusOr<std::string> RunProgram(const std::vector<std::string>& argv,
                                       absl::Duration timeout = absl::Seconds(60));

// A TCP port of 127.0.0.1 that nobody listens on, below those that the kernel gives to outgoing
// connections: none of those takes it before its user does. Another program that listens may.
absl::StatusOr<int> FreePort();

// Polls `done` until it holds; false at the timeout.
template <typename Condition>
bool WaitFor(absl::Duration timeout, Condition done);

void Pause(absl::Duration d);

}  // namespace capstan::mesh

#include "base/clock.h"

namespace capstan::mesh {

template <typename Condition>
bool WaitFor(absl::Duration timeout, Condition done) {
  const absl::Duration deadline = RealClock().Monotonic() + timeout;
  while (!done()) {
    if (RealClock().Monotonic() >= deadline) return false;
    Pause(absl::Milliseconds(50));
  }
  return true;
}

}  // namespace capstan::mesh
