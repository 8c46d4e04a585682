// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>

#include "base/status.h"
#include "cli/commands.h"
#include "envoy/bootstrap.h"
#include "spiffe/spiffe_id.h"

namespace capstan::cli {
namespace {

void Print(const envoy::SidecarOptions& options) {
  auto trust_domain = spiffe::TrustDomain::Parse(options.trust_domain);
  if (!trust_domain.ok()) Fail(Annotate(trust_domain.status(), "--trust-domain"));
  if (options.outbound_port != 0 && (options.peer_port == 0 || options.peer_workload.empty())) {
    Fail(kUsage, "--outbound-port needs --peer-port and --peer-workload: where the requests go");
  }
  std::cout << envoy::SidecarBootstrap(options) << "\n";
}

}  // namespace

void AddEnvoyBootstrapCommand(CLI::App& app) {
  auto o = std::make_shared<envoy::SidecarOptions>();
  o->trust_domain = "cluster.local";
  CLI::App* command = app.add_subcommand(
      "envoy-bootstrap", "Print the configuration of a side-car Envoy that an agent serves");
  auto port = [&](const char* name, int& value, const char* help) {
    return command->add_option(name, value, help)->check(CLI::Range(1, 65535));
  };
  command->add_option("--workload", o->workload, "Its name, namespace and service account")
      ->required();
  command->add_option("--trust-domain", o->trust_domain, "Whom it admits")->capture_default_str();
  command->add_option("--sds-socket", o->sds_socket, "The Unix socket of its agent")->required();
  port("--admin-port", o->admin_port, "Envoy's admin interface")->required();
  port("--inbound-port", o->inbound_port, "Takes mutual TLS from the mesh")->required();
  port("--probe-port", o->probe_port, "A second such listener, for trying handshakes");
  port("--application-port", o->application_port,
       "Where the application listens; without it Envoy answers \"ok\" itself");
  port("--outbound-port", o->outbound_port, "Takes plain HTTP from the application for the peer");
  port("--peer-port", o->peer_port, "The peer's inbound port");
  command->add_option("--peer-workload", o->peer_workload, "The peer's name: its ID is checked");
  command->footer(
      "Everything listens on 127.0.0.1. Certificates and trust come over SDS (default, ROOTCA); a "
      "URI\n"
      "SAN is matched on both sides; nothing is retried; requests are counted as "
      "istio_requests_total.\n\n"
      "Example:\n"
      "  capstan envoy-bootstrap --workload httpbin --sds-socket /run/capstan/sds.sock \\\n"
      "      --admin-port 15000 --inbound-port 15006 --application-port 8000 > envoy.json\n"
      "  envoy -c envoy.json");
  command->callback([o] { Print(*o); });
}

}  // namespace capstan::cli
