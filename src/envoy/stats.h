// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace capstan::envoy {

// Counters and gauges by Envoy's full dotted name: "listener.127.0.0.1_8443.ssl.handshake".
using Counters = std::map<std::string, uint64_t>;

// The answer of /stats?format=json. Text readouts and histograms are skipped.
absl::StatusOr<Counters> ParseStatsJson(std::string_view json);

// The counters but those of listeners and clusters whose name starts with one of `prefixes`.
Counters Without(Counters counters, std::initializer_list<std::string_view> prefixes);

// The sum of the counters whose name is `suffix` or ends with "." and `suffix`.
uint64_t SumOf(const Counters& counters, std::string_view suffix);

// What the TLS sides of an Envoy counted, summed over the listeners and clusters whose name starts
// with `prefix` ("listener.", "cluster.outbound", "": all).
struct TlsCounts {
  uint64_t handshakes = 0;
  uint64_t resumed = 0;            // of them, those that looked at no certificate
  uint64_t connection_errors = 0;  // handshakes that failed for other reasons than a certificate
  uint64_t verify_failures = 0;    // every ssl.fail_verify_*
  uint64_t secrets_not_ready = 0;  // connections that came before their secret
  uint64_t full_handshakes() const { return handshakes > resumed ? handshakes - resumed : 0; }
};
TlsCounts CountTls(const Counters& counters, std::string_view prefix = "");

// One line of Prometheus' text format.
struct Sample {
  std::string name;  // "envoy_istiocustom_istio_requests_total"
  std::map<std::string, std::string> labels;
  double value = 0;
};

// The text format 0.0.4. Comments are skipped; a line that is none of it is InvalidArgument with
// its number.
absl::StatusOr<std::vector<Sample>> ParsePrometheus(std::string_view text);

}  // namespace capstan::envoy
