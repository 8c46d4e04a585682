// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "trust/bundle.h"

namespace capstan::fleet {

struct Leaf {
  std::string serial;     // lower-case hex; "" where there is none
  std::string authority;  // AuthorityId in hex
  absl::Time not_before = absl::InfinitePast();
  absl::Time not_after = absl::InfinitePast();
  // The sequence of the bundle that its answer carried to a caller that takes its roots from there
  // and tells nothing of them: a stock agent. 0: the holder tells itself what it trusts.
  int64_t told = 0;
  bool empty() const { return serial.empty(); }
  friend bool operator==(const Leaf&, const Leaf&) = default;
};

struct Nack {
  std::string resource;
  std::string message;
  absl::Time at;
  friend bool operator==(const Nack&, const Nack&) = default;
};

// kStockAgent: whatever a stock agent serves. It says that it took a bundle, and nothing of what
// its Envoy did with it: acknowledged by the agent alone.
enum class ConsumerKind { kUnspecified, kEnvoy, kFiles, kStockAgent };

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

// What one handshake with a consumer showed, as its agent made it.
struct Probe {
  // kUnspecified: not tried yet.
  enum class Verdict { kUnspecified, kAccepted, kUnknownCa, kRefused, kSilent, kUnreachable };
  std::string target;     // "HOST:PORT…", as configured
  std::string authority;  // of the client certificate that was shown, hex; "": nothing is asked
  Verdict verdict = Verdict::kUnspecified;
  std::string detail;
  absl::Time at = absl::InfinitePast();
  trust::BundleVersion bundle;  // that the agent served then
  Leaf served;                  // what the consumer showed
  friend bool operator==(const Probe&, const Probe&) = default;
};

// The full state of one instance, as its agent says.
struct Report {
  Leaf leaf;        // what its consumers show
  Leaf credential;  // the agent's own
  trust::BundleVersion bundle;
  std::vector<Consumer> consumers;
  std::optional<absl::Time> agent_time;
  std::string last_error;
  std::vector<Probe> probes;  // the latest of each target and authority; empty: no targets
  // Handshakes in which a consumer refused the peer's certificate; nullopt: its agent does not
  // know.
  std::optional<int64_t> failed_verifications = std::nullopt;
};

// What was read of a stock agent's Envoy, which nobody reports: it stands until it is read anew or
// gone.
struct Sighting {
  std::optional<Consumer> envoy;  // nullopt: what it holds is not to be read
  Leaf shown;
  std::vector<Probe> probes;
  friend bool operator==(const Sighting&, const Sighting&) = default;
};

// What was told of failed handshakes first, since the consumer that counts them began.
struct FirstFailed {
  int64_t failed = 0;
  absl::Time at;
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
  std::optional<Report> report;              // of this connection, or the last one once that ended
  std::optional<Report> before;              // of the one before, until this one's first
  std::optional<Sighting> sighting;          // of the Envoy of a stock agent, where it is read
  std::vector<std::string> known_consumers;  // from the durable record, until a report comes
  int64_t generation = 0;                    // of the stream that speaks for it; 0: not connected
  absl::Time last_seen = absl::InfinitePast();
  // The agent's wall clock minus ours, as this connection told it.
  std::optional<absl::Duration> clock_offset;
  std::optional<FirstFailed> first_failed;  // kept while connections come and go
  bool connected() const { return generation != 0; }
  bool stock() const {
    return report.has_value() && !report->consumers.empty() &&
           report->consumers.front().kind == ConsumerKind::kStockAgent;
  }
};

}  // namespace capstan::fleet
