// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/log.h"
#include "server/config.h"
#include "server/daemon.h"

namespace {

std::optional<std::string> Variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

// Before any thread is made, so that only the daemon's own wait receives them.
void BlockSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

}  // namespace

int main(int argc, char** argv) {
  auto loaded = capstan::server::LoadConfig(argc, argv, Variable);
  if (!loaded.ok()) {
    std::fprintf(stderr, "capstand: %s\n", std::string(loaded.status().message()).c_str());
    return 2;
  }
  if (loaded->todo != capstan::Settings::Todo::kRun) {
    std::fputs(loaded->output.c_str(), stdout);
    return 0;
  }
  capstan::log::Configure(loaded->config.log_format, loaded->config.log_level);
  BlockSignals();
  absl::Status status = capstan::server::RunDaemon(loaded->config);
  if (!status.ok()) {
    capstan::log::Error(capstan::Std(status.message()), {{"effect", "capstand ends"}});
    return 1;
  }
  return 0;
}
