// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "agent/agent.h"
#include "base/clock.h"
#include "base/http_server.h"
#include "base/metrics.h"

namespace capstan::agent {

// /healthz: 200 while the agent's executor runs. /readyz: 200 while it serves trust and a
// certificate that has not expired; the body says what is missing. A control plane that is down
// makes neither fail.
HttpResponse Healthz(const Agent::Health& health, absl::Duration monotonic);
HttpResponse Readyz(const Agent::Health& health, absl::Time now);

// With /metrics. `agent`, `metrics` and `clock` outlive the server.
std::map<std::string, HttpServer::Handler> Endpoints(const Agent& agent, const Metrics& metrics,
                                                     Clock& clock);

}  // namespace capstan::agent
