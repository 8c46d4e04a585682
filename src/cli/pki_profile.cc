// SPDX-License-Identifier: Apache-2.0
#include "cli/pki_profile.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "x509/conf_text.h"

namespace capstan::cli {
namespace {

std::string RequestSection(int key_bits) {
  return absl::StrCat(
      "[ req ]\n"
      "encrypt_key = no\n"
      "prompt = no\n"
      "utf8 = yes\n"
      "default_md = sha256\n"
      "default_bits = ",
      key_bits,
      "\n"
      "req_extensions = req_ext\n"
      "x509_extensions = req_ext\n"
      "distinguished_name = req_dn\n");
}

std::string ExtensionSection(std::string_view constraints, bool crl_sign) {
  return absl::StrCat(
      "[ req_ext ]\n"
      "subjectKeyIdentifier = hash\n"
      "basicConstraints = critical, ",
      constraints,
      "\n"
      "keyUsage = critical, digitalSignature, nonRepudiation, keyEncipherment, keyCertSign",
      crl_sign ? ", cRLSign\n" : "\n");
}

absl::StatusOr<std::string> NameLine(std::string_view key, std::string_view value) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string written, x509::ToConfValue(value));
  return absl::StrCat(key, " = ", written, "\n");
}

absl::StatusOr<std::string> NameSection(const CaProfile& profile) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string organization, NameLine("O", profile.organization));
  CAPSTAN_ASSIGN_OR_RETURN(std::string common_name, NameLine("CN", profile.common_name));
  return absl::StrCat("[ req_dn ]\n", organization, common_name);
}

}  // namespace

absl::StatusOr<std::string> RootRequestFile(const CaProfile& profile) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string name, NameSection(profile));
  return absl::StrCat(RequestSection(profile.key_bits),
                      ExtensionSection("CA:true", profile.crl_sign), name);
}

absl::StatusOr<std::string> IntermediateRequestFile(const CaProfile& profile, std::string_view name,
                                                    std::string_view san_dns) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string dns, NameLine("DNS.1", san_dns));
  CAPSTAN_ASSIGN_OR_RETURN(std::string subject, NameSection(profile));
  CAPSTAN_ASSIGN_OR_RETURN(std::string locality, NameLine("L", name));
  return absl::StrCat(RequestSection(profile.key_bits),
                      ExtensionSection("CA:true, pathlen:0", profile.crl_sign),
                      "subjectAltName=@san\n[ san ]\n", dns, subject, locality);
}

}  // namespace capstan::cli
