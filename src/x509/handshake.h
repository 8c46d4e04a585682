// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "x509/certificate.h"
#include "x509/key.h"

namespace capstan::x509 {

struct HandshakeOptions {
  std::string host;  // IP or name to connect to
  int port = 0;
  std::string server_name;        // SNI; empty: none
  std::vector<std::string> alpn;  // empty: none offered
  // Our side of mutual TLS; both or neither.
  std::vector<Certificate> client_chain;
  std::optional<PrivateKey> client_key;
  absl::Duration timeout = absl::Seconds(5);
  // Bytes written once the handshake is done, to make a server that waits for a request speak.
  std::string early_request;
};

enum class ClientVerdict {
  // Bytes came back after our certificate: a session ticket, application data, or the end of a
  // TLS 1.2 handshake. (A TLS 1.3 server may speak before it reads our certificate; none in use
  // does where it asks for one.)
  kAccepted,
  kUnknownCa,  // alert 48: the server does not trust our issuer
  kRefused,    // another alert
  kSilent,     // nothing came before the timeout: not acceptance
};

struct HandshakeResult {
  std::vector<Certificate> served_chain;  // as sent by the server, leaf first
  bool resumed = false;                   // always false: no session is offered
  ClientVerdict client = ClientVerdict::kSilent;
  std::optional<int> alert;  // what the server sent, RFC 8446 section 6
  std::string detail;
};

// A full TLS handshake (1.2 or 1.3), never resumed, that verifies nothing itself: it looks at what
// is served and at whether our certificate is accepted. A TLS 1.3 refusal arrives after the
// handshake seems done, so it waits for the server's next bytes; `early_request` goes out after a
// short quiet time without any. Where the server asks for no certificate, or none is given, there
// is nothing to wait for: kSilent, and `detail` says so. Unavailable: no connection, or closed at
// once; DeadlineExceeded: no ServerHello in time; FailedPrecondition: the server refuses before it
// serves a certificate (protocol version, server name); Internal: it is no TLS server. Resolving
// the name of `host` is not under the timeout.
absl::StatusOr<HandshakeResult> Handshake(const HandshakeOptions& options);

}  // namespace capstan::x509
