// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "base/status.h"
#include "cli/commands.h"

namespace capstan::cli {
namespace {

ExitCode CodeOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
      return kUsage;
    default:
      return kFailed;
  }
}

}  // namespace

void Fail(ExitCode code, std::string_view message) {
  std::cout.flush();
  std::cerr << "capstan: " << message << "\n";
  throw CLI::RuntimeError(code);
}

void Fail(const absl::Status& status) {
  Fail(CodeOf(status.code()), Std(status.message()));
}

}  // namespace capstan::cli
