// SPDX-License-Identifier: Apache-2.0
#include "cli/pki_subject.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace capstan::cli {
namespace {

absl::Status Refuse(std::string_view subject, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("--subject \"", absl::CHexEscape(subject), "\": ",
                                                 why, "; write it like /O=Istio/CN=httpbin"));
}

}  // namespace

absl::StatusOr<x509::Name> ParseSubject(std::string_view text) {
  if (!text.starts_with('/')) return Refuse(text, "it does not begin with \"/\"");
  x509::Name name;
  std::pair<std::string, std::string> attribute;
  std::string* part = nullptr;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '/') {
      if (part == &attribute.first) return Refuse(text, "an attribute has no \"=\"");
      if (part != nullptr) name.attributes.push_back(std::exchange(attribute, {}));
      part = &attribute.first;
    } else if (c == '=' && part == &attribute.first) {
      part = &attribute.second;
    } else if (c == '\\') {
      if (++i == text.size()) return Refuse(text, "a backslash ends it");
      part->push_back(text[i]);
    } else {
      part->push_back(c);
    }
  }
  if (part == &attribute.first) return Refuse(text, "an attribute has no \"=\"");
  name.attributes.push_back(std::move(attribute));
  if (const auto encoded = name.ToDer(); !encoded.ok()) {
    return Refuse(text, Std(encoded.status().message()));
  }
  return name;
}

}  // namespace capstan::cli
