// SPDX-License-Identifier: Apache-2.0
#include "server/records.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace capstan::server {
namespace {

absl::Status Damaged(std::string_view what, const absl::Status& why) {
  return absl::DataLossError(absl::StrCat("the state's ", what, " does not read back (",
                                          why.message(),
                                          "); put the state database back from a backup"));
}

absl::StatusOr<trust::AuthorityId> IdOf(const std::string& hex, std::string_view what) {
  absl::StatusOr<trust::AuthorityId> id = trust::AuthorityId::Parse(hex);
  if (!id.ok()) return Damaged(what, id.status());
  return id;
}

absl::StatusOr<trust::Bundle> BundleOf(const std::string& pem) {
  if (pem.empty()) return trust::Bundle();
  absl::StatusOr<trust::Bundle> bundle = trust::Bundle::ParsePem(pem);
  if (!bundle.ok()) return Damaged("bundle", bundle.status());
  return bundle;
}

absl::StatusOr<std::vector<x509::Crl>> CrlsOf(const std::string& pem) {
  if (pem.empty()) return std::vector<x509::Crl>();
  absl::StatusOr<std::vector<x509::Crl>> crls = x509::ParsePemCrls(pem);
  if (!crls.ok()) return Damaged("CRLs", crls.status());
  return crls;
}

}  // namespace

absl::StatusOr<trust::Authority> AuthorityOf(const store::AuthorityRecord& record) {
  absl::StatusOr<std::vector<x509::Certificate>> chain =
      x509::ParsePemCertificates(record.chain_pem);
  if (!chain.ok()) return Damaged(absl::StrCat("authority ", record.id), chain.status());
  CAPSTAN_ASSIGN_OR_RETURN(trust::AuthorityId id, IdOf(record.id, "authority"));
  std::vector<x509::Certificate> intermediates(chain->begin(), chain->end() - 1);
  return trust::Authority{id, chain->front(), std::move(intermediates), chain->back()};
}

std::string ChainPem(const trust::Authority& authority) {
  return x509::ToPem(authority.intermediates) + authority.root.ToPem();
}

absl::StatusOr<rotation::Situation> SituationOf(const store::State& state) {
  if (state.trust.issuer.empty()) {
    return absl::FailedPreconditionError("the state has no authority yet");
  }
  CAPSTAN_ASSIGN_OR_RETURN(trust::AuthorityId issuer, IdOf(state.trust.issuer, "issuer"));
  CAPSTAN_ASSIGN_OR_RETURN(trust::Bundle bundle, BundleOf(state.trust.roots_pem));
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<x509::Crl> crls, CrlsOf(state.trust.crls_pem));
  rotation::Situation situation{{state.trust.version, std::move(bundle), state.trust.issuer_epoch,
                                 issuer, state.trust.crl_number, std::move(crls)},
                                {},
                                std::nullopt};
  for (const store::AuthorityRecord& record : state.authorities) {
    CAPSTAN_ASSIGN_OR_RETURN(trust::Authority authority, AuthorityOf(record));
    trust::AuthorityId id = authority.id;
    situation.authorities.insert_or_assign(
        id, rotation::Standing{std::move(authority), record.state, !record.sealed_key.empty(),
                               record.reserved_until});
  }
  if (!state.trust.serving_authority.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(situation.serving,
                             IdOf(state.trust.serving_authority, "serving authority"));
  }
  return situation;
}

store::TrustRecord RecordOf(const rotation::Situation& situation) {
  const trust::TrustState& trust = situation.trust;
  store::TrustRecord record;
  record.version = trust.version;
  record.roots_pem = trust.bundle.ToPem();
  record.issuer_epoch = trust.issuer_epoch;
  record.issuer = trust.issuer_epoch == 0 ? "" : trust.issuer.hex();
  record.crl_number = trust.crl_number;
  record.crls_pem = x509::ToPem(trust.crls);
  record.serving_authority = situation.serving.has_value() ? situation.serving->hex() : "";
  return record;
}

absl::StatusOr<rotation::Wish> WishOf(const store::DesiredRecord& record) {
  CAPSTAN_ASSIGN_OR_RETURN(trust::AuthorityId issuer, IdOf(record.issuer, "wanted issuer"));
  CAPSTAN_ASSIGN_OR_RETURN(trust::Bundle bundle, BundleOf(record.roots_pem));
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<x509::Crl> crls, CrlsOf(record.crls_pem));
  return rotation::Wish{std::move(bundle), std::move(crls), issuer};
}

}  // namespace capstan::server
