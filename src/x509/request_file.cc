// SPDX-License-Identifier: Apache-2.0
#include "x509/request_file.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/conf_text.h"
#include "x509/request_extensions.h"

namespace capstan::x509 {
namespace {

// The attributes request files are written with, by both of their names in OpenSSL.
constexpr std::array<std::pair<std::string_view, std::string_view>, 14> kAttributes = {{
    {"CN", "commonName"},
    {"O", "organizationName"},
    {"OU", "organizationalUnitName"},
    {"L", "localityName"},
    {"ST", "stateOrProvinceName"},
    {"C", "countryName"},
    {"DC", "domainComponent"},
    {"SN", "surname"},
    {"GN", "givenName"},
    {"UID", "userId"},
    {"street", "streetAddress"},
    {"postalCode", "postalCode"},
    {"serialNumber", "serialNumber"},
    {"emailAddress", "emailAddress"},
}};

// What to do about keys of [ req ] that OpenSSL knows and Capstan does not.
constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kAdvice = {{
    {"string_mask", "names are always written as UTF8String: remove the line"},
    {"attributes", "requests carry no attributes but extensions: remove the line"},
    {"default_keyfile", "name the key with --key: remove the line"},
    {"input_password", "encrypted keys are not read: decrypt the key first"},
    {"output_password", "keys are written unencrypted with mode 0600: remove the line"},
    {"encrypt_rsa_key", "keys are written unencrypted with mode 0600: write encrypt_key = no"},
    {"oid_section", "write object identifiers in dotted form: remove the line"},
    {"oid_file", "write object identifiers in dotted form: remove the line"},
    {"nombstr", "text is always UTF-8: remove the line"},
}};

const std::vector<std::string>& RequestKeys() {
  static const auto& keys = *new std::vector<std::string>{
      "default_bits", "default_md",         "prompt",         "utf8",
      "encrypt_key",  "distinguished_name", "req_extensions", "x509_extensions"};
  return keys;
}

// The attribute type of a key: without the "0." of repeated ones, and by its short name. "" if
// unknown.
std::string AttributeType(std::string_view key) {
  const size_t dot = key.find('.');
  const bool numbered = dot != std::string_view::npos && dot > 0 && dot + 1 < key.size() &&
                        std::all_of(key.begin(), key.begin() + dot, [](char c) {
                          return absl::ascii_isdigit(static_cast<unsigned char>(c));
                        });
  // "0.OU" is a second OU; "2.5.4.11" is an object identifier.
  const bool dotted_oid = std::all_of(key.begin(), key.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '.';
  });
  if (dotted_oid) return std::string(key);
  if (numbered) key.remove_prefix(dot + 1);
  for (const auto& [short_name, long_name] : kAttributes) {
    if (key == short_name || key == long_name) return std::string(short_name);
  }
  return "";
}

bool LooksLikeName(const ConfSection& section) {
  return !section.entries.empty() &&
         std::all_of(section.entries.begin(), section.entries.end(),
                     [](const ConfEntry& entry) { return !AttributeType(entry.key).empty(); });
}

class RequestParser {
 public:
  explicit RequestParser(std::vector<ConfSection> sections) : sections_(std::move(sections)) {}

  absl::StatusOr<RequestFile> Parse() {
    if (const ConfSection* request = FindSection(sections_, "req")) {
      file_.is_request = true;
      CAPSTAN_RETURN_IF_ERROR(ReadRequest(*request));
    }
    CAPSTAN_RETURN_IF_ERROR(ReadExtensionSections());
    if (!file_.is_request && file_.sections.empty()) {
      return absl::InvalidArgumentError(
          "the file holds no section: a request file begins with [ req ]");
    }
    return std::move(file_);
  }

 private:
  absl::Status ReadRequest(const ConfSection& request) {
    used_.insert(request.name);
    for (const ConfEntry& entry : request.entries) {
      CAPSTAN_RETURN_IF_ERROR(ReadRequestKey(entry));
    }
    if (request.Find("prompt") == nullptr) {
      return ErrorAtLine(
          request.line,
          "[ req ] does not say \"prompt = no\": OpenSSL would take the name's values "
          "for questions; add that line");
    }
    const ConfEntry* name = request.Find("distinguished_name");
    if (name == nullptr) {
      return ErrorAtLine(request.line,
                         "[ req ] names no section for the subject: add \"distinguished_name = "
                         "req_dn\"");
    }
    return ReadSubject(*name);
  }

  absl::Status ReadRequestKey(const ConfEntry& entry) {
    if (entry.key == "default_bits") return ReadBits(entry);
    if (entry.key == "default_md") {
      return Expect(entry, "sha256", "the hash follows the key (SHA-256, with P-384 SHA-384)");
    }
    if (entry.key == "prompt") return Expect(entry, "no", "Capstan asks no questions");
    if (entry.key == "utf8") return Expect(entry, "yes", "request files are UTF-8");
    if (entry.key == "encrypt_key") {
      return Expect(entry, "no", "private keys are written unencrypted, with mode 0600");
    }
    if (entry.key == "distinguished_name") return absl::OkStatus();
    if (entry.key == "req_extensions") return ReadSectionName(entry, file_.req_extensions);
    if (entry.key == "x509_extensions") return ReadSectionName(entry, file_.x509_extensions);
    for (const auto& [key, advice] : kAdvice) {
      if (entry.key == key) {
        return ErrorAtLine(entry.line, absl::StrCat(entry.key, " is not supported; ", advice));
      }
    }
    return ErrorAtLine(entry.line,
                       absl::StrCat(entry.key, " is not a key of [ req ]",
                                    Suggest(entry.key, RequestKeys()), "; else remove the line"));
  }

  absl::Status Expect(const ConfEntry& entry, std::string_view only, std::string_view reason) {
    if (entry.value == only) return absl::OkStatus();
    return ErrorAtLine(entry.line, absl::StrCat(entry.key, " = ", absl::CHexEscape(entry.value),
                                                ": ", reason, "; write ", entry.key, " = ", only));
  }

  absl::Status ReadBits(const ConfEntry& entry) {
    const auto type = ParseKeyType(absl::StrCat("rsa-", entry.value));
    if (!type.ok()) {
      return ErrorAtLine(entry.line,
                         absl::StrCat("default_bits = ", absl::CHexEscape(entry.value),
                                      ": RSA keys of 2048, 3072 or 4096 bits are made; for others "
                                      "use `capstan pki key`"));
    }
    file_.default_bits = *type;
    return absl::OkStatus();
  }

  absl::Status ReadSectionName(const ConfEntry& entry, std::string& name) {
    if (FindSection(sections_, entry.value) == nullptr) {
      return ErrorAtLine(
          entry.line, absl::StrCat(entry.key, " names the section [", absl::CHexEscape(entry.value),
                                   "], which is missing: add it, or remove the line"));
    }
    name = entry.value;
    return absl::OkStatus();
  }

  absl::Status ReadSubject(const ConfEntry& reference) {
    const ConfSection* section = FindSection(sections_, reference.value);
    if (section == nullptr) return MissingSubject(reference);
    used_.insert(section->name);
    if (section->entries.empty()) {
      return ErrorAtLine(section->line, absl::StrCat("[", section->name,
                                                     "] is empty: add at least \"CN = NAME\""));
    }
    for (const ConfEntry& entry : section->entries) {
      CAPSTAN_RETURN_IF_ERROR(ReadAttribute(entry));
    }
    return absl::OkStatus();
  }

  // The refusal names the section that was meant, where one looks like it.
  absl::Status MissingSubject(const ConfEntry& reference) {
    std::string remedy = "add that section with lines like \"CN = NAME\"";
    for (const ConfSection& section : sections_) {
      if (LooksLikeName(section)) {
        remedy = absl::StrCat("[", section.name, "] on line ", section.line,
                              " holds a name: write distinguished_name = ", section.name);
        break;
      }
    }
    return ErrorAtLine(
        reference.line,
        absl::StrCat("distinguished_name names the section [", absl::CHexEscape(reference.value),
                     "], which is missing (OpenSSL: Unable to get '",
                     absl::CHexEscape(reference.value), "' section); ", remedy));
  }

  absl::Status ReadAttribute(const ConfEntry& entry) {
    const std::string type = AttributeType(entry.key);
    if (type.empty()) {
      std::vector<std::string> known;
      for (const auto& [short_name, long_name] : kAttributes) known.emplace_back(short_name);
      return ErrorAtLine(
          entry.line,
          absl::StrCat(entry.key, " is no name attribute that Capstan knows",
                       Suggest(entry.key, known), "; or write its dotted object identifier"));
    }
    Name attribute{{{type, entry.value}}};
    if (const auto encoded = attribute.ToDer(); !encoded.ok()) {
      return ErrorAtLine(entry.line, Std(encoded.status().message()));
    }
    file_.subject.attributes.push_back(std::move(attribute.attributes.front()));
    return absl::OkStatus();
  }

  // Every section that is not used as anything else holds extensions.
  absl::Status ReadExtensionSections() {
    for (std::string& list : ListSections(sections_)) used_.insert(std::move(list));
    for (const ConfSection& section : sections_) {
      const bool named =
          section.name == file_.req_extensions || section.name == file_.x509_extensions;
      if (!named && used_.contains(section.name)) continue;
      if (!named && (section.entries.empty() || !IsExtensionKey(section.entries.front().key))) {
        return ErrorAtLine(section.line,
                           absl::StrCat("nothing uses the section [", section.name,
                                        "], and it does not hold extensions: remove it, or name it "
                                        "where it belongs"));
      }
      CAPSTAN_ASSIGN_OR_RETURN(file_.sections[section.name],
                               ParseExtensionSection(section, sections_));
    }
    return absl::OkStatus();
  }

  std::vector<ConfSection> sections_;
  std::set<std::string, std::less<>> used_;
  RequestFile file_;
};

}  // namespace

absl::StatusOr<RequestedExtensions> RequestFile::Section(const std::string& name) const {
  if (const auto found = sections.find(name); found != sections.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [known, extensions] : sections) names.push_back(absl::StrCat("[", known, "]"));
  return absl::NotFoundError(absl::StrCat(
      "the file has no section [", name, "] of extensions",
      names.empty() ? std::string() : absl::StrCat("; it has ", absl::StrJoin(names, ", "))));
}

absl::StatusOr<RequestFile> ParseRequestFile(std::string_view text) {
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<ConfSection> sections, ParseConf(text));
  return RequestParser(std::move(sections)).Parse();
}

}  // namespace capstan::x509
