// SPDX-License-Identifier: Apache-2.0
#include "agent/endpoints.h"

#include "base/status.h"

namespace capstan::agent {
namespace {

// Several of the executor's beats, and long enough for an RSA key of 4096 bits on a busy machine.
constexpr absl::Duration kLongestSilence = absl::Seconds(30);

HttpResponse Unavailable(const std::string& why) {
  return {.status = 503, .body = why + "\n"};
}

}  // namespace

HttpResponse Healthz(const Agent::Health& health, absl::Duration monotonic) {
  if (!health.beat) return Unavailable("starting");
  const absl::Duration silence = monotonic - *health.beat;
  if (silence > kLongestSilence) {
    return Unavailable(absl::StrCat("the event loop has been stuck for ",
                                    absl::FormatDuration(absl::Trunc(silence, absl::Seconds(1)))));
  }
  return {.body = "ok\n"};
}

HttpResponse Readyz(const Agent::Health& health, absl::Time now) {
  const std::string detail =
      health.last_error.empty() ? "" : absl::StrCat("; last error: ", health.last_error);
  if (!health.trust_published) return Unavailable("no trust bundle yet" + detail);
  if (!health.leaf_expiry) return Unavailable("no certificate yet" + detail);
  if (*health.leaf_expiry <= now) {
    return Unavailable(absl::StrCat("the certificate expired at ",
                                    absl::FormatTime(*health.leaf_expiry, absl::UTCTimeZone()),
                                    detail));
  }
  return {.body = absl::StrCat("ready", detail, "\n")};
}

std::map<std::string, HttpServer::Handler> Endpoints(const Agent& agent, const Metrics& metrics,
                                                     Clock& clock) {
  return {{"/healthz", [&] { return Healthz(agent.health(), clock.Monotonic()); }},
          {"/readyz", [&] { return Readyz(agent.health(), clock.Now()); }},
          {"/metrics", [&] {
             return HttpResponse{.content_type = "text/plain; version=0.0.4; charset=utf-8",
                                 .body = metrics.Text()};
           }}};
}

}  // namespace capstan::agent
