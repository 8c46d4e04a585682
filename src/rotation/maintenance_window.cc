// SPDX-License-Identifier: Apache-2.0
#include "rotation/maintenance_window.h"

#include <algorithm>
#include <array>
#include <optional>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "base/strings.h"

namespace capstan::rotation {
namespace {

constexpr std::array<std::string_view, 7> kDays = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
constexpr unsigned kEveryDay = 0x7F;
constexpr int kDaysInAWeek = 7;
constexpr int64_t kEpochsWeekday = 3;  // 1970-01-01 was a Thursday
constexpr absl::Duration kDay = absl::Hours(24);

absl::Status Malformed(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is no maintenance window: ", why,
                   "; write it as \"Sat,Sun 02:00-06:00 UTC\" or \"02:00-06:00 UTC\""));
}

std::optional<int> DayOf(std::string_view name) {
  const auto* day = std::find(kDays.begin(), kDays.end(), name);
  if (day == kDays.end()) return std::nullopt;
  return static_cast<int>(day - kDays.begin());
}

// "Sat", or "Mon-Fri" (which may run over the end of the week).
std::optional<unsigned> DaysOf(std::string_view item) {
  const size_t dash = item.find('-');
  const std::optional<int> first = DayOf(item.substr(0, dash));
  const std::optional<int> last =
      dash == std::string_view::npos ? first : DayOf(item.substr(dash + 1));
  if (!first.has_value() || !last.has_value()) return std::nullopt;
  unsigned days = 0;
  for (int day = *first;; day = (day + 1) % kDaysInAWeek) {
    days |= 1U << static_cast<unsigned>(day);
    if (day == *last) return days;
  }
}

// "HH:MM", up to "24:00".
std::optional<absl::Duration> TimeOfDay(std::string_view text) {
  int hours = 0;
  int minutes = 0;
  if (text.size() != 5 || text[2] != ':' || !absl::SimpleAtoi(text.substr(0, 2), &hours) ||
      !absl::SimpleAtoi(text.substr(3), &minutes)) {
    return std::nullopt;
  }
  const absl::Duration time = absl::Hours(hours) + absl::Minutes(minutes);
  if (hours < 0 || minutes < 0 || minutes > 59 || time > kDay) return std::nullopt;
  return time;
}

std::string TimeText(absl::Duration time) {
  return absl::StrFormat("%02d:%02d", absl::ToInt64Hours(time), absl::ToInt64Minutes(time) % 60);
}

// The days since 1970 began, also before it did.
int64_t DayNumber(absl::Time time) {
  return absl::ToInt64Hours(absl::Floor(time - absl::UnixEpoch(), kDay)) / 24;
}

bool OnDay(unsigned days, int64_t number) {
  const int64_t weekday = ((number + kEpochsWeekday) % kDaysInAWeek + kDaysInAWeek) % kDaysInAWeek;
  return ((days >> static_cast<unsigned>(weekday)) & 1U) != 0;
}

}  // namespace

absl::StatusOr<MaintenanceWindow> MaintenanceWindow::Parse(std::string_view text) {
  std::vector<std::string> words = absl::StrSplit(text, ' ', absl::SkipEmpty());
  if (words.empty() || words.back() != "UTC") {
    return Malformed(text, "it has to end with UTC, the only time zone there is for it");
  }
  words.pop_back();
  if (words.empty() || words.size() > 2) return Malformed(text, "days and times are wanted");
  MaintenanceWindow window;
  window.days_ = words.size() == 1 ? kEveryDay : 0;
  if (words.size() == 2) {
    for (const std::string& item : std::vector<std::string>(absl::StrSplit(words[0], ','))) {
      const std::optional<unsigned> days = DaysOf(item);
      if (!days.has_value()) {
        return Malformed(text, absl::StrCat("\"", item,
                                            "\" is no day (Mon, Tue, Wed, Thu, Fri, "
                                            "Sat, Sun, or a range such as Mon-Fri)"));
      }
      window.days_ |= *days;
    }
  }
  const std::string& times = words.back();
  const size_t dash = times.find('-');
  const std::optional<absl::Duration> begin = TimeOfDay(times.substr(0, dash));
  const std::optional<absl::Duration> end =
      dash == std::string::npos ? std::nullopt : TimeOfDay(times.substr(dash + 1));
  if (!begin.has_value() || !end.has_value() || *begin == kDay) {
    return Malformed(text, absl::StrCat("\"", times, "\" is not HH:MM-HH:MM"));
  }
  if (*begin == *end) {
    return Malformed(text, "it is empty (the whole day is 00:00-24:00)");
  }
  window.begin_ = *begin;
  window.length_ = *end > *begin ? *end - *begin : kDay - *begin + *end;
  return window;
}

std::string MaintenanceWindow::ToString() const {
  std::vector<std::string> days;
  for (size_t day = 0; day < kDays.size(); ++day) {
    if (((days_ >> day) & 1U) != 0) days.emplace_back(kDays[day]);
  }
  const absl::Duration end = begin_ + length_;
  return absl::StrCat(days_ == kEveryDay ? "" : absl::StrCat(absl::StrJoin(days, ","), " "),
                      TimeText(begin_), "-", TimeText(end > kDay ? end - kDay : end), " UTC");
}

absl::Time MaintenanceWindow::NextOpening(absl::Time now) const {
  const int64_t today = DayNumber(now);
  // Yesterday's may still be open; a week from today is the latest that the next one begins.
  for (int64_t day = today - 1; day <= today + kDaysInAWeek; ++day) {
    if (!OnDay(days_, day)) continue;
    const absl::Time begin = absl::UnixEpoch() + day * kDay + begin_;
    if (begin + length_ > now) return std::max(begin, now);
  }
  return absl::InfiniteFuture();
}

absl::StatusOr<std::vector<MaintenanceWindow>> ParseMaintenanceWindows(std::string_view text) {
  std::vector<MaintenanceWindow> windows;
  std::string gathered;
  for (const std::string& item :
       std::vector<std::string>(absl::StrSplit(text, ',', absl::SkipWhitespace()))) {
    absl::StrAppend(&gathered, gathered.empty() ? "" : ",", absl::StripAsciiWhitespace(item));
    if (!absl::EndsWith(gathered, "UTC")) continue;
    CAPSTAN_ASSIGN_OR_RETURN(MaintenanceWindow window, MaintenanceWindow::Parse(gathered));
    windows.push_back(window);
    gathered.clear();
  }
  if (!gathered.empty()) return MaintenanceWindow::Parse(gathered).status();
  return windows;
}

std::string ToString(const std::vector<MaintenanceWindow>& windows) {
  return absl::StrJoin(windows, ",", [](std::string* out, const MaintenanceWindow& window) {
    out->append(window.ToString());
  });
}

absl::Time NextOpening(const std::vector<MaintenanceWindow>& windows, absl::Time now) {
  if (windows.empty()) return now;
  absl::Time first = absl::InfiniteFuture();
  for (const MaintenanceWindow& window : windows) {
    first = std::min(first, window.NextOpening(now));
  }
  return first;
}

}  // namespace capstan::rotation
