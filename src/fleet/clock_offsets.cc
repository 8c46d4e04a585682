// SPDX-License-Identifier: Apache-2.0
#include "fleet/clock_offsets.h"

namespace capstan::fleet {
namespace {

// Agents report at least every half minute; what is older than this was told before our own clock
// was set.
constexpr absl::Duration kFresh = absl::Minutes(2);

}  // namespace

void ClockOffsets::Tell(const Key& key, absl::Duration offset, absl::Time now) {
  Forget(key);
  const auto entry = entries_.emplace(key, Told{offset, now}).first;
  by_time_.emplace(now, &entry->first);
  const bool low = !upper_.empty() && offset < *upper_.begin();
  (low ? lower_ : upper_).insert(offset);
  Balance();
}

void ClockOffsets::Forget(const Key& key) {
  if (const auto entry = entries_.find(key); entry != entries_.end()) Drop(entry);
}

std::optional<absl::Duration> ClockOffsets::Median(absl::Time now) {
  while (!by_time_.empty() && by_time_.begin()->first < now - kFresh) {
    Drop(entries_.find(*by_time_.begin()->second));
  }
  while (!by_time_.empty() && by_time_.rbegin()->first > now + kFresh) {
    Drop(entries_.find(*by_time_.rbegin()->second));
  }
  if (upper_.empty()) return std::nullopt;
  return *upper_.begin();
}

void ClockOffsets::Drop(Entries::iterator entry) {
  by_time_.erase({entry->second.at, &entry->first});
  // Equal ones may be in both halves.
  if (const auto high = upper_.find(entry->second.offset); high != upper_.end()) {
    upper_.erase(high);
  } else {
    lower_.erase(lower_.find(entry->second.offset));
  }
  entries_.erase(entry);
  Balance();
}

void ClockOffsets::Balance() {
  if (lower_.size() > upper_.size()) {
    upper_.insert(lower_.extract(std::prev(lower_.end())));
  } else if (upper_.size() > lower_.size() + 1) {
    lower_.insert(upper_.extract(upper_.begin()));
  }
}

}  // namespace capstan::fleet
