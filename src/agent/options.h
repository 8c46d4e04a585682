// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/config.h"
#include "base/log.h"
#include "probe/target.h"
#include "x509/key.h"

namespace capstan::agent {

struct Options {
  std::string state_dir = "/var/lib/capstan-agent";
  std::string socket;                      // of SDS; empty: STATE_DIR/sds.sock
  std::vector<uid_t> socket_uids;          // users that may connect to it, besides our own and root
  std::string join_file;                   // empty: none, the state directory has a credential
  std::string output_dir;                  // empty: no key ever touches a disk
  std::vector<probe::ProbeTarget> probes;  // listeners of the workload to try handshakes with
  std::string envoy_admin;                 // of the Envoy beside it; empty: none
  std::string http;                        // "IP:PORT"; empty: off
  absl::Duration ttl;             // of the workload's certificate; 0: the control plane's default
  absl::Duration credential_ttl;  // of the agent's own; 0: the control plane's default
  x509::KeyType key_type = x509::KeyType::kEcdsaP256;
  log::Format log_format = log::Format::kText;
  log::Level log_level = log::Level::kInfo;
};

// Reads flags, environment and file into `options`, which must outlive the result.
struct Loaded {
  Settings::Todo todo = Settings::Todo::kRun;
  std::string output;  // to print, with any todo but kRun
};
absl::StatusOr<Loaded> LoadOptions(int argc, const char* const* argv,
                                   const Settings::Environment& environment, Options& options);

}  // namespace capstan::agent
