// SPDX-License-Identifier: Apache-2.0
#include "mesh/walk.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/status.h"
#include "mesh/process.h"

namespace capstan::mesh {
namespace {

std::vector<std::string> Skis(const std::vector<x509::Certificate>& certificates) {
  std::vector<std::string> skis;
  for (const x509::Certificate& c : certificates) {
    skis.push_back(absl::BytesToHexString(c.subject_key_id()));
  }
  std::sort(skis.begin(), skis.end());
  return skis;
}

std::vector<std::string> Skis(const std::vector<const Root*>& roots) {
  std::vector<x509::Certificate> certificates;
  for (const Root* root : roots) certificates.push_back(root->root);
  return Skis(certificates);
}

std::string IssuerSki(const x509::Certificate& leaf) {
  return absl::BytesToHexString(leaf.authority_key_id());
}

// One handshake as a client under `root`, which must end as `expected`. The served leaf's issuer.
absl::StatusOr<std::string> ProbeAs(Mesh& mesh, const std::string& workload, const Root& root,
                                    x509::ClientVerdict expected) {
  CAPSTAN_ASSIGN_OR_RETURN(ClientIdentity client,
                           MakeClient(root, mesh.SpiffeId("probe"), RealClock().Now()));
  CAPSTAN_ASSIGN_OR_RETURN(x509::HandshakeResult result, mesh.Probe(workload, client));
  if (result.client != expected) {
    return absl::FailedPreconditionError(absl::StrCat(
        workload,
        expected == x509::ClientVerdict::kAccepted ? " does not accept" : " does not refuse",
        " a client under root ", root.label, " (", result.detail, ")"));
  }
  if (result.served_chain.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(workload, " served no certificate"));
  }
  return IssuerSki(result.served_chain.front());
}

absl::StatusOr<WorkloadView> CheckWorkload(Mesh& mesh, const Phase& phase,
                                           const std::string& workload) {
  WorkloadView view{.spiffe_id = mesh.SpiffeId(workload)};
  CAPSTAN_ASSIGN_OR_RETURN(view.held, mesh.Held(workload));
  view.leaf_issuer_ski = IssuerSki(view.held.chain.front());
  view.leaf_serial = view.held.chain.front().serial().ToHex();
  view.bundle_roots = Skis(view.held.roots);
  if (view.bundle_roots != Skis(phase.trusted)) {
    return absl::FailedPreconditionError(
        absl::StrCat(workload, " trusts ", absl::StrJoin(view.bundle_roots, ", "),
                     " and should trust ", absl::StrJoin(Skis(phase.trusted), ", ")));
  }
  const std::string issuer = phase.issuer->IntermediateSki();
  if (view.leaf_issuer_ski != issuer) {
    return absl::FailedPreconditionError(
        absl::StrCat(workload, " holds a leaf of another issuer than ", phase.issuer->label));
  }
  for (const Root* root : phase.trusted) {
    CAPSTAN_ASSIGN_OR_RETURN(view.served_issuer_ski,
                             ProbeAs(mesh, workload, *root, x509::ClientVerdict::kAccepted));
    if (view.served_issuer_ski != issuer) {
      return absl::FailedPreconditionError(
          absl::StrCat(workload, " serves a leaf of another issuer than ", phase.issuer->label));
    }
  }
  for (const Root* root : phase.not_trusted) {
    CAPSTAN_RETURN_IF_ERROR(
        ProbeAs(mesh, workload, *root, x509::ClientVerdict::kUnknownCa).status());
  }
  return view;
}

// Walk()'s state while it walks.
class Walker {
 public:
  Walker(Mesh& mesh, Traffic& traffic, const WalkOptions& options, const WalkObserver& observer)
      : mesh_(mesh), traffic_(traffic), options_(options), observer_(observer) {}

  absl::StatusOr<WalkReport> Run(const std::vector<Phase>& phases) {
    report_.processes = mesh_.ProcessIds();
    for (const Phase& phase : phases) {
      observer_.phase_began(phase);
      CAPSTAN_ASSIGN_OR_RETURN(PhaseReport done, WalkPhase(phase, &phase != &phases.front()));
      observer_.phase_done(done);
      report_.phases.push_back(std::move(done));
    }
    CAPSTAN_RETURN_IF_ERROR(
        KeepUntil(phases.back(), "more requests", options_.converge_timeout, [&] {
          absl::StatusOr<DataPath> httpbin = mesh_.Counters("httpbin");
          return traffic_.count().requests >= options_.least_requests && httpbin.ok() &&
                 httpbin->full_handshakes >= options_.least_handshakes;
        }));
    traffic_.Stop();
    CAPSTAN_RETURN_IF_ERROR(Judge());
    return std::move(report_);
  }

 private:
  absl::Status KeepUntil(const Phase& phase, const std::string& waiting_for, absl::Duration timeout,
                         const std::function<bool()>& done) {
    bool stopped = false;
    bool held = WaitFor(timeout, [&] {
      stopped = !observer_.tick(phase, waiting_for);
      return stopped || done();
    });
    if (stopped) return absl::CancelledError("stopped");
    if (held) return absl::OkStatus();
    return absl::DeadlineExceededError(absl::StrCat(
        "phase ", phase.name, ": waited ", absl::FormatDuration(timeout), " for ", waiting_for));
  }

  absl::StatusOr<PhaseReport> WalkPhase(const Phase& phase, bool change) {
    const absl::Duration began = RealClock().Monotonic();
    if (change) CAPSTAN_RETURN_IF_ERROR(options_.enter(mesh_, phase));
    PhaseReport done{.name = phase.name};
    absl::Status last;
    absl::Status converged =
        KeepUntil(phase, "every workload to be as it must", options_.converge_timeout, [&] {
          absl::StatusOr<std::vector<WorkloadView>> views = CheckPhase(mesh_, phase);
          last = views.status();
          if (views.ok()) done.workloads = *std::move(views);
          return last.ok();
        });
    if (absl::IsDeadlineExceeded(converged)) return Annotate(converged, Std(last.message()));
    CAPSTAN_RETURN_IF_ERROR(converged);
    done.seconds = absl::ToDoubleSeconds(RealClock().Monotonic() - began);
    CAPSTAN_ASSIGN_OR_RETURN(DataPath before, mesh_.Counters("httpbin"));
    CAPSTAN_RETURN_IF_ERROR(
        KeepUntil(phase, "full handshakes under the new state", options_.converge_timeout, [&] {
          absl::StatusOr<DataPath> now = mesh_.Counters("httpbin");
          if (!now.ok()) return false;
          done.full_handshakes = now->full_handshakes - before.full_handshakes;
          return done.full_handshakes >= options_.least_handshakes_per_phase;
        }));
    // Nothing may have slid back meanwhile.
    CAPSTAN_ASSIGN_OR_RETURN(done.workloads, CheckPhase(mesh_, phase));
    return done;
  }

  absl::Status Judge() {
    Traffic::Count count = traffic_.count();
    report_.requests = count.requests;
    report_.failed = count.failed;
    if (count.failed != 0) {
      Problem(absl::StrCat(count.failed, " of ", count.requests, " requests failed, the first at ",
                           count.first_failure));
    }
    for (const char* workload : Mesh::kWorkloads) {
      CAPSTAN_ASSIGN_OR_RETURN(DataPath seen, mesh_.Counters(workload));
      report_.new_connections += seen.connections;
      report_.full_handshakes += seen.full_handshakes;
      for (auto [what, number] :
           {std::pair("retries", seen.retries), std::pair("failed verifications", seen.fail_verify),
            std::pair("connection errors", seen.connection_errors)}) {
        if (number != 0)
          Problem(absl::StrCat("the Envoy of ", workload, " counts ", number, " ", what));
      }
    }
    std::map<std::string, pid_t> now = mesh_.ProcessIds();
    for (const auto& [name, pid] : report_.processes) {
      if (now.contains(name) && now[name] == pid) continue;
      ++report_.restarts;
      Problem(absl::StrCat(name, " (process ", pid, ") did not live through the walk"));
    }
    return absl::OkStatus();
  }

  void Problem(std::string what) { report_.problems.push_back(std::move(what)); }

  Mesh& mesh_;
  Traffic& traffic_;
  const WalkOptions& options_;
  const WalkObserver& observer_;
  WalkReport report_;
};

}  // namespace

std::vector<Phase> FourPhases(const Root& a, const Root& b) {
  return {
      {"root-a", CaFilesOf(a, {&a}), &a, {&a}, {&b}},
      {"both-trusted", CaFilesOf(a, {&a, &b}), &a, {&a, &b}, {}},
      {"new-issuer", CaFilesOf(b, {&a, &b, &b}), &b, {&a, &b}, {}},
      {"root-b", CaFilesOf(b, {&b}), &b, {&b}, {&a}},
  };
}

absl::StatusOr<std::vector<WorkloadView>> CheckPhase(Mesh& mesh, const Phase& phase) {
  std::vector<WorkloadView> views;
  for (const char* workload : Mesh::kWorkloads) {
    CAPSTAN_ASSIGN_OR_RETURN(views.emplace_back(), CheckWorkload(mesh, phase, workload));
  }
  return views;
}

absl::StatusOr<WalkReport> Walk(Mesh& mesh, const std::vector<Phase>& phases, Traffic& traffic,
                                const WalkOptions& options, const WalkObserver& observer) {
  return Walker(mesh, traffic, options, observer).Run(phases);
}

std::string ToJson(const WalkReport& report) {
  nlohmann::ordered_json phases = nlohmann::ordered_json::array();
  for (const PhaseReport& phase : report.phases) {
    nlohmann::ordered_json workloads = nlohmann::ordered_json::array();
    for (const WorkloadView& view : phase.workloads) {
      workloads.push_back({{"spiffe_id", view.spiffe_id},
                           {"leaf_issuer_ski", view.leaf_issuer_ski},
                           {"served_issuer_ski", view.served_issuer_ski},
                           {"leaf_serial", view.leaf_serial},
                           {"bundle_roots", view.bundle_roots}});
    }
    phases.push_back({{"name", phase.name},
                      {"seconds", phase.seconds},
                      {"full_handshakes", phase.full_handshakes},
                      {"workloads", std::move(workloads)}});
  }
  nlohmann::ordered_json json = {{"requests", report.requests},
                                 {"failed", report.failed},
                                 {"new_connections", report.new_connections},
                                 {"full_handshakes", report.full_handshakes},
                                 {"restarts", report.restarts},
                                 {"phases", std::move(phases)},
                                 {"problems", report.problems}};
  return json.dump(2) + "\n";
}

}  // namespace capstan::mesh
