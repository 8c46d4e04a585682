// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect_text.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/strings.h"

namespace capstan::cli {
namespace {

using x509::Certificate;
using Json = nlohmann::ordered_json;

constexpr std::pair<uint32_t, const char*> kUsages[] = {
    {x509::kDigitalSignature, "digitalSignature"},
    {x509::kNonRepudiation, "nonRepudiation"},
    {x509::kKeyEncipherment, "keyEncipherment"},
    {x509::kDataEncipherment, "dataEncipherment"},
    {x509::kKeyAgreement, "keyAgreement"},
    {x509::kKeyCertSign, "keyCertSign"},
    {x509::kCrlSign, "cRLSign"},
    {x509::kEncipherOnly, "encipherOnly"},
    {x509::kDecipherOnly, "decipherOnly"},
};

std::vector<std::string> UsageNames(uint32_t bits) {
  std::vector<std::string> names;
  for (const auto& [bit, name] : kUsages) {
    if ((bits & bit) != 0) names.push_back(name);
  }
  return names;
}

std::string Rfc3339(absl::Time time) {
  return absl::FormatTime("%E4Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

// The length of the UTF-8 character at the start of `text`, or 0 where there is none.
size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  const size_t length = first < 0x80             ? 1
                        : (first & 0xe0) == 0xc0 ? 2
                        : (first & 0xf0) == 0xe0 ? 3
                        : (first & 0xf8) == 0xf0 ? 4
                                                 : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  return length;
}

// Lines of "  Label:   value".
class Lines {
 public:
  void Add(std::string_view label, std::string_view value) {
    absl::StrAppendFormat(&text_, "  %-22s%s\n", absl::StrCat(label, ":"),
                          value.empty() ? "(none)" : ForTerminal(value));
  }
  // One value per line, the label on the first.
  void AddList(std::string_view label, const std::vector<std::string>& values) {
    if (values.empty()) return Add(label, "");
    for (size_t i = 0; i < values.size(); ++i) {
      if (i == 0) {
        Add(label, values[i]);
      } else {
        absl::StrAppend(&text_, std::string(24, ' '), ForTerminal(values[i]), "\n");
      }
    }
  }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

std::vector<std::string> TaggedNames(const x509::SubjectAltNames& sans) {
  std::vector<std::string> names;
  for (const std::string& uri : sans.uris) names.push_back("URI " + uri);
  for (const std::string& dns : sans.dns) names.push_back("DNS " + dns);
  for (const std::string& ip : sans.ips) names.push_back("IP " + ip);
  for (const std::string& email : sans.emails) names.push_back("email " + email);
  if (sans.critical && !names.empty()) names.back() += " (critical)";
  return names;
}

std::string Left(const Certificate& certificate, absl::Time now) {
  if (now < certificate.not_before()) {
    return absl::StrCat("valid in ", HumanDuration(certificate.not_before() - now));
  }
  if (now > certificate.not_after()) {
    return absl::StrCat("expired ", HumanDuration(now - certificate.not_after()), " ago");
  }
  return absl::StrCat("expires in ", HumanDuration(certificate.not_after() - now));
}

std::string SignedBy(const Place& place) {
  if (place.role == Role::kRoot) return "itself";
  if (place.signer) return absl::StrCat("certificate ", *place.signer + 1);
  return "none of this input";
}

std::string Constraints(const Certificate& certificate) {
  if (!certificate.has_basic_constraints()) return "(none)";
  if (!certificate.is_ca()) return "not a CA";
  const std::optional<int> length = certificate.path_length();
  return length ? absl::StrCat("CA, at most ", *length, " intermediates below it") : "CA";
}

std::string OneText(const Certificate& certificate, const Place& place, absl::Time now) {
  Lines lines;
  lines.Add("Subject", certificate.Subject());
  lines.Add("Issuer", certificate.Issuer());
  lines.Add("Signed by", SignedBy(place));
  lines.Add("Serial", absl::StrCat(certificate.serial().ToHex(), " (decimal ",
                                   certificate.serial().ToDecimal(), ")"));
  lines.Add("Valid from", Rfc3339(certificate.not_before()));
  lines.Add("Valid to",
            absl::StrCat(Rfc3339(certificate.not_after()), " (", Left(certificate, now), ")"));
  lines.AddList("Subject alt names", TaggedNames(certificate.sans()));
  lines.Add("Basic constraints", Constraints(certificate));
  lines.Add("Key usage", absl::StrJoin(UsageNames(certificate.key_usage().value_or(0)), ", "));
  lines.Add("Extended key usage", absl::StrJoin(certificate.extended_key_usage(), ", "));
  lines.Add("Key", certificate.public_key().Description());
  lines.Add("Signature", certificate.SignatureAlgorithm());
  lines.Add("Subject key id", absl::BytesToHexString(certificate.subject_key_id()));
  lines.Add("Authority key id", absl::BytesToHexString(certificate.authority_key_id()));
  lines.Add("SHA-256", certificate.FingerprintHex());
  lines.Add("SHA-1", absl::BytesToHexString(x509::Sha1Fingerprint(certificate)));
  return lines.Take();
}

// A JSON string must be UTF-8; what is not is escaped as on a terminal.
std::string JsonSafe(const std::string& text) {
  return ForTerminal(text);
}

std::vector<std::string> JsonSafe(const std::vector<std::string>& texts) {
  std::vector<std::string> safe;
  for (const std::string& text : texts) safe.push_back(ForTerminal(text));
  return safe;
}

Json JsonOf(const x509::SubjectAltNames& sans) {
  return {{"uris", JsonSafe(sans.uris)},
          {"dns", JsonSafe(sans.dns)},
          {"ips", JsonSafe(sans.ips)},
          {"emails", JsonSafe(sans.emails)},
          {"critical", sans.critical}};
}

Json JsonOf(const Certificate& certificate, size_t index, const Place& place, absl::Time now) {
  const std::optional<int> path_length = certificate.path_length();
  const bool valid = now >= certificate.not_before() && now <= certificate.not_after();
  return {
      {"certificate", index + 1},
      {"role", Name(place.role)},
      {"subject", JsonSafe(certificate.Subject())},
      {"issuer", JsonSafe(certificate.Issuer())},
      {"signed_by", place.role == Role::kRoot ? Json(index + 1)
                    : place.signer            ? Json(*place.signer + 1)
                                              : Json(nullptr)},
      {"serial_hex", certificate.serial().ToHex()},
      {"serial_decimal", certificate.serial().ToDecimal()},
      {"not_before", Rfc3339(certificate.not_before())},
      {"not_after", Rfc3339(certificate.not_after())},
      {"valid_now", valid},
      {"expires_in_seconds", absl::ToInt64Seconds(certificate.not_after() - now)},
      {"sans", JsonOf(certificate.sans())},
      {"is_ca", certificate.is_ca()},
      {"path_length", path_length ? Json(*path_length) : Json(nullptr)},
      {"key_usage", UsageNames(certificate.key_usage().value_or(0))},
      {"extended_key_usage", certificate.extended_key_usage()},
      {"key", certificate.public_key().Description()},
      {"signature_algorithm", certificate.SignatureAlgorithm()},
      {"subject_key_id", absl::BytesToHexString(certificate.subject_key_id())},
      {"authority_key_id", absl::BytesToHexString(certificate.authority_key_id())},
      {"sha256", certificate.FingerprintHex()},
      {"sha1", absl::BytesToHexString(x509::Sha1Fingerprint(certificate))},
  };
}

}  // namespace

std::string ForTerminal(std::string_view text) {
  std::string safe;
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    const auto first = static_cast<uint8_t>(text[0]);
    // C0, DEL, and C1, which UTF-8 writes as c2 80 to c2 9f.
    const bool control = first < 0x20 || first == 0x7f ||
                         (length == 2 && first == 0xc2 && static_cast<uint8_t>(text[1]) < 0xa0);
    if (length == 0 || control) {
      for (size_t i = 0; i < std::max<size_t>(length, 1); ++i) {
        absl::StrAppendFormat(&safe, "\\x%02x", static_cast<uint8_t>(text[i]));
      }
    } else {
      absl::StrAppend(&safe, text.substr(0, length));
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return safe;
}

std::string Label(const Certificate& certificate) {
  std::string name = certificate.Subject();
  const x509::SubjectAltNames& sans = certificate.sans();
  for (const auto* names : {&sans.uris, &sans.dns, &sans.ips}) {
    if (name.empty() && !names->empty()) name = names->front();
  }
  return name.empty() ? "(no name)" : ForTerminal(name);
}

std::string LongText(const std::vector<Certificate>& certificates,
                     const std::vector<Finding>& findings, absl::Time now) {
  const std::vector<Place> places = Places(certificates);
  std::string text;
  for (size_t i = 0; i < certificates.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : "\n", "certificate ", i + 1, " of ", certificates.size(),
                    ": ", Name(places[i].role), "\n", OneText(certificates[i], places[i], now));
    for (const Finding& finding : findings) {
      if (finding.certificate != i) continue;
      absl::StrAppend(&text, "  warning:              ", finding.text, " [", finding.code, "]\n");
    }
  }
  return text;
}

std::string LongText(const x509::RequestDescription& request) {
  Lines lines;
  lines.Add("Subject", x509::ToRfc2253(request.subject));
  lines.AddList("Subject alt names", TaggedNames(request.sans));
  lines.Add("Key", request.key.Description());
  lines.Add("Signature", absl::StrCat(request.signature_algorithm,
                                      request.signature_valid ? "" : " (does not verify)"));
  std::string text = absl::StrCat("certificate signing request\n", lines.Take());
  if (const absl::Status key = request.key.CheckAcceptable(); !key.ok()) {
    absl::StrAppend(&text, "  warning:              ", Std(key.message()), " [weak-key]\n");
  }
  return text;
}

std::string JsonText(const std::vector<Certificate>& certificates,
                     const std::vector<Finding>& findings, absl::Time now) {
  const std::vector<Place> places = Places(certificates);
  Json document = {{"certificates", Json::array()}, {"warnings", Json::array()}};
  for (size_t i = 0; i < certificates.size(); ++i) {
    document["certificates"].push_back(JsonOf(certificates[i], i, places[i], now));
  }
  for (const Finding& finding : findings) {
    document["warnings"].push_back({{"certificate", finding.certificate + 1},
                                    {"code", finding.code},
                                    {"text", JsonSafe(finding.text)}});
  }
  return document.dump(2) + "\n";
}

std::string JsonText(const x509::RequestDescription& request) {
  const Json document = {{"request",
                          {{"subject", JsonSafe(x509::ToRfc2253(request.subject))},
                           {"sans", JsonOf(request.sans)},
                           {"key", request.key.Description()},
                           {"signature_algorithm", request.signature_algorithm},
                           {"signature_valid", request.signature_valid}}}};
  return document.dump(2) + "\n";
}

}  // namespace capstan::cli
