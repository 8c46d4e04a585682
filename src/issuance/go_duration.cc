// SPDX-License-Identifier: Apache-2.0
#include "issuance/go_duration.h"

#include "absl/strings/str_cat.h"

namespace capstan::issuance {

std::string GoDuration(absl::Duration duration) {
  int64_t seconds = absl::ToInt64Seconds(duration);
  std::string sign = seconds < 0 ? "-" : "";
  if (seconds < 0) seconds = -seconds;
  const int64_t hours = seconds / 3600;
  const int64_t minutes = seconds / 60 % 60;
  if (hours > 0) return absl::StrCat(sign, hours, "h", minutes, "m", seconds % 60, "s");
  if (minutes > 0) return absl::StrCat(sign, minutes, "m", seconds % 60, "s");
  return absl::StrCat(sign, seconds, "s");
}

}  // namespace capstan::issuance
