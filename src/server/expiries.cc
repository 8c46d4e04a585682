// SPDX-License-Identifier: Apache-2.0
#include "server/expiries.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "base/strings.h"

namespace capstan::server {
namespace {

using Found = std::map<std::pair<std::string, std::string>, absl::Time>;

void Add(Found& found, const std::string& what, const std::string& id, absl::Time at) {
  const auto [there, added] = found.emplace(std::make_pair(what, id), at);
  if (!added) there->second = std::min(there->second, at);
}

void AddAuthority(Found& found, const rotation::Standing& standing) {
  using trust::AuthorityState;
  if (standing.state == AuthorityState::kRetired || standing.state == AuthorityState::kRevoked) {
    return;
  }
  const trust::Authority& authority = standing.authority;
  Add(found, standing.state == AuthorityState::kActive ? "issuer" : "authority", authority.id.hex(),
      authority.certificate.not_after());
  for (const x509::Certificate& link : authority.intermediates) {
    Add(found, "intermediate", link.FingerprintHex(), link.not_after());
  }
  Add(found, "root", authority.root.FingerprintHex(), authority.root.not_after());
}

// It refused something, and has accepted nothing that counts since.
bool Refuses(const fleet::Consumer& consumer) {
  return consumer.connected && consumer.last_nack.has_value() &&
         (consumer.acknowledged_bundle.sequence == 0 ||
          consumer.acknowledged_at < consumer.last_nack->at);
}

}  // namespace

Survey SurveyOf(const std::map<fleet::Key, fleet::Workload>& workloads) {
  Survey survey;
  for (const auto& [key, workload] : workloads) {
    if (!workload.connected() || !workload.report.has_value()) continue;
    const fleet::Report& report = *workload.report;
    if (!report.leaf.empty()) {
      survey.first_leaf = std::min(survey.first_leaf, report.leaf.not_after);
    }
    survey.refusing += std::count_if(report.consumers.begin(), report.consumers.end(), Refuses);
  }
  return survey;
}

std::vector<Expiry> ExpiriesOf(const rotation::Situation& situation, absl::Time serving_not_after,
                               const Survey& survey) {
  Found found;
  for (const x509::Certificate& root : situation.trust.bundle.roots()) {
    Add(found, "root", root.FingerprintHex(), root.not_after());
  }
  for (const auto& [id, standing] : situation.authorities) AddAuthority(found, standing);
  Add(found, "serving", "serving", serving_not_after);
  for (const x509::Crl& crl : situation.trust.crls) {
    if (crl.next_update().has_value()) {
      Add(found, "crl", absl::BytesToHexString(crl.authority_key_id()), *crl.next_update());
    }
  }
  if (survey.first_leaf != absl::InfiniteFuture()) Add(found, "leaf", "first", survey.first_leaf);
  std::vector<Expiry> expiries;
  for (const auto& [name, at] : found) expiries.push_back({name.first, name.second, at});
  return expiries;
}

std::map<GaugeSet::Labels, double> ExpiryGauges(const std::vector<Expiry>& expiries) {
  std::map<GaugeSet::Labels, double> gauges;
  for (const Expiry& expiry : expiries) {
    gauges[{{"what", expiry.what}, {"id", expiry.id}}] =
        static_cast<double>(absl::ToUnixSeconds(expiry.at));
  }
  return gauges;
}

}  // namespace capstan::server
