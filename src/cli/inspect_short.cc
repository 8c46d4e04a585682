// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect_short.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "base/strings.h"
#include "cli/go_pem.h"
#include "cli/go_url.h"

namespace capstan::cli {
namespace {

constexpr std::string_view kPemMarker = "-----BEGIN";
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

std::string Abbreviated(const std::string& text) {
  if (text.size() <= 8) return text;
  return absl::StrCat(text.substr(0, 4), "...", text.substr(text.size() - 4));
}

// The common name, then the other names but those equal to it.
std::vector<std::string> Names(const std::string& common_name, const x509::SubjectAltNames& sans) {
  std::vector<std::string> names;
  if (!common_name.empty()) names.push_back(common_name);
  const auto add = [&](const std::string& name) {
    if (name != common_name) names.push_back(name);
  };
  for (const std::string& dns : sans.dns) add(dns);
  for (const std::string& ip : sans.ips) add(ip);
  for (const std::string& email : sans.emails) add(email);
  for (const std::string& uri : sans.uris) add(GoUrlString(uri));
  return names;
}

std::string SubjectLines(const std::vector<std::string>& names) {
  if (names.empty()) return "  Subject: \n";
  std::string lines;
  for (size_t i = 0; i < names.size(); ++i) {
    absl::StrAppend(&lines, i == 0 ? "  Subject:     " : "               ", names[i], "\n");
  }
  return lines;
}

std::string TypeName(const x509::Certificate& certificate) {
  if (!certificate.is_ca()) return "TLS";
  return x509::IsRootForStep(certificate) ? "Root CA" : "Intermediate CA";
}

std::string ProvisionerLine(const x509::Certificate& certificate) {
  const std::optional<x509::StepProvisioner> provisioner = x509::FindStepProvisioner(certificate);
  if (!provisioner) return "";
  const std::string id = Abbreviated(provisioner->credential_id);
  return absl::StrCat("  Provisioner: ", provisioner->name,
                      id.empty() ? "" : absl::StrCat(" [ID: ", id, "]"), "\n");
}

std::string UtcTime(absl::Time time) {
  return absl::FormatTime("%E4Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

// Every CERTIFICATE block; nullopt when there is none or one does not parse.
std::optional<std::vector<x509::Certificate>> Certificates(std::string_view bytes, bool is_pem,
                                                           const std::vector<GoPemBlock>& blocks) {
  std::vector<x509::Certificate> certificates;
  const auto add = [&](std::string_view der) {
    absl::StatusOr<x509::Certificate> parsed = x509::Certificate::ParseDer(der);
    if (!parsed.ok() || !x509::GoReads(parsed->public_key())) return false;
    certificates.push_back(*std::move(parsed));
    return true;
  };
  if (!is_pem) {
    if (!add(bytes)) return std::nullopt;
    return certificates;
  }
  for (const GoPemBlock& block : blocks) {
    if (block.type == "CERTIFICATE" && !block.has_headers && !add(block.bytes)) {
      return std::nullopt;
    }
  }
  if (certificates.empty()) return std::nullopt;
  return certificates;
}

absl::StatusOr<x509::RequestDescription> FirstRequest(std::string_view bytes,
                                                      const std::vector<GoPemBlock>& blocks) {
  for (const GoPemBlock& block : blocks) {
    if (!block.type.ends_with("CERTIFICATE REQUEST")) continue;
    bytes = block.bytes;
    break;
  }
  absl::StatusOr<x509::RequestDescription> request = x509::DescribeRequest(bytes);
  if (request.ok() && !x509::GoReads(request->key)) {
    return absl::InvalidArgumentError("a curve that Go does not know");
  }
  return request;
}

}  // namespace

std::string ShortText(const x509::Certificate& certificate) {
  return absl::StrCat("X.509v3 ", TypeName(certificate), " Certificate (",
                      x509::StepKeyName(certificate.public_key()),
                      ") [Serial: ", Abbreviated(certificate.serial().ToDecimal()), "]\n",
                      SubjectLines(Names(certificate.SubjectCommonName(), certificate.sans())),
                      "  Issuer:      ", certificate.IssuerCommonName(), "\n",
                      ProvisionerLine(certificate),
                      "  Valid from:  ", UtcTime(certificate.not_before()),
                      "\n          to:  ", UtcTime(certificate.not_after()), "\n");
}

std::string ShortText(const x509::RequestDescription& request) {
  return absl::StrCat("X.509v3 Certificate Signing Request (", x509::StepKeyName(request.key),
                      ")\n", SubjectLines(Names(request.SubjectCommonName(), request.sans)));
}

absl::StatusOr<std::string> ShortTextOfBytes(std::string_view bytes, std::string_view name,
                                             bool bundle) {
  absl::ConsumePrefix(&bytes, kByteOrderMark);
  const bool is_pem = absl::StrContains(bytes, kPemMarker);
  const std::vector<GoPemBlock> blocks =
      is_pem ? FindGoPemBlocks(bytes) : std::vector<GoPemBlock>{};
  if (const auto certificates = Certificates(bytes, is_pem, blocks)) {
    std::string text;
    for (const x509::Certificate& certificate : *certificates) {
      text += ShortText(certificate);
      if (!bundle) break;
    }
    return text;
  }
  if (const auto request = FirstRequest(bytes, blocks); request.ok()) return ShortText(*request);
  return absl::InvalidArgumentError(absl::StrCat(
      "file ", name, " does not contain any valid CERTIFICATE or CERTIFICATE REQUEST blocks"));
}

}  // namespace capstan::cli
