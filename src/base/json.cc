// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace capstan {
namespace {

constexpr int kMaxDepth = 100;

// The byte at which `text` nests deeper than kMaxDepth. Does not judge anything else.
std::optional<size_t> TooDeepAt(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        quoted = false;
      }
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth) return i;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text, std::string_view what) {
  if (const std::optional<size_t> byte = TooDeepAt(text)) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": byte ", *byte, ": nested deeper than ", kMaxDepth, " levels"));
  }
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": byte ", error.byte, ": not valid JSON",
                                                   text.empty() ? " (it is empty)" : ""));
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": not valid JSON: ", error.what()));
  }
}

const Json* Member(const Json& value, std::string_view name) {
  if (!value.is_object()) return nullptr;
  const auto found = value.find(std::string(name));
  return found == value.end() ? nullptr : &*found;
}

const Json* MemberAt(const Json& value, std::initializer_list<std::string_view> path) {
  const Json* at = &value;
  for (const std::string_view name : path) {
    at = Member(*at, name);
    if (at == nullptr) return nullptr;
  }
  return at;
}

std::string TextAt(const Json& value, std::initializer_list<std::string_view> path) {
  const Json* text = MemberAt(value, path);
  return text != nullptr && text->is_string() ? text->get<std::string>() : "";
}

}  // namespace capstan
