// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace capstan::probe {

inline constexpr size_t kMostProbeTargets = 16;

// A TLS listener of the workload, to be tried as a client would.
struct ProbeTarget {
  std::string host;  // IP or name, without brackets
  int port = 0;
  std::string server_name;        // SNI; empty: none
  std::vector<std::string> alpn;  // empty: none offered
  friend bool operator==(const ProbeTarget&, const ProbeTarget&) = default;
};

// "HOST:PORT[,sni=NAME][,alpn=PROTO]…", as ParseProbeTargets() reads it back.
std::string ToString(const ProbeTarget& target);

// One after the other, separated by commas; IPv6 in brackets, `alpn` as often as there are
// protocols. InvalidArgument says which part is wrong; no target twice, and at most
// kMostProbeTargets.
absl::StatusOr<std::vector<ProbeTarget>> ParseProbeTargets(std::string_view text);

}  // namespace capstan::probe
