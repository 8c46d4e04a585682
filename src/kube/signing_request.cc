// SPDX-License-Identifier: Apache-2.0
#include "kube/signing_request.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "kube/resource.h"

namespace capstan::kube {
namespace {

bool HasCondition(const Json& conditions, std::string_view type) {
  return conditions.is_array() &&
         std::any_of(conditions.begin(), conditions.end(),
                     [&](const Json& condition) { return TextAt(condition, {"type"}) == type; });
}

Json Patch(const SigningRequest& request, Json status) {
  return {{"metadata", {{"resourceVersion", request.resource_version}}},
          {"status", std::move(status)}};
}

}  // namespace

absl::StatusOr<SigningRequest> SigningRequestOf(const Json& object) {
  SigningRequest request;
  request.name = NameOf(object).name;
  request.uid = Metadata(object, "uid");
  request.resource_version = Metadata(object, "resourceVersion");
  const Json* spec = Member(object, "spec");
  if (spec == nullptr || !absl::Base64Unescape(TextAt(*spec, {"request"}), &request.csr)) {
    return absl::InvalidArgumentError(
        absl::StrCat("CertificateSigningRequest ", request.name, ": spec.request is no base64"));
  }
  request.username = TextAt(*spec, {"username"});
  if (const Json* usages = Member(*spec, "usages"); usages != nullptr && usages->is_array()) {
    for (const Json& usage : *usages) {
      if (usage.is_string()) request.usages.push_back(usage.get<std::string>());
    }
  }
  if (const Json* seconds = Member(*spec, "expirationSeconds");
      seconds != nullptr && seconds->is_number_integer()) {
    request.expiration = absl::Seconds(seconds->get<int64_t>());
  }
  if (const Json* status = Member(object, "status"); status != nullptr) {
    if (const Json* conditions = Member(*status, "conditions"); conditions != nullptr) {
      request.conditions = *conditions;
    }
    request.closed = !TextAt(*status, {"certificate"}).empty() ||
                     HasCondition(request.conditions, "Denied") ||
                     HasCondition(request.conditions, "Failed");
  }
  request.approved = HasCondition(request.conditions, "Approved");
  return request;
}

Json CertificatePatch(const SigningRequest& request, const std::string& chain_pem) {
  return Patch(request, {{"certificate", absl::Base64Escape(chain_pem)}});
}

Json FailedPatch(const SigningRequest& request, const std::string& reason,
                 const std::string& message, absl::Time now) {
  const std::string at = absl::FormatTime("%Y-%m-%d%ET%H:%M:%SZ", now, absl::UTCTimeZone());
  // A merge patch replaces a list as a whole.
  Json conditions = request.conditions.is_array() ? request.conditions : Json::array();
  conditions.push_back({{"type", "Failed"},
                        {"status", "True"},
                        {"reason", reason},
                        {"message", message},
                        {"lastUpdateTime", at},
                        {"lastTransitionTime", at}});
  return Patch(request, {{"conditions", std::move(conditions)}});
}

}  // namespace capstan::kube
