// SPDX-License-Identifier: Apache-2.0
#include "envoy/admin.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/http_client.h"
#include "base/status.h"

namespace capstan::envoy {
namespace {

struct Target {
  std::string base_url;     // "http://127.0.0.1:15000"
  std::string socket_path;  // empty: TCP
};

absl::Status BadAddress(std::string_view address) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", absl::CEscape(address),
                   "\" is no Envoy admin address: write HOST:PORT, or the path of a Unix socket"));
}

bool IsHostCharacter(char c) {
  return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
}
bool IsIpv6Character(char c) {
  return absl::ascii_isxdigit(c) || c == ':' || c == '.';
}

template <typename Predicate>
bool All(std::string_view text, Predicate predicate) {
  for (char c : text) {
    if (!predicate(c)) return false;
  }
  return !text.empty();
}

absl::StatusOr<Target> ParseTarget(std::string_view address) {
  std::string_view rest = address;
  if (absl::ConsumePrefix(&rest, "unix://") || absl::ConsumePrefix(&rest, "unix:") ||
      absl::StartsWith(rest, "/")) {
    if (!absl::StartsWith(rest, "/")) return BadAddress(address);
    return Target{"http://localhost", std::string(rest)};
  }
  absl::ConsumePrefix(&rest, "http://");
  absl::ConsumeSuffix(&rest, "/");
  const size_t colon = rest.rfind(':');
  int port = 0;
  if (colon == std::string_view::npos || !All(rest.substr(colon + 1), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(rest.substr(colon + 1), &port) || port < 1 || port > 65535) {
    return BadAddress(address);
  }
  std::string_view host = rest.substr(0, colon);
  std::string_view inner = host;
  const bool bracketed = absl::ConsumePrefix(&inner, "[") && absl::ConsumeSuffix(&inner, "]");
  if (bracketed ? !All(inner, IsIpv6Character) : !All(host, IsHostCharacter)) {
    return BadAddress(address);
  }
  return Target{absl::StrCat("http://", host, ":", port), ""};
}

absl::Status CheckPath(std::string_view path) {
  if (!absl::StartsWith(path, "/")) {
    return absl::InvalidArgumentError(
        absl::StrCat("admin path \"", path, "\" lacks its leading /"));
  }
  if (!All(path, [](char c) { return absl::ascii_isgraph(c); })) {
    return absl::InvalidArgumentError(absl::StrCat(
        "admin path \"", absl::CEscape(path), "\" has a space, control or non-ASCII character"));
  }
  return absl::OkStatus();
}

absl::StatusOr<HttpReply> Fetch(std::string_view address, std::string_view path,
                                const AdminOptions& options) {
  CAPSTAN_ASSIGN_OR_RETURN(Target target, ParseTarget(address));
  CAPSTAN_RETURN_IF_ERROR(CheckPath(path));
  HttpRequest request;
  request.url = absl::StrCat(target.base_url, path);
  request.unix_socket = target.socket_path;
  request.connect_timeout = options.connect_timeout;
  request.timeout = options.timeout;
  request.max_bytes = options.max_bytes;
  absl::StatusOr<HttpReply> reply = HttpClient().Call(request);
  if (reply.ok()) return reply;
  const absl::Status status =
      Annotate(reply.status(), absl::StrCat("Envoy admin ", address, " ", path));
  if (!absl::IsUnavailable(status)) return status;
  return absl::UnavailableError(
      absl::StrCat(status.message(), "; is an Envoy running, and is this its admin address?"));
}

std::string FirstLine(std::string_view body) {
  const std::string_view line = body.substr(0, body.find_first_of("\r\n"));
  return absl::CEscape(line.substr(0, 200));
}

std::string WithFilter(std::string_view path, char separator, std::string_view filter) {
  if (filter.empty()) return std::string(path);
  return absl::StrCat(path, std::string(1, separator), "filter=", UrlEscape(filter));
}

}  // namespace

AdminClient::AdminClient(std::string address, AdminOptions options)
    : address_(std::move(address)), options_(options) {}

absl::StatusOr<std::string> AdminClient::Get(std::string_view path) const {
  CAPSTAN_ASSIGN_OR_RETURN(HttpReply answer, Fetch(address_, path, options_));
  if (answer.status == 200) return std::move(answer.body);
  const std::string message = absl::StrCat("Envoy admin ", address_, " ", path, ": HTTP status ",
                                           answer.status, ": ", FirstLine(answer.body));
  switch (answer.status) {
    case 400:
      return absl::InvalidArgumentError(message);
    case 404:
      return absl::NotFoundError(message);
    case 503:
      return absl::UnavailableError(message);
    default:
      return absl::InternalError(message);
  }
}

absl::StatusOr<Counters> AdminClient::Stats(std::string_view filter) const {
  CAPSTAN_ASSIGN_OR_RETURN(std::string body, Get(WithFilter("/stats?format=json", '&', filter)));
  return ParseStatsJson(body);
}

absl::StatusOr<std::vector<Sample>> AdminClient::Samples(std::string_view filter) const {
  CAPSTAN_ASSIGN_OR_RETURN(std::string body, Get(WithFilter("/stats/prometheus", '?', filter)));
  return ParsePrometheus(body);
}

absl::StatusOr<std::vector<HeldSecret>> AdminClient::Secrets() const {
  CAPSTAN_ASSIGN_OR_RETURN(std::string body, Get(kSecretsPath));
  return ParseSecrets(body);
}

absl::Status AdminClient::Ready() const {
  CAPSTAN_ASSIGN_OR_RETURN(HttpReply answer, Fetch(address_, "/ready", options_));
  const std::string_view said = absl::StripAsciiWhitespace(std::string_view(answer.body));
  if (answer.status == 200 && said == "LIVE") return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("Envoy at ", address_, " is not ready: ", FirstLine(said)));
}

}  // namespace capstan::envoy
