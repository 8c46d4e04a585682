// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include "agent/options.h"
#include "agent/run.h"
#include "base/log.h"
#include "base/status.h"

namespace {

std::optional<std::string> FromProcessEnvironment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

int Fail(const absl::Status& status, int code) {
  std::fprintf(stderr, "capstan-agent: %s\n", std::string(status.message()).c_str());
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  capstan::agent::Options options;
  const auto loaded = capstan::agent::LoadOptions(argc, argv, FromProcessEnvironment, options);
  if (!loaded.ok()) return Fail(loaded.status(), 2);
  if (loaded->todo != capstan::Settings::Todo::kRun) {
    std::fputs(loaded->output.c_str(), stdout);
    return 0;
  }
  capstan::log::Configure(options.log_format, options.log_level);

  // Blocked before any thread is made, so that only the wait below sees them.
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGINT);
  sigaddset(&stop, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  const absl::Status ran = capstan::agent::Run(options, [&stop] {
    int signal = 0;
    sigwait(&stop, &signal);
  });
  return ran.ok() ? 0 : Fail(ran, 1);
}
