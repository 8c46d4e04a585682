// SPDX-License-Identifier: Apache-2.0
#include "cli/time_text.h"

#include <algorithm>
#include <array>

#include "base/strings.h"

namespace capstan::cli {

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

google::protobuf::Duration FromDuration(absl::Duration duration) {
  constexpr int64_t kMostSeconds = 315'576'000'000;
  duration = std::min(duration, absl::Seconds(kMostSeconds));
  google::protobuf::Duration message;
  message.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  message.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
  return message;
}

std::string Utc(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

std::string TwoUnits(absl::Duration duration) {
  int64_t seconds = absl::ToInt64Seconds(absl::AbsDuration(duration));
  struct Unit {
    int64_t seconds;
    const char* name;
  };
  constexpr std::array<Unit, 4> kUnits = {{{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}}};
  std::string text;
  for (size_t i = 0; i < kUnits.size(); ++i) {
    if (seconds < kUnits[i].seconds && i + 1 < kUnits.size()) {
      continue;
    }
    absl::StrAppend(&text, seconds / kUnits[i].seconds, kUnits[i].name);
    seconds %= kUnits[i].seconds;
    if (i + 1 < kUnits.size() && seconds / kUnits[i + 1].seconds > 0) {
      absl::StrAppend(&text, seconds / kUnits[i + 1].seconds, kUnits[i + 1].name);
    }
    break;
  }
  return text;
}

}  // namespace capstan::cli
