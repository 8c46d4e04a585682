// SPDX-License-Identifier: Apache-2.0
// `capstan demo`: a whole mesh on this machine, rotated from root A to root B under traffic.
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/inspect_short.h"
#include "envoy/admin.h"
#include "mesh/mesh.h"
#include "mesh/walk.h"

namespace capstan::cli {
namespace {

std::atomic<bool> interrupted{false};

struct DemoFlags {
  std::string tools;
  std::string report = "build/demo/report.json";
  bool keep = false;
  bool by_hand = false;
  bool one_stroke = false;
};

// How long each gate soaks where capstand walks by itself: long enough to look at the phase.
constexpr absl::Duration kSoakToLook = absl::Seconds(8);

// A folder for the run, short because Unix socket paths end at 108 characters. Removed with the
// object.
class RunFolder {
 public:
  static absl::StatusOr<std::unique_ptr<RunFolder>> Make() {
    std::string path =
        absl::StrCat(std::filesystem::temp_directory_path().string(), "/capstan-demo-XXXXXX");
    if (mkdtemp(path.data()) == nullptr)
      return ErrnoError(errno, absl::StrCat("cannot make ", path));
    return std::unique_ptr<RunFolder>(new RunFolder(path));
  }
  ~RunFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  explicit RunFolder(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

// What the walk shows: one line that is redrawn on a terminal, plain lines when piped.
class Display {
 public:
  Display(mesh::Mesh& mesh, mesh::Traffic& traffic) : mesh_(mesh), traffic_(traffic) {}

  void Say(const std::string& text) {
    Clear();
    std::cout << text << "\n" << std::flush;
  }

  void PhaseBegan(const mesh::Phase& phase) {
    std::vector<std::string> trusted;
    for (const mesh::Root* root : phase.trusted) trusted.push_back(root->label);
    Say(absl::StrFormat("\n== phase %s: trust %s, issuer %s", phase.name,
                        absl::StrJoin(trusted, "+"), phase.issuer->label));
  }

  bool Tick(const mesh::Phase& phase, const std::string& waiting_for) {
    if (interactive_) {
      mesh::Traffic::Count count = traffic_.count();
      Clear();
      std::cout << absl::StrFormat("   %s: %d requests, %d failed; waiting for %s", phase.name,
                                   count.requests, count.failed, waiting_for)
                << std::flush;
      drawn_ = true;
    }
    return !interrupted;
  }

  // The checks of the guide that this walk follows: leaf and roots as Envoy holds them, the request
  // counters, the process ids.
  void PhaseDone(const mesh::PhaseReport& phase) {
    for (size_t i = 0; i < phase.workloads.size(); ++i) {
      const mesh::WorkloadView& view = phase.workloads[i];
      Say(absl::StrCat("-- ", mesh::Mesh::kWorkloads[i], "'s Envoy holds"));
      std::string text = ShortText(view.held.chain.front());
      for (const x509::Certificate& root : view.held.roots) text += ShortText(root);
      std::cout << text;
    }
    ShowRequestCounters();
    std::vector<std::string> ids;
    for (const auto& [name, pid] : mesh_.ProcessIds()) ids.push_back(absl::StrCat(name, "=", pid));
    Say(absl::StrCat("-- process ids: ", absl::StrJoin(ids, " ")));
    mesh::Traffic::Count count = traffic_.count();
    Say(absl::StrFormat(
        "-- %.1f s to get here, %d full handshakes since; %d requests so far, %d failed",
        phase.seconds, phase.full_handshakes, count.requests, count.failed));
  }

 private:
  void ShowRequestCounters() {
    absl::StatusOr<std::string> stats =
        envoy::AdminClient(mesh_.AdminAddress("httpbin")).Get("/stats?filter=istio_requests_total");
    Say(absl::StrCat("-- httpbin's request counters\n",
                     stats.ok() ? *stats : stats.status().ToString()));
  }

  void Clear() {
    if (drawn_) std::cout << "\r\033[K";
    drawn_ = false;
  }

  mesh::Mesh& mesh_;
  mesh::Traffic& traffic_;
  const bool interactive_ = isatty(STDOUT_FILENO) != 0;
  bool drawn_ = false;
};

std::string Table(const mesh::WalkReport& report, const mesh::Root& a, const mesh::Root& b) {
  auto label = [&](const std::string& ski) {
    if (ski == a.Ski() || ski == a.IntermediateSki()) return a.label;
    if (ski == b.Ski() || ski == b.IntermediateSki()) return b.label;
    return absl::StrCat(ski.substr(0, 8), "…");
  };
  std::string table = absl::StrFormat("\n%-14s %8s %11s  %-52s %-7s %-6s %s\n", "PHASE", "SECONDS",
                                      "HANDSHAKES", "WORKLOAD", "TRUSTS", "HOLDS", "SERVES");
  for (const mesh::PhaseReport& phase : report.phases) {
    bool first = true;
    for (const mesh::WorkloadView& view : phase.workloads) {
      std::vector<std::string> trusts;
      for (const std::string& ski : view.bundle_roots) trusts.push_back(label(ski));
      std::sort(trusts.begin(), trusts.end());
      table += absl::StrFormat("%-14s %8s %11s  %-52s %-7s %-6s %s\n", first ? phase.name : "",
                               first ? absl::StrFormat("%.1f", phase.seconds) : "",
                               first ? absl::StrCat(phase.full_handshakes) : "", view.spiffe_id,
                               absl::StrJoin(trusts, "+"), label(view.leaf_issuer_ski),
                               label(view.served_issuer_ski));
      first = false;
    }
  }
  absl::StrAppendFormat(
      &table,
      "\nrequests %d   failed %d   new mTLS connections %d   full handshakes %d   "
      "restarts %d\n",
      report.requests, report.failed, report.new_connections, report.full_handshakes,
      report.restarts);
  return table;
}

absl::Status WriteReport(const std::string& path, const mesh::WalkReport& report) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::absolute(path).parent_path(), error);
  if (error) return ErrnoError(error.value(), absl::StrCat("cannot make the folder of ", path));
  return WriteFileAtomically(path, mesh::ToJson(report), 0644, Overwrite::kReplace);
}

void HowToLook(const mesh::Mesh& mesh, const std::string& folder) {
  std::cout << absl::StrFormat(
      "\nThe mesh keeps running until Ctrl-C. To look at it:\n"
      "  curl %s\n"
      "  capstan proxy-config secret --admin %s\n"
      "  capstan envoy-stats --admin %s --output prometheus | grep istio_requests_total\n"
      "  capstan status --socket %s\n"
      "  capstan fleet list --socket %s\n"
      "  ls %s %s/logs\n",
      mesh.url(), mesh.AdminAddress("httpbin"), mesh.AdminAddress("httpbin"), mesh.ControlSocket(),
      mesh.ControlSocket(), mesh.ca_directory(), folder);
  std::cout << std::flush;
  while (!interrupted) mesh::Pause(absl::Milliseconds(100));
}

// What starts the rotation, in the way the flags ask for.
mesh::WalkOptions WalkBy(const DemoFlags& flags, const std::string& new_ca,
                         const std::vector<mesh::Phase>& phases) {
  mesh::WalkOptions options;
  if (flags.by_hand) return options;
  const std::string second = phases[1].name;
  if (flags.one_stroke) {
    options.enter = [second, last = phases.back().files](mesh::Mesh& mesh,
                                                         const mesh::Phase& phase) {
      return phase.name == second ? mesh::ReplaceCaFiles(mesh.ca_directory(), last)
                                  : absl::OkStatus();
    };
    return options;
  }
  options.enter = [second, new_ca](mesh::Mesh& mesh, const mesh::Phase& phase) -> absl::Status {
    if (phase.name != second) return absl::OkStatus();
    CAPSTAN_ASSIGN_OR_RETURN(std::string said, mesh.Capstan({"rotate", "start", "--to", new_ca}));
    std::cout << "\n$ capstan rotate start --to rootB/intermediateB\n" << said << std::flush;
    return absl::OkStatus();
  };
  return options;
}

// That the rotation ended by itself and nobody was passed over on the way.
absl::Status CheckRotation(mesh::Mesh& mesh, mesh::WalkReport& report) {
  absl::StatusOr<std::string> said;
  if (!mesh::WaitFor(absl::Seconds(60), [&] {
        said = mesh.Capstan({"rotate", "status", "-o", "json"});
        return said.ok();  // 0: it is over
      })) {
    return Annotate(said.status(), "the rotation does not end");
  }
  const auto rotation = nlohmann::json::parse(*said, nullptr, false);
  if (rotation.is_discarded() || rotation.value("state", "") != "done") {
    report.problems.push_back(absl::StrCat("the rotation did not end well: ", *said));
  } else if (!rotation["exempt"].empty()) {
    report.problems.push_back(
        absl::StrCat("a gate was passed by deadline or exclusion: ", rotation["exempt"].dump()));
  }
  CAPSTAN_ASSIGN_OR_RETURN(std::string history, mesh.Capstan({"rotate", "history", "--journal"}));
  std::cout << "\n$ capstan rotate history --journal\n" << history << std::flush;
  return absl::OkStatus();
}

absl::StatusOr<mesh::WalkReport> RunDemo(const DemoFlags& flags) {
  CAPSTAN_ASSIGN_OR_RETURN(mesh::Tools tools, mesh::FindTools(flags.tools, mesh::OwnFolder()));
  CAPSTAN_ASSIGN_OR_RETURN(std::unique_ptr<RunFolder> folder, RunFolder::Make());
  std::cout << "making roots A and B (RSA 4096, as Istio's makefile does)\n" << std::flush;
  CAPSTAN_ASSIGN_OR_RETURN(mesh::Root a, mesh::MakeRoot(tools, folder->path(), "A", "rsa-4096"));
  CAPSTAN_ASSIGN_OR_RETURN(mesh::Root b, mesh::MakeRoot(tools, folder->path(), "B", "rsa-4096"));
  if (interrupted) return absl::CancelledError("stopped");
  std::vector<mesh::Phase> phases = mesh::FourPhases(a, b);
  std::cout << "starting capstand, httpbin, two agents and two Envoys\n" << std::flush;
  CAPSTAN_ASSIGN_OR_RETURN(
      std::unique_ptr<mesh::Mesh> mesh,
      mesh::Mesh::Start({.tools = tools,
                         .folder = folder->path(),
                         .soak = flags.by_hand ? absl::Seconds(1) : kSoakToLook},
                        phases.front().files));
  mesh::Traffic traffic({.url = mesh->url()});
  Display display(*mesh, traffic);
  mesh::WalkObserver observer{
      .phase_began = [&](const mesh::Phase& p) { display.PhaseBegan(p); },
      .tick = [&](const mesh::Phase& p, const std::string& w) { return display.Tick(p, w); },
      .phase_done = [&](const mesh::PhaseReport& p) { display.PhaseDone(p); }};
  CAPSTAN_ASSIGN_OR_RETURN(
      mesh::WalkReport report,
      mesh::Walk(*mesh, phases, traffic,
                 WalkBy(flags, folder->path() + "/rootB/intermediateB", phases), observer));
  if (!flags.by_hand) CAPSTAN_RETURN_IF_ERROR(CheckRotation(*mesh, report));
  display.Say(Table(report, a, b));
  CAPSTAN_RETURN_IF_ERROR(WriteReport(flags.report, report));
  display.Say(absl::StrCat("report: ", flags.report));
  if (flags.keep) HowToLook(*mesh, folder->path());
  return report;
}

void Demo(const DemoFlags& flags) {
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    std::signal(signal, [](int) { interrupted = true; });
  }
  absl::StatusOr<mesh::WalkReport> report = RunDemo(flags);
  if (!report.ok()) Fail(kFailed, Std(report.status().message()));
  if (!report->problems.empty()) Fail(kNo, absl::StrJoin(report->problems, "\ncapstan: "));
}

}  // namespace

void AddDemoCommand(CLI::App& app) {
  auto flags = std::make_shared<DemoFlags>();
  flags->tools = mesh::OwnFolder() + "/../../tools";
  CLI::App* demo =
      app.add_subcommand("demo", "Rotate a root CA in a whole mesh on this machine, under traffic");
  demo->add_option("--tools", flags->tools, "The folder of Envoy and of the Python with httpbin")
      ->envname("CAPSTAN_TOOLS_DIR")
      ->capture_default_str();
  demo->add_option("--report", flags->report, "Where the result is written, as JSON")
      ->capture_default_str();
  CLI::Option* by_hand = demo->add_flag(
      "--by-hand", flags->by_hand,
      "Replace the files of the CA directory phase by phase, as the guide does by hand");
  demo->add_flag("--one-stroke", flags->one_stroke,
                 "Replace root A's CA directory by root B's at once: the same phases follow")
      ->excludes(by_hand);
  demo->add_flag("--keep", flags->keep, "Leave the mesh running at the end, until Ctrl-C");
  demo->footer(
      "Starts capstand, two agents, two real Envoys (httpbin and sleep) and httpbin on 127.0.0.1,\n"
      "sends requests all the time, and rotates root A -> A+B -> B signs -> B with `capstan rotate "
      "start`.\n"
      "Ends with 0 only if no request failed, nothing was restarted, every phase was seen in "
      "Envoy's "
      "own\n"
      "config dump and in handshakes, and nobody was passed over at a gate.\n\n"
      "Examples:\n"
      "  capstan demo\n"
      "  capstan demo --by-hand\n"
      "  capstan demo --keep --report /tmp/report.json");
  demo->callback([flags] { Demo(*flags); });
}

}  // namespace capstan::cli
