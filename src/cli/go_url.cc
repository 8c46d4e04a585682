// SPDX-License-Identifier: Apache-2.0
#include "cli/go_url.h"

#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace capstan::cli {
namespace {

bool IsUnreserved(char c) {
  return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~';
}

std::string Unescaped(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && absl::ascii_isxdigit(text[i + 1]) &&
        absl::ascii_isxdigit(text[i + 2])) {
      plain += absl::HexStringToBytes(text.substr(i + 1, 2));
      i += 2;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

std::string Escaped(std::string_view text, std::string_view allowed) {
  static constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string escaped;
  for (char c : text) {
    if (IsUnreserved(c) || allowed.find(c) != std::string_view::npos) {
      escaped += c;
    } else {
      const auto byte = static_cast<uint8_t>(c);
      escaped += '%';
      escaped += kDigits[byte >> 4];
      escaped += kDigits[byte & 15];
    }
  }
  return escaped;
}

// As written where every character may stand there, else escaped anew. `allowed`: what Go leaves
// alone besides the unreserved when it escapes.
std::string Component(std::string_view text, std::string_view allowed) {
  static constexpr std::string_view kTolerated = "!$&'()*+,;=:@[]%";
  for (char c : text) {
    if (!IsUnreserved(c) && allowed.find(c) == std::string_view::npos &&
        kTolerated.find(c) == std::string_view::npos) {
      return Escaped(Unescaped(text), allowed);
    }
  }
  return std::string(text);
}

// Takes "scheme:" off `uri`; "" where there is none.
std::string_view TakeScheme(std::string_view& uri) {
  for (size_t i = 0; i < uri.size(); ++i) {
    const char c = uri[i];
    if (c == ':' && i > 0) {
      const std::string_view scheme = uri.substr(0, i);
      uri.remove_prefix(i + 1);
      return scheme;
    }
    const bool valid = absl::ascii_isalpha(c) ||
                       (i > 0 && (absl::ascii_isdigit(c) || c == '+' || c == '-' || c == '.'));
    if (!valid) break;
  }
  return "";
}

// Cuts `text` before the first `separator`; the rest, separator included, is given back.
std::string_view CutBefore(std::string_view& text, char separator) {
  const size_t at = std::min(text.find(separator), text.size());
  const std::string_view tail = text.substr(at);
  text = text.substr(0, at);
  return tail;
}

}  // namespace

std::string GoUrlString(std::string_view uri) {
  const std::string_view fragment = CutBefore(uri, '#');
  const std::string_view scheme = TakeScheme(uri);
  const std::string_view query = CutBefore(uri, '?');
  std::string text;
  if (!scheme.empty()) absl::StrAppend(&text, absl::AsciiStrToLower(scheme), ":");
  if (!scheme.empty() && !uri.starts_with('/')) {
    absl::StrAppend(&text, uri);  // opaque: "urn:example:a"
  } else {
    if (uri.starts_with("//")) {
      std::string_view authority = uri.substr(2);
      uri = CutBefore(authority, '/');
      if (!authority.empty() || !uri.empty()) absl::StrAppend(&text, "//", authority);
    }
    absl::StrAppend(&text, Component(uri, "$&+,/:;=@"));
  }
  absl::StrAppend(&text, query);
  if (fragment.size() > 1) {
    absl::StrAppend(&text, "#", Component(fragment.substr(1), "$&+,/:;=?@!()*"));
  }
  return text;
}

}  // namespace capstan::cli
