// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/process.h"
#include "mesh/roots.h"
#include "mesh/tools.h"
#include "trust/ca_set.h"
#include "x509/certificate.h"
#include "x509/handshake.h"

namespace capstan::mesh {

// What one Envoy holds, read from its own config dump.
struct HeldSecrets {
  std::vector<x509::Certificate> chain;  // leaf first
  std::vector<x509::Certificate> roots;
};

// Counters of one Envoy that tell whether anything went wrong at the data path. The probe
// listener's own are left out.
struct DataPath {
  int64_t connections = 0;      // ever taken by the inbound listener
  int64_t full_handshakes = 0;  // of the inbound listener: ssl.handshake - ssl.session_reused
  int64_t retries = 0;
  int64_t fail_verify = 0;        // ssl.fail_verify_* of every listener and cluster
  int64_t connection_errors = 0;  // ssl.connection_error, upstream_cx_connect_fail
};

// A whole mesh on 127.0.0.1: capstand, an agent and an Envoy beside each workload, the real httpbin
// behind one of them, and a plain-HTTP door (url()) through which `sleep` calls `httpbin` over
// mutual TLS.
class Mesh {
 public:
  struct Options {
    Tools tools;
    std::string folder;  // everything is kept here; must be empty or missing; short (socket paths)
    std::string trust_domain = "cluster.local";
    absl::Duration leaf_ttl = absl::Hours(24);
    absl::Duration soak = absl::Seconds(1);                  // of every gate of a rotation
    absl::Duration foreign_leaf_ttl = absl::ZeroDuration();  // its CA was made a moment ago
    std::vector<std::string> capstand_flags = {};
    std::vector<std::string> capstand_environment = {};  // "NAME=value"
  };

  // The workloads, in the order they are started.
  static constexpr const char* kWorkloads[] = {"httpbin", "sleep"};

  // With empty `ca_files` capstand makes its own CA. Returns when the first request was answered.
  static absl::StatusOr<std::unique_ptr<Mesh>> Start(const Options& options,
                                                     const trust::CaFiles& ca_files);
  ~Mesh();

  const std::string& ca_directory() const { return ca_directory_; }
  std::string url() const;  // sleep's outbound door to httpbin
  std::string SpiffeId(const std::string& workload) const;
  std::string AdminAddress(const std::string& workload) const;
  int InboundPort(const std::string& workload) const;  // takes mutual TLS
  std::string ControlSocket() const;
  std::string LogPath(const std::string& process) const;

  absl::StatusOr<HeldSecrets> Held(const std::string& workload) const;
  absl::StatusOr<DataPath> Counters(const std::string& workload) const;
  // A full handshake with the workload's probe listener as `client`.
  absl::StatusOr<x509::HandshakeResult> Probe(const std::string& workload,
                                              const ClientIdentity& client) const;

  // Process names ("capstand", "agent-httpbin", "envoy-httpbin", …, "httpbin") → process id; those
  // that ended are left out.
  std::map<std::string, pid_t> ProcessIds();
  Process& process(const std::string& name) { return *processes_.at(name); }
  // Starts a process again with the command it had, after it ended.
  absl::Status Restart(const std::string& name);

  // Runs `capstan ARGS…` against this mesh's control plane.
  absl::StatusOr<std::string> Capstan(std::vector<std::string> args) const;

 private:
  struct Ports {
    int admin = 0;
    int inbound = 0;
    int probe = 0;
  };

  explicit Mesh(Options options) : options_(std::move(options)) {}
  absl::Status StartAll(const trust::CaFiles& ca_files);
  absl::Status StartControlPlane();
  absl::Status StartApplication();
  absl::Status StartAgent(const std::string& workload);
  absl::Status StartEnvoy(const std::string& workload);
  absl::Status Launch(const std::string& name, std::vector<std::string> argv,
                      std::vector<std::string> environment = {});
  absl::Status AwaitEnvoy(const std::string& workload);
  std::string Path(const std::string& name) const;
  std::string LogTail(const std::string& process) const;

  const Options options_;
  std::string ca_directory_;
  bool has_ca_directory_ = false;
  int control_port_ = 0;
  int http_port_ = 0;
  int application_port_ = 0;
  int outbound_port_ = 0;
  std::map<std::string, Ports> ports_;  // by workload
  std::map<std::string, Process::Options> commands_;
  std::vector<std::string> start_order_;
  std::map<std::string, std::unique_ptr<Process>> processes_;
};

}  // namespace capstan::mesh
