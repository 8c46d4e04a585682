// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "spiffe/spiffe_id.h"
#include "trust/bundle.h"

namespace capstan::fleet {

struct Leaf {
  std::string serial;     // lower-case hex; "" where there is none
  std::string authority;  // AuthorityId in hex
  absl::Time not_before = absl::InfinitePast();
  absl::Time not_after = absl::InfinitePast();
  bool empty() const { return serial.empty(); }
  friend bool operator==(const Leaf&, const Leaf&) = default;
};

struct Nack {
  std::string resource;
  std::string message;
  absl::Time at;
  friend bool operator==(const Nack&, const Nack&) = default;
};

enum class ConsumerKind { kUnspecified, kEnvoy, kFiles };

// One consumer, as its agent sees it.
struct Consumer {
  std::string id;
  ConsumerKind kind = ConsumerKind::kUnspecified;
  std::string node_id;
  int64_t pid = 0;
  bool connected = false;
  // Accepted after its last refusal and since its start; empty where nothing counts.
  trust::BundleVersion acknowledged_bundle;
  std::string acknowledged_leaf_serial;
  absl::Time acknowledged_at = absl::InfinitePast();
  std::optional<Nack> last_nack;
  friend bool operator==(const Consumer&, const Consumer&) = default;
};

// The full state of one instance, as its agent says.
struct Report {
  Leaf leaf;        // what its consumers show
  Leaf credential;  // the agent's own
  trust::BundleVersion bundle;
  std::vector<Consumer> consumers;
  std::optional<absl::Time> agent_time;
  std::string last_error;
};

// One workload: a running instance of an identity. Callers that name no instance are told apart by
// the serial of their leaf.
struct Key {
  std::string spiffe_id;
  std::string instance;
  std::string serial;  // "" where `instance` is not
  friend auto operator<=>(const Key&, const Key&) = default;
};

struct Workload {
  // Issued to it last, by purpose; from the durable record or from this process.
  Leaf leaf;
  Leaf credential;
  std::optional<Report> report;              // of this connection or the last one
  std::vector<std::string> known_consumers;  // from the durable record, until a report comes
  int64_t generation = 0;                    // of the stream that speaks for it; 0: not connected
  absl::Time last_seen = absl::InfinitePast();
  bool connected() const { return generation != 0; }
};

// What a workload is measured against.
struct Current {
  trust::BundleVersion bundle;
  std::string issuer;  // AuthorityId in hex
};

enum class Grade { kAcknowledged, kLaggard, kAbsent };
std::string_view GradeName(Grade grade);  // "acknowledged", …

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

  // Drops those that are gone for good: not connected, and every leaf expired.
  void Forget(absl::Time now);

  const std::map<Key, Workload>& workloads() const { return workloads_; }
  const Workload* Find(const Key& key) const;
  int64_t connected() const { return connected_; }
  // Holders of an unexpired leaf.
  int64_t Population(absl::Time now) const;
  // Unexpired leaves of each authority, by what was issued last to each workload and purpose.
  std::map<std::string, int64_t> UnexpiredLeaves(absl::Time now) const;

 private:
  Limits limits_;
  std::map<Key, Workload> workloads_;
  int64_t connected_ = 0;
  int64_t last_generation_ = 0;
};

}  // namespace capstan::fleet
