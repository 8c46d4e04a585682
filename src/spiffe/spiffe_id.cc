// SPDX-License-Identifier: Apache-2.0
#include "spiffe/spiffe_id.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace capstan::spiffe {
namespace {

constexpr std::string_view kScheme = "spiffe://";
constexpr size_t kMaxTrustDomainBytes = 255;
constexpr size_t kMaxIdBytes = 2048;

bool IsTrustDomainCharacter(char c) {
  return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '.' || c == '-' || c == '_';
}

bool IsPathCharacter(char c) {
  return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
}

// SPIFFE-ID.md section 2.2. `path` is empty or begins with '/'.
absl::Status CheckPath(std::string_view path) {
  if (path.empty()) return absl::OkStatus();
  size_t segment_start = 1;
  auto check_segment = [&](size_t end) -> absl::Status {
    std::string_view segment = path.substr(segment_start, end - segment_start);
    if (segment.empty()) return absl::InvalidArgumentError("path cannot contain empty segments");
    if (segment == "." || segment == "..") {
      return absl::InvalidArgumentError("path cannot contain dot segments");
    }
    return absl::OkStatus();
  };
  for (size_t i = 1; i < path.size(); ++i) {
    if (path[i] == '/') {
      CAPSTAN_RETURN_IF_ERROR(check_segment(i));
      segment_start = i + 1;
    } else if (!IsPathCharacter(path[i])) {
      return absl::InvalidArgumentError(
          "path segment characters are limited to letters, numbers, dots, dashes, and underscores");
    }
  }
  if (segment_start == path.size()) {
    return absl::InvalidArgumentError("path cannot have a trailing slash");
  }
  return check_segment(path.size());
}

}  // namespace

absl::StatusOr<TrustDomain> TrustDomain::Parse(std::string_view name) {
  if (name.empty()) return absl::InvalidArgumentError("trust domain is missing");
  if (name.size() > kMaxTrustDomainBytes) {
    return absl::InvalidArgumentError("trust domain is longer than 255 bytes");
  }
  for (char c : name) {
    if (!IsTrustDomainCharacter(c)) {
      return absl::InvalidArgumentError(
          "trust domain characters are limited to lowercase letters, numbers, dots, dashes, and "
          "underscores");
    }
  }
  return TrustDomain(std::string(name));
}

std::string TrustDomain::IdString() const {
  return absl::StrCat(kScheme, name_);
}

absl::StatusOr<SpiffeId> SpiffeId::Parse(std::string_view uri) {
  if (uri.empty()) return absl::InvalidArgumentError("cannot be empty");
  if (uri.size() > kMaxIdBytes) return absl::InvalidArgumentError("longer than 2048 bytes");
  if (!absl::StartsWith(uri, kScheme)) {
    return absl::InvalidArgumentError("scheme is missing or invalid");
  }
  std::string_view rest = uri.substr(kScheme.size());
  size_t slash = rest.find('/');
  CAPSTAN_ASSIGN_OR_RETURN(TrustDomain trust_domain, TrustDomain::Parse(rest.substr(0, slash)));
  std::string_view path = slash == std::string_view::npos ? std::string_view() : rest.substr(slash);
  CAPSTAN_RETURN_IF_ERROR(CheckPath(path));
  return SpiffeId(std::move(trust_domain), std::string(path));
}

absl::StatusOr<SpiffeId> SpiffeId::ForServiceAccount(const TrustDomain& trust_domain,
                                                     std::string_view ns,
                                                     std::string_view account) {
  if (absl::StrContains(ns, '/') || absl::StrContains(account, '/')) {
    return absl::InvalidArgumentError("a namespace or service account cannot contain a slash");
  }
  return Parse(absl::StrCat(trust_domain.IdString(), "/ns/", ns, "/sa/", account));
}

SpiffeId SpiffeId::ForControlPlane(const TrustDomain& trust_domain) {
  return SpiffeId(trust_domain, "/capstan/control-plane");
}

SpiffeId SpiffeId::ForTrustHistory(const TrustDomain& trust_domain) {
  return SpiffeId(trust_domain, "/capstan/trust-history");
}

SpiffeId SpiffeId::ForProbe(const TrustDomain& trust_domain) {
  return SpiffeId(trust_domain, "/capstan/probe");
}

bool SpiffeId::IsReserved() const {
  return path_ == "/capstan" || absl::StartsWith(path_, "/capstan/");
}

}  // namespace capstan::spiffe
