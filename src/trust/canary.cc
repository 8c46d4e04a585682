// SPDX-License-Identifier: Apache-2.0
#include "trust/canary.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/jitter.h"
#include "base/strings.h"

namespace capstan::trust {
namespace {

constexpr std::string_view kNamespace = "namespace=";
constexpr std::string_view kPercent = "percent=";

// What a segment of a SPIFFE ID's path may hold.
bool IsSegmentCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.';
}

absl::Status Wrong(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("the canary \"", absl::CEscape(text), "\" ", why,
                   ": it is namespace=NAME, or percent=N with N from 1 to 100"));
}

}  // namespace

absl::StatusOr<Canary> Canary::Parse(std::string_view text) {
  Canary canary;
  if (text.starts_with(kNamespace)) {
    const std::string_view name = text.substr(kNamespace.size());
    if (name.empty() || !std::all_of(name.begin(), name.end(), IsSegmentCharacter)) {
      return Wrong(text, "names no namespace");
    }
    canary.namespace_ = std::string(name);
    return canary;
  }
  if (!text.starts_with(kPercent)) return Wrong(text, "selects by nothing that is known");
  if (!absl::SimpleAtoi(text.substr(kPercent.size()), &canary.percent_) || canary.percent_ < 1 ||
      canary.percent_ > 100) {
    return Wrong(text, "has no such percentage");
  }
  return canary;
}

bool Canary::Selects(std::string_view spiffe_id) const {
  if (!namespace_.empty()) return NamespaceOf(spiffe_id) == namespace_;
  return Jitter(spiffe_id, "canary") * 100 < percent_;
}

std::string Canary::ToString() const {
  return namespace_.empty() ? absl::StrCat(kPercent, percent_)
                            : absl::StrCat(kNamespace, namespace_);
}

std::string_view NamespaceOf(std::string_view spiffe_id) {
  constexpr std::string_view kScheme = "spiffe://";
  constexpr std::string_view kMark = "/ns/";
  if (!spiffe_id.starts_with(kScheme)) return "";
  const size_t path = spiffe_id.find('/', kScheme.size());
  if (path == std::string_view::npos || !spiffe_id.substr(path).starts_with(kMark)) return "";
  const std::string_view rest = spiffe_id.substr(path + kMark.size());
  return rest.substr(0, rest.find('/'));
}

}  // namespace capstan::trust
