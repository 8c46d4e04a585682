// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace capstan::envoy {

// Where one side-car Envoy listens and what stands behind it. All on 127.0.0.1.
struct SidecarOptions {
  std::string workload;  // "httpbin": also the namespace and service account
  std::string trust_domain;
  std::string sds_socket;  // of its agent
  int admin_port = 0;
  // Takes mutual TLS from the mesh, any workload of the trust domain: answers "ok" itself, or
  // passes requests to application_port when that is set.
  int inbound_port = 0;
  int application_port = 0;
  // A second inbound listener with the same secrets whose counters are its own: handshakes that
  // shall be refused are tried here, so that the counters of real traffic stay a proof. 0: none.
  int probe_port = 0;
  // Plain HTTP from the local application to the peer workload, over mutual TLS. 0: no outbound.
  int outbound_port = 0;
  int peer_port = 0;
  std::string peer_workload;
};

// The Envoy bootstrap (JSON) of a side-car whose leaf (`default`) and trust (`ROOTCA`) come over
// SDS from the agent's Unix socket. It matches a URI SAN on both sides, never opens a port before
// its secrets are there (initial_fetch_timeout 0), never retries, and counts istio_requests_total
// by source and destination principal, response code and connection_security_policy.
std::string SidecarBootstrap(const SidecarOptions& options);

// The SPIFFE ID of a workload that is named like its namespace and account:
// spiffe://<td>/ns/<workload>/sa/<workload>.
std::string WorkloadId(const std::string& trust_domain, const std::string& workload);

}  // namespace capstan::envoy
