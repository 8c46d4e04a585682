// SPDX-License-Identifier: Apache-2.0
#include "envoy/admin.h"

#include <curl/curl.h>

#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
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

struct Received {
  std::string body;
  size_t max_bytes;
  bool too_long = false;
};

size_t OnBytes(char* bytes, size_t size, size_t count, void* context) {
  auto& received = *static_cast<Received*>(context);
  const size_t length = size * count;
  if (length > received.max_bytes - received.body.size()) {
    received.too_long = true;
    return 0;  // ends the transfer
  }
  received.body.append(bytes, length);
  return length;
}

struct Answer {
  long status;  // NOLINT(google-runtime-int): libcurl's type
  std::string body;
};

absl::Status TransferError(CURLcode code, const Received& received, std::string_view what) {
  if (received.too_long) {
    return absl::ResourceExhaustedError(
        absl::StrCat(what, ": the answer is longer than ", received.max_bytes, " bytes"));
  }
  const std::string message = absl::StrCat(what, ": ", curl_easy_strerror(code));
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return absl::DeadlineExceededError(message);
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
      return absl::UnavailableError(
          absl::StrCat(message, "; is an Envoy running, and is this its admin address?"));
    default:
      return absl::InternalError(message);
  }
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

absl::StatusOr<Answer> Fetch(std::string_view address, std::string_view path,
                             const AdminOptions& options) {
  CAPSTAN_ASSIGN_OR_RETURN(Target target, ParseTarget(address));
  CAPSTAN_RETURN_IF_ERROR(CheckPath(path));
  // The first call may not race with another one: a function-local static is initialized once.
  static const CURLcode initialized = curl_global_init(CURL_GLOBAL_DEFAULT);
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), curl_easy_cleanup);
  if (initialized != CURLE_OK || curl == nullptr) {
    return absl::InternalError("libcurl does not start");
  }
  const std::string url = absl::StrCat(target.base_url, path);
  Received received{.body = "", .max_bytes = options.max_bytes};
  CURL* handle = curl.get();
  curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
  if (!target.socket_path.empty()) {
    curl_easy_setopt(handle, CURLOPT_UNIX_SOCKET_PATH, target.socket_path.c_str());
  }
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http");
  curl_easy_setopt(handle, CURLOPT_PROXY, "");
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(absl::ToInt64Milliseconds(options.connect_timeout)));
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS,
                   static_cast<long>(absl::ToInt64Milliseconds(options.timeout)));
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, OnBytes);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &received);
  const CURLcode code = curl_easy_perform(handle);
  if (code != CURLE_OK) {
    return TransferError(code, received, absl::StrCat("Envoy admin ", address, " ", path));
  }
  Answer answer{.status = 0, .body = std::move(received.body)};
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &answer.status);
  return answer;
}

std::string FirstLine(std::string_view body) {
  const std::string_view line = body.substr(0, body.find_first_of("\r\n"));
  return absl::CEscape(line.substr(0, 200));
}

std::string WithFilter(std::string_view path, char separator, std::string_view filter) {
  if (filter.empty()) return std::string(path);
  return absl::StrCat(path, std::string(1, separator), "filter=", QueryEscape(filter));
}

}  // namespace

std::string QueryEscape(std::string_view text) {
  std::string escaped;
  for (char c : text) {
    if (absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~') {
      escaped += c;
    } else {
      absl::StrAppend(&escaped, "%", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
    }
  }
  return escaped;
}

AdminClient::AdminClient(std::string address, AdminOptions options)
    : address_(std::move(address)), options_(options) {}

absl::StatusOr<std::string> AdminClient::Get(std::string_view path) const {
  CAPSTAN_ASSIGN_OR_RETURN(Answer answer, Fetch(address_, path, options_));
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
  CAPSTAN_ASSIGN_OR_RETURN(Answer answer, Fetch(address_, "/ready", options_));
  const std::string_view said = absl::StripAsciiWhitespace(std::string_view(answer.body));
  if (answer.status == 200 && said == "LIVE") return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("Envoy at ", address_, " is not ready: ", FirstLine(said)));
}

}  // namespace capstan::envoy
