// SPDX-License-Identifier: Apache-2.0
#include "x509/name_constraints.h"

#include <algorithm>

#include "base/status.h"
#include "x509/der.h"

namespace capstan::x509 {
namespace {

constexpr uint8_t kUri = der::Primitive(6);
constexpr uint8_t kIp = der::Primitive(7);

absl::Status ReadSubtrees(der::Reader list, std::vector<std::string>& hosts, bool& has_ips) {
  while (!list.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader subtree, list.Enter(der::kSequence, "nameConstraints"));
    CAPSTAN_ASSIGN_OR_RETURN(der::Item base, subtree.ReadAny("base of nameConstraints"));
    if (!subtree.empty()) {
      return subtree.ErrorAt(base.full, "nameConstraints with a minimum or a maximum");
    }
    if (base.tag == kUri) hosts.emplace_back(base.content);
    if (base.tag == kIp) has_ips = true;
  }
  return absl::OkStatus();
}

bool Matches(std::string_view host, std::string_view base) {
  const std::string folded = absl::AsciiStrToLower(base);
  const std::string name = absl::AsciiStrToLower(host);
  if (folded.starts_with('.')) return name.size() > folded.size() && name.ends_with(folded);
  return name == folded;
}

}  // namespace

bool NameConstraints::AdmitsUriHost(std::string_view host) const {
  const auto matches = [&](const std::string& base) { return Matches(host, base); };
  if (std::any_of(excluded_uri_hosts.begin(), excluded_uri_hosts.end(), matches)) return false;
  return permitted_uri_hosts.empty() ||
         std::any_of(permitted_uri_hosts.begin(), permitted_uri_hosts.end(), matches);
}

absl::StatusOr<NameConstraints> ParseNameConstraints(std::string_view der) {
  NameConstraints parsed;
  der::Reader outer(der);
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader fields, outer.Enter(der::kSequence, "nameConstraints"));
  CAPSTAN_RETURN_IF_ERROR(outer.ExpectEnd("nameConstraints"));
  if (fields.NextTag() == der::Constructed(0)) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader list, fields.Enter(der::Constructed(0), "permitted"));
    CAPSTAN_RETURN_IF_ERROR(ReadSubtrees(list, parsed.permitted_uri_hosts, parsed.constrains_ips));
  }
  if (fields.NextTag() == der::Constructed(1)) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader list, fields.Enter(der::Constructed(1), "excluded"));
    CAPSTAN_RETURN_IF_ERROR(ReadSubtrees(list, parsed.excluded_uri_hosts, parsed.constrains_ips));
  }
  CAPSTAN_RETURN_IF_ERROR(fields.ExpectEnd("nameConstraints"));
  return parsed;
}

}  // namespace capstan::x509
