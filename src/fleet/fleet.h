// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "fleet/clock_offsets.h"
#include "fleet/standing.h"
#include "fleet/workload.h"

namespace capstan::fleet {

// What a workload is measured against.
struct Current {
  trust::BundleVersion bundle;
  std::string issuer;  // AuthorityId in hex
};

// kAgentAcknowledged: acknowledged as far as a stock agent can tell, which is not what its Envoy
// did. kTold: the answer with its certificate was right, and nothing more is heard of it. Where its
// Envoy was read, either is kAcknowledged.
enum class Grade { kAcknowledged, kAgentAcknowledged, kTold, kLaggard, kAbsent };
std::string_view GradeName(Grade grade);  // "acknowledged", "agent-acknowledged", …

struct Judgement {
  Grade grade = Grade::kAbsent;
  std::string why;
};

// Acknowledged: its leaf is of the current issuer, a consumer is connected, and each one that is
// accepted the current bundle and that leaf. A laggard's `why` names the first thing that is
// missing.
Judgement Judge(const Workload& workload, const Current& current, absl::Time now);

struct Limits {
  size_t workloads = 200'000;
  size_t consumers_per_workload = 64;
};

// The population's Standings, summed.
struct Tally {
  int64_t population = 0;
  int64_t connected = 0;
  int64_t agents = 0;  // their agent holds the bundle
  int64_t trusting = 0;
  int64_t by_word = 0;  // of those trusting: as far as stock agents say, or were told
  int64_t moved = 0;
  int64_t proven = 0;
  // Of the target's canary, and the others beside it.
  int64_t canary = 0;
  int64_t canary_moved = 0;
  int64_t untold = 0;             // connected others whose agents tell no failed handshakes
  std::map<Key, int64_t> failed;  // of others, where any are told
  // Those of the population who lack something of the target, or show harm.
  std::map<Key, Standing> lacking;
};

// Who is out there: the population and what it reported, folded one by one. A machine: no clock, no
// locks, no I/O.
class Fleet {
 public:
  explicit Fleet(Limits limits) : limits_(limits) {}

  enum class Purpose { kWorkload, kAgent };
  // A certificate was issued, or is on record. ResourceExhausted: the population is full.
  absl::Status Issued(const Key& key, Purpose purpose, const Leaf& leaf, absl::Time seen);
  // Whether Issued() would take it; asked before anything is signed.
  absl::Status CheckRoom(const Key& key) const;
  void Restore(const Key& key, Purpose purpose, const Leaf& leaf,
               std::vector<std::string> consumers, absl::Time seen);

  // A stream speaks for `key` from now on, instead of any before it. Its generation, never 0.
  absl::StatusOr<int64_t> Connect(const Key& key, absl::Time now);
  // Aborted: a later stream speaks for this workload. ResourceExhausted: too many consumers.
  absl::Status Fold(const Key& key, int64_t generation, Report report, absl::Time now);
  void Disconnect(const Key& key, int64_t generation, absl::Time now);
  // Its Envoy was read; nullopt: it is none of anybody's any more. For whoever holds a certificate
  // here and has no agent that reports; nothing of others is kept. False: nothing changed by
  // it.
  bool Saw(const Key& key, std::optional<Sighting> sighting, absl::Time now);

  // Drops those that are gone for good: not connected, and every leaf expired.
  void Forget(absl::Time now);

  const std::map<Key, Workload>& workloads() const { return workloads_; }
  const Workload* Find(const Key& key) const;
  int64_t connected() const { return connected_; }
  // Unexpired leaves of each authority, by what was issued last to each workload and purpose.
  std::map<std::string, int64_t> UnexpiredLeaves(absl::Time now) const;
  // The median of what connected agents' clocks are ahead of ours; nullopt where none told lately.
  std::optional<absl::Duration> ClockOffset(absl::Time now) { return offsets_.Median(now); }

  // Measures everybody against `target` from here on, each again whenever something about it
  // changes: looking at the sums costs no walk through the population.
  void Measure(const Target& target, absl::Time now);
  // Of Measure()'s target, at `now`.
  const Tally& TallyAt(absl::Time now);
  // Connected, or holders of an unexpired leaf.
  int64_t Population(absl::Time now) { return TallyAt(now).population; }
  // How many lacked something of it when it was looked at or told of last.
  size_t lacking() const { return tally_.lacking.size(); }

 private:
  static void FillIn(Workload& workload);
  void Touch(const Key& key, absl::Time now);
  void MeasureAll(absl::Time now);

  Limits limits_;
  std::map<Key, Workload> workloads_;
  int64_t connected_ = 0;
  int64_t last_generation_ = 0;
  ClockOffsets offsets_;  // of the connected

  Target target_;
  Tally tally_;
  std::map<Key, Standing> standings_;
  std::set<std::pair<absl::Time, Key>> ends_;   // when a Standing changes by time alone
  absl::Time last_end_ = absl::InfinitePast();  // the latest of those that have passed
};

}  // namespace capstan::fleet
