// SPDX-License-Identifier: Apache-2.0
// Where `inspect` and `verify` take certificates from.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "x509/certificate.h"
#include "x509/description.h"

namespace capstan::cli {

struct Endpoint {
  std::string host;
  int port = 0;
};

// "host:port", "[::1]:443", or "https://host[:port]" (also tls:// and tcp://; 443 unless told).
// nullopt: something else, a file name say.
std::optional<Endpoint> ParseEndpoint(std::string_view text);

// What bytes may hold.
using Held = std::variant<std::vector<x509::Certificate>, x509::RequestDescription>;

// The certificates of PEM or DER or, where there is none, the first request. InvalidArgument says
// what is wrong at which line or byte, and what the text holds instead.
absl::StatusOr<Held> ReadHeld(std::string_view pem_or_der);

// The bytes of a file, or of standard input for "-".
absl::StatusOr<std::string> ReadInput(const std::string& name);

// The certificates of `source`: "-", a file, or, where no such file is there, what a TLS server at
// "host:port" serves. `name` in errors. Standard input may be read once.
absl::StatusOr<std::vector<x509::Certificate>> ReadCertificates(const std::string& source);

// The chain that a TLS server sends.
absl::StatusOr<std::vector<x509::Certificate>> FetchChain(const Endpoint& endpoint);

}  // namespace capstan::cli
