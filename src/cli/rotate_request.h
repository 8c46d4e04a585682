// SPDX-License-Identifier: Apache-2.0
// The parts of `capstan rotate plan` and `start` that decide what is asked for.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "capstan/control/v1/control.pb.h"

namespace capstan::cli {

struct RotateFlags {
  std::string to;  // a plug-in CA directory
  bool generate = false;
  bool from_upstream = false;
  bool intermediate = false;
  std::string soak;
  std::string absent;
  std::string require;
  std::string canary;  // "namespace=NAME" or "percent=N"
  double budget = 0;   // 0: capstand's own
  bool emergency = false;
};

// A request, and what is odd about the CA directory without being wrong.
struct RotateRequest {
  control::v1::StartRotationRequest message;
  std::vector<std::string> warnings;
};

// Reads the directory and verifies it as capstand will, but for the CRLs, whose signers only
// capstand knows. InvalidArgument: not exactly one source, a policy that is none, or files that
// make no CA (which, and what to do). The message then holds a private key: see Wipe().
absl::StatusOr<RotateRequest> ToRequest(const RotateFlags& flags, absl::Time now);

// The policy alone. What was not said stays absent: as configured. "wait" is the longest duration
// there is.
absl::StatusOr<control::v1::RotationPolicy> ToPolicy(const RotateFlags& flags);

// Wipes the files' bytes.
void Wipe(control::v1::StartRotationRequest& request);

}  // namespace capstan::cli
