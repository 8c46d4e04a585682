// SPDX-License-Identifier: Apache-2.0
#include "issuance/check.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace capstan::issuance {
namespace {

absl::Status Require(bool holds, std::string_view what) {
  return holds ? absl::OkStatus()
               : absl::InternalError(absl::StrCat("its ", what, " is not what was meant"));
}

absl::Time Seconds(absl::Time time) {
  return absl::FromUnixSeconds(absl::ToUnixSeconds(time));
}

}  // namespace

absl::Status CheckLeaf(const x509::Certificate& leaf, const Plan& plan, const x509::PublicKey& key,
                       const x509::SerialNumber& serial, const trust::Authority& authority,
                       bool verify_signature) {
  const x509::Certificate& issuer = authority.certificate;
  CAPSTAN_RETURN_IF_ERROR(Require(leaf.issuer_der() == issuer.subject_der(), "issuer name"));
  CAPSTAN_RETURN_IF_ERROR(Require(leaf.serial() == serial, "serial number"));
  CAPSTAN_RETURN_IF_ERROR(Require(leaf.public_key() == key, "public key"));
  CAPSTAN_RETURN_IF_ERROR(Require(leaf.not_before() == Seconds(plan.not_before), "NotBefore"));
  CAPSTAN_RETURN_IF_ERROR(Require(leaf.not_after() == Seconds(plan.not_after), "NotAfter"));
  CAPSTAN_RETURN_IF_ERROR(
      Require(leaf.not_after() <= issuer.not_after(), "life within its issuer's"));
  CAPSTAN_RETURN_IF_ERROR(
      Require(leaf.has_basic_constraints() && !leaf.is_ca(), "basicConstraints"));
  CAPSTAN_RETURN_IF_ERROR(
      Require(leaf.key_usage() == (x509::kDigitalSignature | x509::kKeyEncipherment), "keyUsage"));
  const std::vector<std::string> usage = plan.for_clients_only
                                             ? std::vector<std::string>{"clientAuth"}
                                             : std::vector<std::string>{"serverAuth", "clientAuth"};
  CAPSTAN_RETURN_IF_ERROR(Require(leaf.extended_key_usage() == usage, "extendedKeyUsage"));
  CAPSTAN_RETURN_IF_ERROR(
      Require(issuer.subject_key_id().empty() || leaf.authority_key_id() == issuer.subject_key_id(),
              "authorityKeyIdentifier"));
  const x509::SubjectAltNames& sans = leaf.sans();
  CAPSTAN_RETURN_IF_ERROR(Require(sans.critical && sans.dns.empty() && sans.ips.empty() &&
                                      sans.emails.empty() &&
                                      sans.uris == std::vector<std::string>{plan.id.ToString()},
                                  "subjectAltName"));
  if (verify_signature) {
    CAPSTAN_RETURN_IF_ERROR(Require(leaf.IsSignedBy(issuer.public_key()), "signature"));
  }
  return absl::OkStatus();
}

}  // namespace capstan::issuance
