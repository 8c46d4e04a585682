// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace capstan::rotation {

// Somebody or something that keeps a gate shut.
struct Holder {
  enum class Kind {
    kLaggard,     // connected, not there yet
    kAbsent,      // of the population, not connected
    kUnproven,    // acknowledged, and no handshake has shown it
    kJoinFile,    // an unused join file that lacks the new root
    kForeign,     // leaves that others may have signed under a root that is to leave
    kUnrecorded,  // leaves of ours whose record may have been lost in a crash
    kClock,       // the control plane's clock is not confirmed
    kBootstrap,   // a place from which others take their first trust, without the new root
    kCanary,      // nobody is left of the canary, so that it shows nothing
  };
  Kind kind = Kind::kLaggard;
  std::string name;  // what an operator excludes it by
  std::string why;
  absl::Time until = absl::InfiniteFuture();  // when it ceases to matter by itself
  // Nothing is heard of it at this moment, and it lacked nothing when it was heard of last.
  bool returning = false;
  friend bool operator==(const Holder&, const Holder&) = default;
};
std::string_view HolderKindName(Holder::Kind kind);  // "laggard", …

// What was seen at a workload that speaks against a canary.
struct Alarm {
  std::string name;  // as a Holder's
  std::string why;
  friend bool operator==(const Alarm&, const Alarm&) = default;
};

// Of a canary, where the gate has one.
struct CanarySeen {
  int64_t population = 0;  // of the canary
  int64_t moved = 0;       // show a leaf of the new authority
  int64_t untold = 0;      // connected others whose agents tell no failed handshakes
  // What the others' consumers count of handshakes in which they refused the peer's certificate, by
  // name; only those that count any. `first` is the first that was told of it.
  struct Count {
    int64_t failed = 0;
    int64_t first = 0;
  };
  std::map<std::string, Count> failed;
};

// What was seen of the world for one gate, at one moment.
struct Observation {
  int64_t population = 0;  // holders of an unexpired leaf, connected or not
  int64_t connected = 0;
  int64_t acknowledged = 0;  // of the bundle of this moment
  int64_t by_word = 0;       // of those: as far as stock agents say, or were told
  int64_t proven = 0;
  int64_t moved = 0;                           // show a leaf that outlives the rotation
  std::vector<Holder> holders;                 // all of them, ordered by name
  bool anybody = false;                        // some workload is known, be it expired
  std::optional<absl::Duration> clock_offset;  // the witnesses' clock minus ours
  std::string clock_witness = "the median of its agents' clocks";
  std::optional<CanarySeen> canary = std::nullopt;
  std::vector<Alarm> alarms = {};  // kCanary, ordered by name
};

}  // namespace capstan::rotation
