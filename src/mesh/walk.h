// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/mesh.h"
#include "mesh/roots.h"
#include "mesh/traffic.h"

namespace capstan::mesh {

// One of the four phases, as a set of CA files and what must then be true of every workload.
struct Phase {
  std::string name;
  trust::CaFiles files;
  const Root* issuer = nullptr;          // signs every leaf
  std::vector<const Root*> trusted;      // every bundle holds these roots and no other
  std::vector<const Root*> not_trusted;  // a client under one of these is refused as unknown
};

// root-a, both-trusted, new-issuer (with root B twice in the file, as S1's combined-root2.pem has
// it) and root-b. `a` and `b` outlive the result.
std::vector<Phase> FourPhases(const Root& a, const Root& b);

struct WorkloadView {
  std::string spiffe_id;
  std::string leaf_issuer_ski;    // AKI of the leaf in Envoy's config dump, hex
  std::string served_issuer_ski;  // AKI of the leaf that a fresh handshake was shown
  std::string leaf_serial;
  std::vector<std::string> bundle_roots;  // SKIs of every root in Envoy's config dump, hex
  HeldSecrets held;
};

struct PhaseReport {
  std::string name;
  double seconds = 0;           // from the change of the files until everything was as it must be
  int64_t full_handshakes = 0;  // made after that, under the phase's trust
  std::vector<WorkloadView> workloads;
};

struct WalkReport {
  int64_t requests = 0;
  int64_t failed = 0;
  int64_t new_connections = 0;
  int64_t full_handshakes = 0;
  int restarts = 0;
  std::vector<PhaseReport> phases;
  std::map<std::string, pid_t> processes;
  std::vector<std::string> problems;  // empty: everything held
};

struct WalkOptions {
  absl::Duration converge_timeout = absl::Seconds(60);
  int64_t least_requests = 5000;
  int64_t least_handshakes = 500;  // full ones, in all
  int64_t least_handshakes_per_phase = 100;
  // What brings a phase about, but for the first; unless told, its files replace those of the CA
  // directory. Where capstand walks by itself it has something to do for the second phase only, and
  // its gates must soak long enough for each phase to be looked at.
  std::function<absl::Status(Mesh&, const Phase&)> enter = [](Mesh& mesh, const Phase& phase) {
    return ReplaceCaFiles(mesh.ca_directory(), phase.files);
  };
};

// Called as the walk goes on, from the walking thread. `tick` is called often and may stop the walk
// by returning false.
struct WalkObserver {
  std::function<void(const Phase&)> phase_began = [](const Phase&) {};
  std::function<bool(const Phase&, const std::string& waiting_for)> tick =
      [](const Phase&, const std::string&) { return true; };
  std::function<void(const PhaseReport&)> phase_done = [](const PhaseReport&) {};
};

// Whether every workload is as `phase` demands at this moment, in Envoy's own config dump and in
// handshakes made now; if not, FailedPrecondition says who is not and how.
absl::StatusOr<std::vector<WorkloadView>> CheckPhase(Mesh& mesh, const Phase& phase);

// Walks the phases under traffic, going on only when all that a phase demands was seen. The mesh
// runs with the files of the first phase. Cancelled: the observer stopped it; DeadlineExceeded: a
// phase did not come about. Whatever failed on the way is in `problems`.
absl::StatusOr<WalkReport> Walk(Mesh& mesh, const std::vector<Phase>& phases, Traffic& traffic,
                                const WalkOptions& options, const WalkObserver& observer);

// The report as `build/demo/report.json` holds it.
std::string ToJson(const WalkReport& report);

}  // namespace capstan::mesh
