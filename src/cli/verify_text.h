// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "x509/verify.h"

namespace capstan::cli {

// "2026-12-24T18:00:00Z", or a distance from `now` with its sign: "+720h", "-5m".
absl::StatusOr<absl::Time> ParseMoment(std::string_view text, absl::Time now);

// Each check in its order, the conclusion last.
std::string VerdictText(const x509::Verdict& verdict, absl::Time at);

// {"trusted", "reason", "at", "steps": [...], "chain": [...]}, with a last newline.
std::string VerdictJson(const x509::Verdict& verdict, absl::Time at);

}  // namespace capstan::cli
