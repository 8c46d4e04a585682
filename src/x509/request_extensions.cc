// SPDX-License-Identifier: Apache-2.0
#include "x509/request_extensions.h"

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/config.h"
#include "base/status.h"
#include "base/strings.h"
#include "spiffe/spiffe_id.h"
#include "x509/ip_text.h"
#include "x509/oid.h"

namespace capstan::x509 {
namespace {

constexpr int kMaxPathLength = 255;

// A value split at its commas, "critical" taken off the front.
struct Items {
  bool critical = false;
  std::vector<std::string> values;
};

absl::StatusOr<Items> SplitItems(const ConfEntry& entry) {
  Items items;
  for (absl::string_view piece : absl::StrSplit(entry.value, ',')) {
    items.values.emplace_back(absl::StripAsciiWhitespace(piece));
  }
  if (items.values.front() == "critical") {
    items.critical = true;
    items.values.erase(items.values.begin());
  }
  if (items.values.empty() ||
      std::find(items.values.begin(), items.values.end(), "") != items.values.end()) {
    return ErrorAtLine(entry.line, absl::StrCat(entry.key,
                                                " has an empty item: remove the comma or the whole "
                                                "line"));
  }
  return items;
}

absl::Status Refuse(const ConfEntry& entry, std::string_view message) {
  return ErrorAtLine(entry.line, absl::StrCat(entry.key, ": ", message));
}

absl::Status RefuseCritical(const ConfEntry& entry, const Items& items) {
  if (!items.critical) return absl::OkStatus();
  return Refuse(entry, "RFC 5280 forbids to mark it critical: remove \"critical\"");
}

std::optional<bool> ToBool(std::string_view text) {
  for (std::string_view yes : {"true", "TRUE", "yes", "YES", "y", "Y"}) {
    if (text == yes) return true;
  }
  for (std::string_view no : {"false", "FALSE", "no", "NO", "n", "N"}) {
    if (text == no) return false;
  }
  return std::nullopt;
}

absl::Status ReadSubjectKeyId(const ConfEntry& entry, RequestedExtensions& out) {
  CAPSTAN_ASSIGN_OR_RETURN(Items items, SplitItems(entry));
  CAPSTAN_RETURN_IF_ERROR(RefuseCritical(entry, items));
  if (items.values != std::vector<std::string>{"hash"}) {
    return Refuse(entry, "the key's hash is the only one Capstan writes: set it to \"hash\"");
  }
  out.values.subject_key_id = true;
  return absl::OkStatus();
}

absl::Status ReadAuthorityKeyId(const ConfEntry& entry, RequestedExtensions& out) {
  CAPSTAN_ASSIGN_OR_RETURN(Items items, SplitItems(entry));
  CAPSTAN_RETURN_IF_ERROR(RefuseCritical(entry, items));
  for (const std::string& item : items.values) {
    if (item == "keyid" || item == "keyid:always") {
      out.values.authority_key_id = true;
      out.authority_key_id_always |= item == "keyid:always";
    } else if (item != "issuer") {  // OpenSSL writes it only where there is no key id
      return Refuse(entry,
                    "Capstan writes the key id form only: set it to \"keyid\" or "
                    "\"keyid:always\"");
    }
  }
  if (!out.values.authority_key_id) {
    return Refuse(entry, "set it to \"keyid\": an issuer is found by its key, not by its name");
  }
  return absl::OkStatus();
}

absl::Status ReadPathLength(const ConfEntry& entry, std::string_view text,
                            Extensions::BasicConstraints& out) {
  int length = 0;
  const bool digits = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
  if (!digits || !absl::SimpleAtoi(text, &length) || length > kMaxPathLength) {
    return Refuse(entry,
                  absl::StrCat("\"pathlen:", text, "\" is no number from 0 to ", kMaxPathLength));
  }
  out.path_length = length;
  return absl::OkStatus();
}

absl::Status ReadBasicConstraints(const ConfEntry& entry, RequestedExtensions& out) {
  CAPSTAN_ASSIGN_OR_RETURN(Items items, SplitItems(entry));
  Extensions::BasicConstraints constraints;
  constraints.critical = items.critical;
  for (const std::string& item : items.values) {
    std::string_view value = item;
    if (absl::ConsumePrefix(&value, "CA:")) {
      const std::optional<bool> ca = ToBool(value);
      if (!ca.has_value()) {
        return Refuse(entry, absl::StrCat("\"", item, "\" is neither CA:true nor CA:false"));
      }
      constraints.ca = *ca;
    } else if (absl::ConsumePrefix(&value, "pathlen:")) {
      CAPSTAN_RETURN_IF_ERROR(ReadPathLength(entry, value, constraints));
    } else {
      return Refuse(entry, absl::StrCat("\"", item,
                                        "\" is not known; write \"CA:true\", "
                                        "\"CA:false\" or \"pathlen:N\", and \"critical\" first"));
    }
  }
  if (constraints.path_length.has_value() && !constraints.ca) {
    return Refuse(entry, "pathlen means something only beside CA:true: remove it, or add CA:true");
  }
  out.values.basic_constraints = constraints;
  return absl::OkStatus();
}

const std::vector<std::string>& KeyUsageNames() {  // in the order of the bits
  static const auto& names = *new std::vector<std::string>{
      "digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement",
      "keyCertSign",      "cRLSign",        "encipherOnly",    "decipherOnly"};
  return names;
}

absl::Status ReadKeyUsage(const ConfEntry& entry, RequestedExtensions& out) {
  CAPSTAN_ASSIGN_OR_RETURN(Items items, SplitItems(entry));
  Extensions::Usage usage;
  usage.critical = items.critical;
  const std::vector<std::string>& names = KeyUsageNames();
  for (const std::string& item : items.values) {
    const auto name = std::find(names.begin(), names.end(), item);
    if (name == names.end()) {
      return Refuse(entry, absl::StrCat("\"", item, "\" is not known", Suggest(item, names)));
    }
    usage.bits |= 1u << (name - names.begin());
  }
  out.values.key_usage = usage;
  return absl::OkStatus();
}

absl::Status ReadExtendedKeyUsage(const ConfEntry& entry, RequestedExtensions& out) {
  static const auto& kNames = *new std::vector<std::string>{
      "serverAuth", "clientAuth", "codeSigning", "emailProtection", "timeStamping", "OCSPSigning"};
  CAPSTAN_ASSIGN_OR_RETURN(Items items, SplitItems(entry));
  for (const std::string& item : items.values) {
    const bool dotted =
        absl::ascii_isdigit(static_cast<unsigned char>(item.front())) && oid::FromText(item).ok();
    if (!dotted && std::find(kNames.begin(), kNames.end(), item) == kNames.end()) {
      return Refuse(entry, absl::StrCat("\"", item, "\" is no dotted object identifier and not ",
                                        "known", Suggest(item, kNames)));
    }
    auto& usages = out.values.extended_key_usage;
    if (std::find(usages.begin(), usages.end(), item) != usages.end()) {
      return Refuse(entry, absl::StrCat("\"", item, "\" is there twice: remove one"));
    }
    usages.push_back(item);
  }
  out.values.extended_key_usage_critical = items.critical;
  return absl::OkStatus();
}

bool IsVisibleAscii(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c));
  });
}

bool IsDnsName(std::string_view text) {
  return !text.empty() && text.size() <= 253 && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("-_.*").find(c) != std::string_view::npos;
  });
}

absl::Status ReadNameList(const ConfEntry& entry, std::string_view list_name,
                          const std::vector<ConfSection>& sections, SubjectAltNames& sans) {
  const ConfSection* list = FindSection(sections, list_name);
  if (list == nullptr) {
    return Refuse(entry, absl::StrCat("the section [", list_name,
                                      "] is missing: add it with lines "
                                      "like \"DNS.1 = NAME\" or \"URI.1 = spiffe://…\""));
  }
  if (list->entries.empty()) {
    return ErrorAtLine(list->line, absl::StrCat("[", list_name,
                                                "] names nothing: add a line like "
                                                "\"DNS.1 = NAME\""));
  }
  for (const ConfEntry& name : list->entries) {
    const std::string_view type = std::string_view(name.key).substr(0, name.key.find('.'));
    if (absl::Status added = AddSubjectAltName(type, name.value, sans); !added.ok()) {
      return ErrorAtLine(name.line, absl::StrCat(name.key, " = ", absl::CHexEscape(name.value), " ",
                                                 added.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadSubjectAltName(const ConfEntry& entry, const std::vector<ConfSection>& sections,
                                RequestedExtensions& out) {
  CAPSTAN_ASSIGN_OR_RETURN(Items items, SplitItems(entry));
  out.values.sans.critical = items.critical;
  for (const std::string& item : items.values) {
    if (item.front() == '@') {
      CAPSTAN_RETURN_IF_ERROR(ReadNameList(entry, item.substr(1), sections, out.values.sans));
      continue;
    }
    const size_t colon = item.find(':');
    if (colon == std::string::npos) {
      return Refuse(entry, absl::StrCat("\"", item,
                                        "\" has no kind: write DNS:NAME, IP:ADDRESS, "
                                        "URI:spiffe://…, email:ADDRESS or @SECTION"));
    }
    const std::string_view value =
        absl::StripAsciiWhitespace(std::string_view(item).substr(colon + 1));
    if (absl::Status added = AddSubjectAltName(item.substr(0, colon), value, out.values.sans);
        !added.ok()) {
      return Refuse(entry, absl::StrCat("\"", absl::CHexEscape(item), "\" ", added.message()));
    }
  }
  return absl::OkStatus();
}

const std::vector<std::string>& ExtensionKeys() {
  static const auto& keys = *new std::vector<std::string>{
      "subjectKeyIdentifier", "authorityKeyIdentifier", "basicConstraints", "keyUsage",
      "extendedKeyUsage",     "subjectAltName"};
  return keys;
}

absl::Status ReadExtension(const ConfEntry& entry, const std::vector<ConfSection>& sections,
                           RequestedExtensions& out) {
  if (entry.key == "subjectKeyIdentifier") return ReadSubjectKeyId(entry, out);
  if (entry.key == "authorityKeyIdentifier") return ReadAuthorityKeyId(entry, out);
  if (entry.key == "basicConstraints") return ReadBasicConstraints(entry, out);
  if (entry.key == "keyUsage") return ReadKeyUsage(entry, out);
  if (entry.key == "extendedKeyUsage") return ReadExtendedKeyUsage(entry, out);
  if (entry.key == "subjectAltName") return ReadSubjectAltName(entry, sections, out);
  return ErrorAtLine(entry.line,
                     absl::StrCat("the extension ", entry.key, " is not one that Capstan writes",
                                  Suggest(entry.key, ExtensionKeys()), "; else remove the line"));
}

}  // namespace

const ConfSection* FindSection(const std::vector<ConfSection>& sections, std::string_view name) {
  for (const ConfSection& section : sections) {
    if (section.name == name) return &section;
  }
  return nullptr;
}

std::vector<std::string> ListSections(const std::vector<ConfSection>& sections) {
  std::vector<std::string> names;
  for (const ConfSection& section : sections) {
    const ConfEntry* entry = section.Find("subjectAltName");
    if (entry == nullptr) continue;
    for (absl::string_view piece : absl::StrSplit(entry->value, ',')) {
      piece = absl::StripAsciiWhitespace(piece);
      if (absl::ConsumePrefix(&piece, "@")) names.emplace_back(piece);
    }
  }
  return names;
}

bool IsExtensionKey(std::string_view key) {
  const std::vector<std::string>& keys = ExtensionKeys();
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

absl::StatusOr<RequestedExtensions> ParseExtensionSection(
    const ConfSection& section, const std::vector<ConfSection>& sections) {
  RequestedExtensions out;
  out.line = section.line;
  for (const ConfEntry& entry : section.entries) {
    CAPSTAN_RETURN_IF_ERROR(ReadExtension(entry, sections, out));
    out.lines[entry.key] = entry.line;
  }
  return out;
}

absl::Status AddSubjectAltName(std::string_view kind, std::string_view value,
                               SubjectAltNames& sans) {
  if (kind == "DNS") {
    if (!IsDnsName(value)) return absl::InvalidArgumentError("is no DNS name");
    sans.dns.emplace_back(value);
    return absl::OkStatus();
  }
  if (kind == "IP") {
    const auto octets = IpFromText(value);
    if (!octets.ok()) return absl::InvalidArgumentError("is no IP address");
    sans.ips.push_back(IpToText(*octets).value_or(std::string(value)));
    return absl::OkStatus();
  }
  if (kind == "URI") {
    if (!IsVisibleAscii(value) || value.find(':') == std::string_view::npos) {
      return absl::InvalidArgumentError("is no URI: it needs a scheme and no blanks");
    }
    if (value.starts_with("spiffe:")) {
      if (const auto id = spiffe::SpiffeId::Parse(value); !id.ok()) {
        return absl::InvalidArgumentError(absl::StrCat("is no SPIFFE ID: ", id.status().message()));
      }
    }
    sans.uris.emplace_back(value);
    return absl::OkStatus();
  }
  if (kind == "email") {
    if (!IsVisibleAscii(value) || value.find('@') == std::string_view::npos) {
      return absl::InvalidArgumentError(
          "is no e-mail address (OpenSSL's \"copy\" and \"move\" are "
          "not supported)");
    }
    sans.emails.emplace_back(value);
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      "is of a kind that is not supported: use DNS, IP, URI or email");
}

std::string Suggest(std::string_view word, const std::vector<std::string>& known) {
  const std::string nearest = Nearest(word, known);
  if (!nearest.empty()) return absl::StrCat(": did you mean ", nearest, "?");
  return absl::StrCat(": it is one of ", absl::StrJoin(known, ", "));
}

}  // namespace capstan::x509
