// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/time/time.h"
#include "fleet/workload.h"

namespace capstan::fleet {

// What agents' clocks are ahead of ours, as each told last. The median costs no walk through them.
class ClockOffsets {
 public:
  void Tell(const Key& key, absl::Duration offset, absl::Time now);
  void Forget(const Key& key);
  // Of those who told lately; the others are forgotten. nullopt: nobody did.
  std::optional<absl::Duration> Median(absl::Time now);

 private:
  struct Told {
    absl::Duration offset;
    absl::Time at;
  };
  using Entries = std::map<Key, Told>;
  void Drop(Entries::iterator entry);
  void Balance();

  Entries entries_;
  std::set<std::pair<absl::Time, const Key*>> by_time_;  // the keys of entries_
  // All offsets, the lower half and the upper; the upper has one more where they are odd.
  std::multiset<absl::Duration> lower_, upper_;
};

}  // namespace capstan::fleet
