// SPDX-License-Identifier: Apache-2.0
#include "cli/certificate_input.h"

#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/files.h"
#include "base/status.h"
#include "base/strings.h"
#include "cli/go_pem.h"
#include "cli/inspect_text.h"
#include "x509/handshake.h"

namespace capstan::cli {
namespace {

constexpr int kHttpsPort = 443;

bool IsIpAddress(std::string_view host) {
  return host.find(':') != std::string_view::npos ||
         host.find_first_not_of("0123456789.") == std::string_view::npos;
}

// The labels of the PEM blocks, for an error.
std::string Labels(const std::vector<GoPemBlock>& blocks) {
  std::set<std::string> labels;
  for (const GoPemBlock& block : blocks) labels.insert(ForTerminal(block.type));
  return absl::StrJoin(labels, ", ");
}

absl::StatusOr<Held> ReadPem(std::string_view pem) {
  absl::StatusOr<std::vector<x509::Certificate>> certificates = x509::ParsePemCertificates(pem);
  if (certificates.ok()) return Held(*std::move(certificates));
  const std::vector<GoPemBlock> blocks = FindGoPemBlocks(pem);
  bool other_kinds_only = !blocks.empty();
  for (const GoPemBlock& block : blocks) {
    if (block.type.ends_with("CERTIFICATE REQUEST")) {
      absl::StatusOr<x509::RequestDescription> request = x509::DescribeRequest(block.bytes);
      if (!request.ok()) return Annotate(request.status(), "certificate request");
      return Held(*std::move(request));
    }
    if (block.type == "CERTIFICATE") other_kinds_only = false;
  }
  if (!other_kinds_only) return certificates.status();
  return absl::InvalidArgumentError(
      absl::StrCat("no certificate in it; what it holds: ", Labels(blocks)));
}

}  // namespace

std::optional<Endpoint> ParseEndpoint(std::string_view text) {
  Endpoint endpoint;
  bool has_scheme = false;
  for (std::string_view scheme : {"https://", "tls://", "tcp://"}) {
    if (absl::AsciiStrToLower(text.substr(0, scheme.size())) == scheme) {
      text.remove_prefix(scheme.size());
      text = text.substr(0, text.find('/'));
      has_scheme = true;
      break;
    }
  }
  std::string_view host = text;
  if (const size_t bracket = text.rfind(']');
      text.starts_with('[') && bracket != std::string_view::npos) {
    host = text.substr(1, bracket - 1);
    text.remove_prefix(bracket + 1);
  } else {
    host = text.substr(0, text.rfind(':'));
    text.remove_prefix(host.size());
  }
  if (text.empty() && has_scheme) {
    endpoint.port = kHttpsPort;
  } else if (!absl::ConsumePrefix(&text, ":") ||
             text.find_first_not_of("0123456789") != std::string_view::npos ||
             !absl::SimpleAtoi(text, &endpoint.port) || endpoint.port < 1 ||
             endpoint.port > 65535) {
    return std::nullopt;
  }
  if (host.empty() || host.find_first_of("/ \t\r\n@") != std::string_view::npos) {
    return std::nullopt;
  }
  endpoint.host = std::string(host);
  return endpoint;
}

absl::StatusOr<Held> ReadHeld(std::string_view bytes) {
  if (bytes.empty()) return absl::InvalidArgumentError("empty: no certificate in it");
  if (absl::StrContains(bytes, "-----BEGIN")) return ReadPem(bytes);
  absl::StatusOr<std::vector<x509::Certificate>> certificates = x509::ParseCertificates(bytes);
  if (certificates.ok()) return Held(*std::move(certificates));
  absl::StatusOr<x509::RequestDescription> request = x509::DescribeRequest(bytes);
  if (request.ok()) return Held(*std::move(request));
  return certificates.status();
}

absl::StatusOr<std::string> ReadInput(const std::string& name) {
  return name == "-" ? ReadStandardInput() : ReadFile(name);
}

absl::StatusOr<std::vector<x509::Certificate>> ReadCertificates(const std::string& source) {
  if (source != "-" && !FileExists(source)) {
    if (const std::optional<Endpoint> endpoint = ParseEndpoint(source)) {
      return FetchChain(*endpoint);
    }
  }
  CAPSTAN_ASSIGN_OR_RETURN(const std::string bytes, ReadInput(source));
  absl::StatusOr<Held> held = ReadHeld(bytes);
  if (!held.ok()) return Annotate(held.status(), source);
  if (auto* certificates = std::get_if<std::vector<x509::Certificate>>(&*held)) {
    return std::move(*certificates);
  }
  return absl::InvalidArgumentError(
      absl::StrCat(source, ": a certificate signing request, not a certificate"));
}

absl::StatusOr<std::vector<x509::Certificate>> FetchChain(const Endpoint& endpoint) {
  x509::HandshakeOptions options;
  options.host = endpoint.host;
  options.port = endpoint.port;
  if (!IsIpAddress(endpoint.host)) options.server_name = endpoint.host;
  absl::StatusOr<x509::HandshakeResult> result = x509::Handshake(options);
  const std::string name = absl::StrCat(endpoint.host, ":", endpoint.port);
  if (!result.ok()) return Annotate(result.status(), name);
  if (result->served_chain.empty()) {
    return absl::UnavailableError(absl::StrCat(name, ": the server sent no certificate"));
  }
  return std::move(result->served_chain);
}

}  // namespace capstan::cli
