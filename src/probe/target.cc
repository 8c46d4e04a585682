// SPDX-License-Identifier: Apache-2.0
#include "probe/target.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"

namespace capstan::probe {
namespace {

constexpr size_t kMostHost = 253;  // of a DNS name
constexpr size_t kMostAlpnName = 255;
constexpr size_t kMostText = 512;  // of a target, which names it in reports
constexpr int kLastPort = 65535;

constexpr std::string_view kSni = "sni=";
constexpr std::string_view kAlpn = "alpn=";

absl::Status Wrong(std::string_view part, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", part, "\" ", why, "; a target is HOST:PORT[,sni=NAME][,alpn=PROTOCOL]"));
}

bool IsVisible(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

absl::StatusOr<ProbeTarget> ParseAddress(std::string_view part) {
  const size_t colon = part.rfind(':');
  if (colon == std::string_view::npos) return Wrong(part, "names no port");
  ProbeTarget target;
  if (!absl::SimpleAtoi(part.substr(colon + 1), &target.port) || target.port < 1 ||
      target.port > kLastPort) {
    return Wrong(part, "has a port that is not 1 to 65535");
  }
  std::string_view host = part.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return Wrong(part, "has an IPv6 address without brackets ([::1]:15006)");
  }
  if (host.empty() || host.size() > kMostHost || host.find_first_of("[]") != host.npos) {
    return Wrong(part, "names no host");
  }
  target.host = std::string(host);
  return target;
}

absl::Status ParseDetail(std::string_view part, ProbeTarget& target) {
  std::string_view value = part;
  if (absl::ConsumePrefix(&value, kSni)) {
    if (!target.server_name.empty()) return Wrong(part, "is the second server name of its target");
    if (value.empty() || value.size() > kMostHost) return Wrong(part, "gives no server name");
    target.server_name = std::string(value);
    return absl::OkStatus();
  }
  absl::ConsumePrefix(&value, kAlpn);
  if (value.empty() || value.size() > kMostAlpnName) {
    return Wrong(part, "gives no protocol of 1 to 255 bytes");
  }
  target.alpn.emplace_back(value);
  return absl::OkStatus();
}

}  // namespace

std::string ToString(const ProbeTarget& target) {
  const bool bare = target.host.find(':') == std::string::npos;
  std::string text = absl::StrCat(bare ? "" : "[", target.host, bare ? "" : "]", ":", target.port);
  if (!target.server_name.empty()) absl::StrAppend(&text, ",", kSni, target.server_name);
  for (const std::string& name : target.alpn) absl::StrAppend(&text, ",", kAlpn, name);
  return text;
}

absl::StatusOr<std::vector<ProbeTarget>> ParseProbeTargets(std::string_view text) {
  std::vector<ProbeTarget> targets;
  for (const absl::string_view piece : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    const std::string_view part = absl::StripAsciiWhitespace(Std(piece));
    if (!IsVisible(part))
      return Wrong(absl::CHexEscape(part), "holds blanks or bytes that are no text");
    if (part.starts_with(kSni) || part.starts_with(kAlpn)) {
      if (targets.empty()) return Wrong(part, "comes before any HOST:PORT");
      CAPSTAN_RETURN_IF_ERROR(ParseDetail(part, targets.back()));
      continue;
    }
    CAPSTAN_ASSIGN_OR_RETURN(ProbeTarget target, ParseAddress(part));
    targets.push_back(std::move(target));
  }
  if (targets.size() > kMostProbeTargets) {
    return absl::InvalidArgumentError(
        absl::StrCat(targets.size(), " targets; at most ", kMostProbeTargets, " are probed"));
  }
  for (auto target = targets.begin(); target != targets.end(); ++target) {
    const std::string name = ToString(*target);
    if (name.size() > kMostText) return Wrong(name, "is longer than 512 bytes");
    if (std::find(targets.begin(), target, *target) != target) return Wrong(name, "is there twice");
  }
  return targets;
}

}  // namespace capstan::probe
