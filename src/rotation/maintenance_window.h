// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace capstan::rotation {

// On some days of the week, from one time of the day to another. UTC only: no hour of it is left
// out or comes twice.
class MaintenanceWindow {
 public:
  // "02:00-06:00 UTC" (every day), "Sat,Sun 02:00-06:00 UTC", "Mon-Fri 22:00-02:00 UTC": one that
  // runs over midnight belongs to the day on which it begins. "00:00-24:00" is the whole day.
  static absl::StatusOr<MaintenanceWindow> Parse(std::string_view text);
  std::string ToString() const;
  // The first moment that is not before `now` and inside; `now` itself where that is.
  absl::Time NextOpening(absl::Time now) const;
  friend bool operator==(const MaintenanceWindow&, const MaintenanceWindow&) = default;

 private:
  unsigned days_ = 0;  // bit 0: Monday
  absl::Duration begin_;
  absl::Duration length_;
};

// Several, joined by commas as their own days are: each ends with "UTC". "": none.
absl::StatusOr<std::vector<MaintenanceWindow>> ParseMaintenanceWindows(std::string_view text);
std::string ToString(const std::vector<MaintenanceWindow>& windows);

// The first opening of any; `now` where there is no window at all.
absl::Time NextOpening(const std::vector<MaintenanceWindow>& windows, absl::Time now);

}  // namespace capstan::rotation
