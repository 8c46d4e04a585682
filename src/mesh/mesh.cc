// SPDX-License-Identifier: Apache-2.0
#include "mesh/mesh.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status.h"
#include "envoy/admin.h"
#include "envoy/bootstrap.h"

namespace capstan::mesh {
namespace {

constexpr absl::Duration kStartTimeout = absl::Seconds(60);

std::string Loopback(int port) {
  return absl::StrCat("127.0.0.1:", port);
}

std::string AgentName(const std::string& workload) {
  return absl::StrCat("agent-", workload);
}
std::string EnvoyName(const std::string& workload) {
  return absl::StrCat("envoy-", workload);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Mesh>> Mesh::Start(const Options& options,
                                                  const trust::CaFiles& ca_files) {
  std::unique_ptr<Mesh> mesh(new Mesh(options));
  CAPSTAN_RETURN_IF_ERROR(mesh->StartAll(ca_files));
  return mesh;
}

Mesh::~Mesh() {
  // Traffic's direction backwards: nobody calls what is already gone.
  for (auto name = start_order_.rbegin(); name != start_order_.rend(); ++name) {
    if (auto it = processes_.find(*name); it != processes_.end()) it->second->Stop();
  }
}

absl::Status Mesh::StartAll(const trust::CaFiles& ca_files) {
  CAPSTAN_RETURN_IF_ERROR(MakePrivateDirectory(options_.folder));
  CAPSTAN_RETURN_IF_ERROR(MakePrivateDirectory(Path("logs")));
  ca_directory_ = Path("cacerts");
  has_ca_directory_ = !ca_files.empty();
  if (has_ca_directory_) {
    CAPSTAN_RETURN_IF_ERROR(MakePrivateDirectory(ca_directory_));
    CAPSTAN_RETURN_IF_ERROR(ReplaceCaFiles(ca_directory_, ca_files));
  }
  for (int* port : {&control_port_, &http_port_, &application_port_, &outbound_port_}) {
    CAPSTAN_ASSIGN_OR_RETURN(*port, FreePort());
  }
  for (const char* workload : kWorkloads) {
    Ports& ports = ports_[workload];
    for (int* port : {&ports.admin, &ports.inbound, &ports.probe}) {
      CAPSTAN_ASSIGN_OR_RETURN(*port, FreePort());
    }
  }
  CAPSTAN_RETURN_IF_ERROR(StartControlPlane());
  CAPSTAN_RETURN_IF_ERROR(StartApplication());
  for (const char* workload : kWorkloads) {
    CAPSTAN_RETURN_IF_ERROR(StartAgent(workload));
    CAPSTAN_RETURN_IF_ERROR(StartEnvoy(workload));
  }
  for (const char* workload : kWorkloads) CAPSTAN_RETURN_IF_ERROR(AwaitEnvoy(workload));
  absl::Status answered;
  if (!WaitFor(kStartTimeout, [&] {
        answered = envoy::AdminClient(Loopback(outbound_port_)).Get("/get").status();
        return answered.ok();
      })) {
    return Annotate(answered, "httpbin did not answer through the mesh");
  }
  return absl::OkStatus();
}

absl::Status Mesh::StartControlPlane() {
  std::vector<std::string> argv = {absl::StrCat(options_.tools.programs, "/capstand"),
                                   "--state-dir",
                                   Path("capstand"),
                                   "--listen",
                                   Loopback(control_port_),
                                   "--advertise",
                                   Loopback(control_port_),
                                   "--http",
                                   Loopback(http_port_),
                                   "--trust-domain",
                                   options_.trust_domain,
                                   "--default-ttl",
                                   absl::FormatDuration(options_.leaf_ttl),
                                   "--foreign-leaf-ttl",
                                   absl::FormatDuration(options_.foreign_leaf_ttl),
                                   "--rotation-soak",
                                   absl::FormatDuration(options_.soak)};
  if (has_ca_directory_) argv.insert(argv.end(), {"--cacerts", ca_directory_});
  argv.insert(argv.end(), options_.capstand_flags.begin(), options_.capstand_flags.end());
  CAPSTAN_RETURN_IF_ERROR(Launch("capstand", std::move(argv), options_.capstand_environment));
  bool ready = WaitFor(kStartTimeout, [&] {
    return processes_["capstand"]->Ended() ||
           envoy::AdminClient(Loopback(http_port_)).Get("/readyz").ok();
  });
  if (!ready || processes_["capstand"]->Ended()) {
    return absl::UnavailableError(
        absl::StrCat("capstand did not become ready:\n", LogTail("capstand")));
  }
  return absl::OkStatus();
}

absl::Status Mesh::StartApplication() {
  return Launch("httpbin", {options_.tools.python, "-m", "gunicorn", "--bind",
                            Loopback(application_port_), "--workers", "2", "--threads", "4",
                            "--worker-class", "gthread", "--log-level", "warning", "httpbin:app"});
}

absl::Status Mesh::StartAgent(const std::string& workload) {
  const std::string join = Path(absl::StrCat(workload, ".join"));
  const std::string state = Path(AgentName(workload));
  CAPSTAN_RETURN_IF_ERROR(
      Capstan({"token", "create", "--spiffe-id", SpiffeId(workload), "--ttl", "10m", "--out", join})
          .status());
  CAPSTAN_RETURN_IF_ERROR(
      Launch(AgentName(workload),
             {absl::StrCat(options_.tools.programs, "/capstan-agent"), "--join-file", join,
              "--state-dir", state, "--socket", absl::StrCat(state, "/sds.sock"), "--probe",
              Loopback(ports_.at(workload).probe), "--envoy-admin", AdminAddress(workload)}));
  if (!WaitFor(kStartTimeout, [&] { return FileExists(absl::StrCat(state, "/sds.sock")); })) {
    return absl::UnavailableError(absl::StrCat("the agent of ", workload, " opened no socket:\n",
                                               LogTail(AgentName(workload))));
  }
  return absl::OkStatus();
}

absl::Status Mesh::StartEnvoy(const std::string& workload) {
  const Ports& ports = ports_.at(workload);
  envoy::SidecarOptions sidecar{.workload = workload,
                                .trust_domain = options_.trust_domain,
                                .sds_socket = absl::StrCat(Path(AgentName(workload)), "/sds.sock"),
                                .admin_port = ports.admin,
                                .inbound_port = ports.inbound,
                                .probe_port = ports.probe};
  if (workload == "httpbin") {
    sidecar.application_port = application_port_;
  } else {
    sidecar.outbound_port = outbound_port_;
    sidecar.peer_port = ports_.at("httpbin").inbound;
    sidecar.peer_workload = "httpbin";
  }
  const std::string config = Path(absl::StrCat(EnvoyName(workload), ".json"));
  CAPSTAN_RETURN_IF_ERROR(
      WriteFileAtomically(config, envoy::SidecarBootstrap(sidecar), 0600, Overwrite::kReplace));
  return Launch(EnvoyName(workload),
                {options_.tools.envoy, "--config-path", config, "--disable-hot-restart",
                 "--concurrency", "2", "--log-level", "warning"});
}

absl::Status Mesh::AwaitEnvoy(const std::string& workload) {
  Process& envoy = *processes_.at(EnvoyName(workload));
  bool ready = WaitFor(kStartTimeout, [&] {
    return envoy.Ended() || envoy::AdminClient(AdminAddress(workload)).Ready().ok();
  });
  if (!ready || envoy.Ended()) {
    return absl::UnavailableError(absl::StrCat(
        "the Envoy of ", workload, " did not become ready; it said:\n",
        LogTail(EnvoyName(workload)), "\nits agent said:\n", LogTail(AgentName(workload))));
  }
  return absl::OkStatus();
}

absl::Status Mesh::Launch(const std::string& name, std::vector<std::string> argv,
                          std::vector<std::string> environment) {
  commands_[name] = {
      .argv = std::move(argv), .environment = std::move(environment), .log_path = LogPath(name)};
  start_order_.push_back(name);
  return Restart(name);
}

absl::Status Mesh::Restart(const std::string& name) {
  CAPSTAN_ASSIGN_OR_RETURN(processes_[name], Process::Start(commands_.at(name)));
  return absl::OkStatus();
}

std::string Mesh::Path(const std::string& name) const {
  return absl::StrCat(options_.folder, "/", name);
}

std::string Mesh::LogPath(const std::string& process) const {
  return absl::StrCat(Path("logs"), "/", process, ".log");
}

std::string Mesh::LogTail(const std::string& process) const {
  constexpr size_t kTailBytes = 2000;
  std::string log = ReadFile(LogPath(process)).value_or("");
  return log.size() > kTailBytes ? log.substr(log.size() - kTailBytes) : log;
}

std::string Mesh::url() const {
  return absl::StrCat("http://", Loopback(outbound_port_), "/get");
}

std::string Mesh::SpiffeId(const std::string& workload) const {
  return envoy::WorkloadId(options_.trust_domain, workload);
}

std::string Mesh::AdminAddress(const std::string& workload) const {
  return Loopback(ports_.at(workload).admin);
}

int Mesh::InboundPort(const std::string& workload) const {
  return ports_.at(workload).inbound;
}

std::string Mesh::ControlSocket() const {
  return Path("capstand/capstand.sock");
}

absl::StatusOr<std::string> Mesh::Capstan(std::vector<std::string> args) const {
  args.insert(args.begin(), absl::StrCat(options_.tools.programs, "/capstan"));
  args.insert(args.end(), {"--socket", ControlSocket()});
  return RunProgram(args);
}

absl::StatusOr<HeldSecrets> Mesh::Held(const std::string& workload) const {
  CAPSTAN_ASSIGN_OR_RETURN(auto secrets, envoy::AdminClient(AdminAddress(workload)).Secrets());
  HeldSecrets held;
  for (const envoy::HeldSecret& secret : secrets) {
    if (secret.state != envoy::HeldSecret::State::kActive) continue;
    if (secret.name == "default") held.chain = secret.certificates;
    if (secret.name == "ROOTCA") held.roots = secret.certificates;
  }
  if (held.chain.empty() || held.roots.empty()) {
    return absl::UnavailableError(
        absl::StrCat("the Envoy of ", workload, " does not hold both secrets yet"));
  }
  return held;
}

absl::StatusOr<DataPath> Mesh::Counters(const std::string& workload) const {
  CAPSTAN_ASSIGN_OR_RETURN(
      auto all,
      envoy::AdminClient(AdminAddress(workload))
          .Stats(
              "ssl\\.|upstream_rq_retry|upstream_cx_connect_fail|inbound\\.downstream_cx_total"));
  const auto stats = envoy::Without(std::move(all), {"listener.probe.", "cluster.sds."});
  const envoy::TlsCounts tls = envoy::CountTls(stats);
  DataPath seen;
  seen.connections = envoy::SumOf(stats, "listener.inbound.downstream_cx_total");
  seen.full_handshakes = envoy::CountTls(stats, "listener.inbound.").full_handshakes();
  seen.fail_verify = tls.verify_failures;
  seen.connection_errors = tls.connection_errors + envoy::SumOf(stats, "upstream_cx_connect_fail");
  for (const auto& [name, value] : stats) {  // those that a limit forbade count too
    if (absl::StrContains(name, ".upstream_rq_retry")) seen.retries += value;
  }
  return seen;
}

absl::StatusOr<x509::HandshakeResult> Mesh::Probe(const std::string& workload,
                                                  const ClientIdentity& client) const {
  return x509::Handshake({.host = "127.0.0.1",
                          .port = ports_.at(workload).probe,
                          .client_chain = client.chain,
                          .client_key = client.key,
                          .early_request = "GET / HTTP/1.1\r\nHost: probe\r\n\r\n"});
}

std::map<std::string, pid_t> Mesh::ProcessIds() {
  std::map<std::string, pid_t> ids;
  for (auto& [name, process] : processes_) {
    if (!process->Ended()) ids[name] = process->pid();
  }
  return ids;
}

}  // namespace capstan::mesh
