// SPDX-License-Identifier: Apache-2.0
// The commands of `capstan`, one file each. A command adds itself to the program; when it was
// chosen, CLI11 calls its callback, which prints its result to standard output and throws
// CLI::RuntimeError with an exit code where it did not succeed (see Fail).
#pragma once

#include <CLI/CLI.hpp>

#include "absl/status/status.h"

namespace capstan::cli {

// Exit codes, for scripts: 0 done; 1 the answer is no (not trusted, not converged, …); 2 wrong
// usage or bad input; 3 something else failed (no connection, no permission, …). What tells of a
// rotation answers 0 when there is none or it ended as wished, and one of the last four otherwise.
enum ExitCode {
  kDone = 0,
  kNo = 1,
  kUsage = 2,
  kFailed = 3,
  kRunning = 10,
  kWaiting = 11,  // somebody keeps the gate shut
  kPaused = 12,
  kRolledBack = 13,  // or aborted
};

// What the program was started among: read once, by main.
struct Surroundings {
  std::string no_color;  // the variables' values; "" where they are not set
  std::string term;
  std::string locale;
};

// Prints "capstan: MESSAGE" to standard error and ends the command: InvalidArgument, NotFound,
// AlreadyExists and FailedPrecondition end with kUsage, all else with kFailed.
[[noreturn]] void Fail(const absl::Status& status);
[[noreturn]] void Fail(ExitCode code, std::string_view message);

void AddPkiCommands(CLI::App& app);            // pki key, root-ca, csr, sign, …
void AddInspectCommand(CLI::App& app);         // inspect
void AddVerifyCommand(CLI::App& app);          // verify
void AddProxyConfigCommand(CLI::App& app);     // proxy-config secret
void AddEnvoyStatsCommand(CLI::App& app);      // envoy-stats
void AddEnvoyBootstrapCommand(CLI::App& app);  // envoy-bootstrap
void AddControlCommands(CLI::App& app);        // status, fleet list, reload, token create
void AddRotateCommands(CLI::App& app, const Surroundings& surroundings);  // rotate plan, start, …
void AddDemoCommand(CLI::App& app);                                       // demo
void AddSimulateCommand(CLI::App& app);                                   // simulate
void AddCompletionCommand(CLI::App& app);  // completion bash|zsh|fish

}  // namespace capstan::cli
