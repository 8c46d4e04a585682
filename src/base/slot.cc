// SPDX-License-Identifier: Apache-2.0
#include "base/slot.h"

#include <algorithm>

#include "base/jitter.h"

namespace capstan {

absl::Time PlaceOf(absl::Time not_after, std::string_view serial) {
  return not_after + absl::Seconds(1) * Jitter("place", serial);
}

absl::Time SlotOf(const Window& window, absl::Time not_after, std::string_view identity,
                  std::string_view serial) {
  if (window.length <= absl::ZeroDuration()) return window.start;
  const auto& bounds = window.bounds;
  const absl::Time place = PlaceOf(not_after, serial);
  // Beyond the last bound: a leaf that was not counted; it goes with the last part.
  const auto first = std::min(std::lower_bound(bounds.begin(), bounds.end(), place),
                              bounds.empty() ? bounds.end() : bounds.end() - 1);
  const auto last = std::upper_bound(first, bounds.end(), place);
  const auto parts = std::max<double>(static_cast<double>(bounds.size()), 1);
  const auto from = static_cast<double>(first - bounds.begin());
  const auto wide = std::max<double>(static_cast<double>(last - first), 1);
  return window.start + window.length * ((from + wide * Jitter(identity, serial)) / parts);
}

}  // namespace capstan
