// SPDX-License-Identifier: Apache-2.0
#include "envoy/config_dump.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/json.h"
#include "base/status.h"

namespace capstan::envoy {
namespace {

constexpr std::string_view kRedacted =
    "W3JlZGFjdGVkXQ==";  // base64 of "[redacted]", as Envoy writes it

struct Section {
  std::string_view key;
  HeldSecret::State state;
};
constexpr Section kSections[] = {{"dynamicActiveSecrets", HeldSecret::State::kActive},
                                 {"dynamicWarmingSecrets", HeldSecret::State::kWarming},
                                 {"staticSecrets", HeldSecret::State::kStatic}};

std::string CamelCase(std::string_view key) {
  std::string camel;
  bool upper = false;
  for (char c : key) {
    if (c == '_') {
      upper = true;
    } else {
      camel += upper ? absl::ascii_toupper(c) : c;
      upper = false;
    }
  }
  return camel;
}

bool IsFieldName(std::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(),
                                     [](char c) { return absl::ascii_isalnum(c) || c == '_'; });
}

// Members whose whole value is secret.
bool IsSecretField(std::string_view camel) {
  static constexpr std::string_view kFields[] = {
      "privateKey", "password", "pkcs12", "keys", "genericSecret", "privateKeyProvider"};
  return std::find(std::begin(kFields), std::end(kFields), camel) != std::end(kFields);
}

Json Redacted(const Json& value) {
  if (value.is_array()) {
    Json list = Json::array();
    for (const Json& item : value) list.push_back(Redacted(item));
    return list;
  }
  return Json{{"inlineBytes", kRedacted}};
}

// The same value with field names in camelCase and without secrets. Depth is bounded by ParseJson.
Json Normalized(const Json& value) {
  if (value.is_array()) {
    Json list = Json::array();
    for (const Json& item : value) list.push_back(Normalized(item));
    return list;
  }
  if (!value.is_object()) return value;
  Json object = Json::object();
  for (const auto& [key, member] : value.items()) {
    const std::string name = IsFieldName(key) ? CamelCase(key) : key;
    object[name] = IsSecretField(name) ? Redacted(member) : Normalized(member);
  }
  return object;
}

std::string StringMember(const Json& value, std::string_view name) {
  const Json* member = Member(value, name);
  return member != nullptr && member->is_string() ? member->get<std::string>() : "";
}

// Whether an object is a SecretsConfigDump without saying so.
bool LooksLikeSecretsDump(const Json& object) {
  return std::any_of(std::begin(kSections), std::end(kSections), [&](const Section& section) {
    return Member(object, section.key) != nullptr;
  });
}

absl::StatusOr<std::vector<const Json*>> FindSecretsDumps(const Json& document) {
  const auto says_so = [](const Json& object) {
    return absl::EndsWith(StringMember(object, "@type"), ".SecretsConfigDump");
  };
  if (!document.is_object()) {
    return absl::InvalidArgumentError("config dump: not a JSON object");
  }
  // istioctl prints {} for a proxy that holds nothing.
  if (says_so(document) || LooksLikeSecretsDump(document) || document.empty()) {
    return std::vector<const Json*>{&document};
  }
  const Json* configs = Member(document, "configs");
  if (configs == nullptr || !configs->is_array()) {
    return absl::InvalidArgumentError(
        "config dump: neither \"configs\" nor \"dynamic_active_secrets\" in it; save the answer of "
        "Envoy's admin interface to /config_dump");
  }
  std::vector<const Json*> dumps;
  std::set<std::string> others;
  for (const Json& config : *configs) {
    if (says_so(config)) {
      dumps.push_back(&config);
    } else {
      others.insert(StringMember(config, "@type"));
    }
  }
  if (dumps.empty() && !others.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("config dump: no SecretsConfigDump in it, only ",
                                                   absl::StrJoin(others, ", ")));
  }
  return dumps;
}

// Ranks the first "default" and the first "ROOTCA" ahead of everything else: with several secrets
// of one name (Envoy tells them apart by their source) the second one must not take the place of
// ROOTCA.
void Sort(Json& entries) {
  struct Ranked {
    int rank;
    std::string name;
    Json entry;
  };
  std::vector<Ranked> ranked;
  std::set<std::string> seen;
  for (Json& entry : entries) {
    std::string name = StringMember(entry, "name");
    const bool first = seen.insert(name).second;
    const int rank = first && name == "default" ? 0 : first && name == "ROOTCA" ? 1 : 2;
    ranked.push_back({rank, std::move(name), std::move(entry)});
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const Ranked& a, const Ranked& b) {
    return std::tie(a.rank, a.name) < std::tie(b.rank, b.name);
  });
  entries = Json::array();
  for (Ranked& item : ranked) entries.push_back(std::move(item.entry));
}

// The sections of all SecretsConfigDumps of the text, normalized and sorted.
absl::StatusOr<Json> Collect(std::string_view text) {
  CAPSTAN_ASSIGN_OR_RETURN(const Json parsed, ParseJson(text, "config dump"));
  const Json document = Normalized(parsed);
  CAPSTAN_ASSIGN_OR_RETURN(const std::vector<const Json*> dumps, FindSecretsDumps(document));
  Json collected = Json::object();
  for (const Section& section : kSections) {
    Json entries = Json::array();
    for (const Json* dump : dumps) {
      const Json* list = Member(*dump, section.key);
      if (list == nullptr) continue;
      if (!list->is_array()) {
        return absl::InvalidArgumentError(
            absl::StrCat("config dump: \"", section.key, "\" is not a list"));
      }
      for (const Json& entry : *list) {
        if (!entry.is_object()) {
          return absl::InvalidArgumentError(
              absl::StrCat("config dump: \"", section.key, "\" holds something that is no object"));
        }
        entries.push_back(entry);
      }
    }
    if (entries.empty()) continue;
    Sort(entries);
    collected[std::string(section.key)] = std::move(entries);
  }
  return collected;
}

// The PEM text of a DataSource.
absl::StatusOr<std::string> ReadDataSource(const Json* source) {
  if (source == nullptr) return absl::NotFoundError("no certificates");
  if (const std::string file = StringMember(*source, "filename"); !file.empty()) {
    return absl::NotFoundError(absl::StrCat("in the proxy's file ", file));
  }
  std::string text = StringMember(*source, "inlineString");
  const std::string encoded = StringMember(*source, "inlineBytes");
  if (!encoded.empty() && !absl::Base64Unescape(encoded, &text)) {
    return absl::InvalidArgumentError("inlineBytes is no base64");
  }
  if (text.empty()) return absl::NotFoundError("no certificates");
  return text;
}

// Adds the certificates of `source`, or the reason why there are none.
void AddCertificates(const Json* source, const std::string& trust_domain, HeldSecret& secret) {
  absl::StatusOr<std::vector<x509::Certificate>> parsed = absl::UnknownError("");
  absl::StatusOr<std::string> text = ReadDataSource(source);
  if (text.ok()) {
    parsed = x509::ParsePemCertificates(*text);
  } else {
    parsed = text.status();
  }
  if (!parsed.ok()) {
    absl::StrAppend(&secret.problem, secret.problem.empty() ? "" : "; ", trust_domain,
                    trust_domain.empty() ? "" : ": ", Std(parsed.status().message()));
    return;
  }
  for (x509::Certificate& certificate : *parsed) {
    secret.certificates.push_back(std::move(certificate));
    if (!trust_domain.empty()) secret.trust_domains.push_back(trust_domain);
  }
}

// The bundles of a SPIFFE validator, one per trust domain; null where there is none.
const Json* SpiffeTrustDomains(const Json& context) {
  const Json* custom = Member(context, "customValidatorConfig");
  const Json* typed = custom == nullptr ? nullptr : Member(*custom, "typedConfig");
  const Json* domains = typed == nullptr ? nullptr : Member(*typed, "trustDomains");
  return domains != nullptr && domains->is_array() ? domains : nullptr;
}

void ReadValidationContext(const Json& context, HeldSecret& secret) {
  secret.type = HeldSecret::Type::kTrustBundle;
  if (const Json* domains = SpiffeTrustDomains(context)) {
    for (const Json& domain : *domains) {
      std::string name = StringMember(domain, "name");
      if (name.empty()) name = "(no name)";  // Envoy refuses that; a dump made by hand may have it
      AddCertificates(Member(domain, "trustBundle"), name, secret);
    }
    return;
  }
  AddCertificates(Member(context, "trustedCa"), "", secret);
}

void ReadBody(const Json& body, HeldSecret& secret) {
  if (const Json* certificate = Member(body, "tlsCertificate")) {
    secret.type = HeldSecret::Type::kCertificateChain;
    AddCertificates(Member(*certificate, "certificateChain"), "", secret);
    return;
  }
  const Json* context = Member(body, "validationContext");
  if (const Json* combined = Member(body, "combinedValidationContext")) {
    context = Member(*combined, "defaultValidationContext");
  }
  if (context != nullptr) {
    ReadValidationContext(*context, secret);
  } else if (Member(body, "sessionTicketKeys") != nullptr ||
             Member(body, "genericSecret") != nullptr) {
    secret.type = HeldSecret::Type::kOther;
  }
}

std::optional<absl::Time> ReadTime(const std::string& text) {
  absl::Time time;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, nullptr)) return std::nullopt;
  return time;
}

HeldSecret ReadEntry(const Json& entry, HeldSecret::State state) {
  HeldSecret secret;
  secret.name = StringMember(entry, "name");
  secret.state = state;
  secret.version_info = StringMember(entry, "versionInfo");
  secret.last_updated = ReadTime(StringMember(entry, "lastUpdated"));
  if (const Json* error = Member(entry, "errorState")) {
    secret.error = StringMember(*error, "details");
  }
  if (const Json* body = Member(entry, "secret")) {
    ReadBody(*body, secret);
  }
  return secret;
}

}  // namespace

std::string_view Name(HeldSecret::Type type) {
  switch (type) {
    case HeldSecret::Type::kCertificateChain:
      return "Cert Chain";
    case HeldSecret::Type::kTrustBundle:
      return "CA";
    case HeldSecret::Type::kOther:
      return "Other";
    case HeldSecret::Type::kUnknown:
      return "Unknown";
  }
  return "Unknown";
}

std::string_view Name(HeldSecret::State state) {
  switch (state) {
    case HeldSecret::State::kActive:
      return "ACTIVE";
    case HeldSecret::State::kWarming:
      return "WARMING";
    case HeldSecret::State::kStatic:
      return "STATIC";
  }
  return "ACTIVE";
}

absl::StatusOr<std::vector<HeldSecret>> ParseSecrets(std::string_view dump) {
  CAPSTAN_ASSIGN_OR_RETURN(const Json collected, Collect(dump));
  std::vector<HeldSecret> secrets;
  for (const Section& section : kSections) {
    if (const Json* entries = Member(collected, section.key)) {
      for (const Json& entry : *entries) secrets.push_back(ReadEntry(entry, section.state));
    }
  }
  return secrets;
}

absl::StatusOr<std::string> NormalizeSecrets(std::string_view dump) {
  CAPSTAN_ASSIGN_OR_RETURN(const Json collected, Collect(dump));
  // Strings from a JSON parser are valid UTF-8 already; `replace` only makes dump() total.
  return collected.dump(4, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace capstan::envoy
