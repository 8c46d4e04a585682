// SPDX-License-Identifier: Apache-2.0
#include "x509/ip_text.h"

#include <arpa/inet.h>

#include <array>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace capstan::x509 {
namespace {

constexpr std::string_view kMappedPrefix{"\0\0\0\0\0\0\0\0\0\0\xff\xff", 12};
constexpr int kGroups = 8;

std::string FourToText(std::string_view octets) {
  const auto octet = [&](int i) { return static_cast<int>(static_cast<uint8_t>(octets[i])); };
  return absl::StrCat(octet(0), ".", octet(1), ".", octet(2), ".", octet(3));
}

// The first longest run of at least two zero groups: {start, length}.
std::pair<int, int> LongestZeroRun(const std::array<int, kGroups>& groups) {
  std::pair<int, int> best{-1, 1};
  for (int i = 0; i < kGroups;) {
    int end = i;
    while (end < kGroups && groups[end] == 0) {
      ++end;
    }
    if (end - i > best.second) {
      best = {i, end - i};
    }
    i = end + 1;
  }
  return best;
}

std::string SixteenToText(std::string_view octets) {
  std::array<int, kGroups> groups;
  for (int i = 0; i < kGroups; ++i) {
    groups[i] = static_cast<uint8_t>(octets[2 * i]) << 8 | static_cast<uint8_t>(octets[2 * i + 1]);
  }
  const auto [start, length] = LongestZeroRun(groups);
  std::string text;
  for (int i = 0; i < kGroups; ++i) {
    if (i == start) {
      text += "::";
      i += length - 1;
      continue;
    }
    if (!text.empty() && text.back() != ':') {
      text += ":";
    }
    absl::StrAppend(&text, absl::Hex(groups[i]));
  }
  return text;
}

}  // namespace

absl::StatusOr<std::string> IpFromText(std::string_view text) {
  const std::string terminated(text);
  const bool whole = terminated.find('\0') == std::string::npos;
  std::string octets(16, '\0');
  if (whole && inet_pton(AF_INET, terminated.c_str(), octets.data()) == 1) {
    return octets.substr(0, 4);
  }
  if (whole && inet_pton(AF_INET6, terminated.c_str(), octets.data()) == 1) {
    return absl::StartsWith(octets, kMappedPrefix) ? octets.substr(12) : octets;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", absl::CHexEscape(text), "\" is no IP address"));
}

std::optional<std::string> IpToText(std::string_view octets) {
  if (octets.size() == 4) {
    return FourToText(octets);
  }
  if (octets.size() != 16) {
    return std::nullopt;
  }
  return absl::StartsWith(octets, kMappedPrefix) ? FourToText(octets.substr(12))
                                                 : SixteenToText(octets);
}

}  // namespace capstan::x509
