// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "envoy/config_dump.h"
#include "envoy/stats.h"

namespace capstan::envoy {

struct AdminOptions {
  absl::Duration connect_timeout = absl::Seconds(2);
  absl::Duration timeout = absl::Seconds(10);  // of one request, connecting included
  size_t max_bytes = 64 << 20;                 // a longer answer is ResourceExhausted
};

// Asks one Envoy's admin interface. Only reads: nothing it sends changes an Envoy. Holds no
// connection: each call opens one and is safe from any thread. Ignores proxies of the environment
// and redirects.
class AdminClient {
 public:
  // "127.0.0.1:15000", "[::1]:15000", "localhost:9901", "http://…", or a Unix socket as "/path" or
  // "unix:/path". An address that is none of these makes every call InvalidArgument.
  explicit AdminClient(std::string address, AdminOptions options = {});

  const std::string& address() const { return address_; }

  // The body of GET `path` ("/stats?format=json"). Unavailable: nobody answers there, or 503;
  // DeadlineExceeded; NotFound: 404; Internal: another status, with the body's first line.
  absl::StatusOr<std::string> Get(std::string_view path) const;

  // The counters and gauges that have a value and whose name Envoy finds `filter` (a regular
  // expression, matched anywhere; empty: all) in.
  absl::StatusOr<Counters> Stats(std::string_view filter = "") const;

  // The same in Prometheus' view: with labels. `filter` sees Envoy's own names, not Prometheus'.
  absl::StatusOr<std::vector<Sample>> Samples(std::string_view filter = "") const;

  // What this Envoy holds; see ParseSecrets. That a secret is listed as active does not prove that
  // its listeners use it: only a handshake does.
  absl::StatusOr<std::vector<HeldSecret>> Secrets() const;

  // OK when Envoy says LIVE; Unavailable with what it says else ("PRE_INITIALIZING").
  absl::Status Ready() const;

 private:
  std::string address_;
  AdminOptions options_;
};

// The admin path of the secrets alone.
inline constexpr std::string_view kSecretsPath =
    "/config_dump?mask=static_secrets,dynamic_active_secrets,dynamic_warming_secrets";

}  // namespace capstan::envoy
