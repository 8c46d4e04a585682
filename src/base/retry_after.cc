// SPDX-License-Identifier: Apache-2.0
#include "base/retry_after.h"

#include <cstdint>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace capstan {
namespace {

constexpr char kPayload[] = "capstan/retry-after-ms";

}  // namespace

absl::Status WithRetryAfter(absl::Status status, absl::Duration after) {
  const int64_t milliseconds = absl::ToInt64Milliseconds(absl::Ceil(after, absl::Milliseconds(1)));
  status.SetPayload(kPayload, absl::Cord(absl::StrCat(milliseconds)));
  return status;
}

std::optional<absl::Duration> RetryAfterOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  int64_t milliseconds = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &milliseconds)) {
    return std::nullopt;
  }
  return absl::Milliseconds(milliseconds);
}

}  // namespace capstan
