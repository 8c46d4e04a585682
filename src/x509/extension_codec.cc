// SPDX-License-Identifier: Apache-2.0
#include "x509/extension_codec.h"

#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/ip_text.h"
#include "x509/oid.h"

namespace capstan::x509 {
namespace {

// The kinds of GeneralName (RFC 5280 section 4.2.1.6) that Capstan reads and writes.
constexpr uint8_t kEmailName = der::Primitive(1);
constexpr uint8_t kDnsName = der::Primitive(2);
constexpr uint8_t kUriName = der::Primitive(6);
constexpr uint8_t kIpName = der::Primitive(7);

constexpr uint32_t kAllKeyUsages = (kDecipherOnly << 1) - 1;

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isascii(c); });
}

absl::Status AppendTextNames(std::string& out, uint8_t tag, std::string_view kind,
                             const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (name.empty() || !IsAscii(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the ", kind, " name \"", absl::CHexEscape(name),
                       "\" is empty or holds characters outside ASCII"));
    }
    out += der::Element(tag, name);
  }
  return absl::OkStatus();
}

absl::Status ReadSubjectAltNames(der::Reader& value, SubjectAltNames& sans) {
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader names, value.Enter(der::kSequence, "subjectAltName"));
  while (!names.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Item name, names.ReadAny("name of subjectAltName"));
    std::vector<std::string>* list = nullptr;
    switch (name.tag) {
      case kEmailName:
        list = &sans.emails;
        break;
      case kDnsName:
        list = &sans.dns;
        break;
      case kUriName:
        list = &sans.uris;
        break;
      case kIpName: {
        const auto text = IpToText(name.content);
        if (!text.has_value()) {
          return names.ErrorAt(name.full, absl::StrCat("an IP address in subjectAltName has ",
                                                       name.content.size(), " bytes, not 4 or 16"));
        }
        sans.ips.push_back(*text);
        continue;
      }
      default:
        continue;  // otherName, directoryName, registeredID: nobody here acts on them
    }
    if (!IsAscii(name.content)) {
      return names.ErrorAt(name.full, "a name of subjectAltName holds characters outside ASCII");
    }
    list->emplace_back(name.content);
  }
  return absl::OkStatus();
}

absl::Status ReadBasicConstraints(der::Reader& value, Extensions::BasicConstraints& constraints) {
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader fields, value.Enter(der::kSequence, "basicConstraints"));
  if (fields.NextTag() == der::kBoolean) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Item ca, fields.Read(der::kBoolean, "cA of basicConstraints"));
    CAPSTAN_ASSIGN_OR_RETURN(constraints.ca,
                             der::BooleanValue(fields, ca, "cA of basicConstraints"));
  }
  if (fields.NextTag() == der::kInteger) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Item item, fields.Read(der::kInteger, "pathLenConstraint"));
    CAPSTAN_ASSIGN_OR_RETURN(std::string_view octets,
                             der::IntegerValue(fields, item, "pathLenConstraint"));
    // Longer ones exist on no earth; a negative one is what RFC 5280 forbids.
    if (octets.size() > 3 || (static_cast<uint8_t>(octets[0]) & 0x80) != 0) {
      return fields.ErrorAt(item.full, "pathLenConstraint is negative or too large");
    }
    int length = 0;
    for (const char c : octets) {
      length = length << 8 | static_cast<uint8_t>(c);
    }
    constraints.path_length = length;
  }
  return fields.ExpectEnd("basicConstraints");
}

absl::Status ReadKeyUsage(der::Reader& value, uint32_t& bits) {
  CAPSTAN_ASSIGN_OR_RETURN(der::Item item, value.Read(der::kBitString, "keyUsage"));
  int unused = 0;
  CAPSTAN_ASSIGN_OR_RETURN(std::string_view octets,
                           der::BitStringValue(value, item, unused, "keyUsage"));
  for (size_t i = 0; i < octets.size() * 8 && (kAllKeyUsages >> i) != 0; ++i) {
    if ((static_cast<uint8_t>(octets[i / 8]) & (0x80 >> (i % 8))) != 0) {
      bits |= 1u << i;
    }
  }
  return absl::OkStatus();
}

absl::Status ReadExtendedKeyUsage(der::Reader& value, std::vector<std::string>& purposes) {
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader list, value.Enter(der::kSequence, "extendedKeyUsage"));
  do {
    CAPSTAN_ASSIGN_OR_RETURN(der::Item purpose, list.Read(der::kObjectId, "extendedKeyUsage"));
    CAPSTAN_RETURN_IF_ERROR(der::CheckObjectId(list, purpose, "extendedKeyUsage"));
    purposes.push_back(oid::ToShortName(purpose.content));
  } while (!list.empty());
  return absl::OkStatus();
}

absl::Status ReadAuthorityKeyId(der::Reader& value, std::string& key_id) {
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader fields,
                           value.Enter(der::kSequence, "authorityKeyIdentifier"));
  while (!fields.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Item field, fields.ReadAny("authorityKeyIdentifier"));
    if (field.tag == der::Primitive(0)) {
      key_id = std::string(field.content);
    }
  }
  return absl::OkStatus();
}

absl::Status ReadExtension(std::string_view oid, bool critical, der::Reader& value,
                           ParsedExtensions& parsed) {
  if (oid == oid::kSubjectKeyId) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Item id, value.Read(der::kOctetString, "subjectKeyIdentifier"));
    parsed.subject_key_id = std::string(id.content);
    return absl::OkStatus();
  }
  if (oid == oid::kAuthorityKeyId) {
    parsed.has_authority_key_id = true;
    return ReadAuthorityKeyId(value, parsed.authority_key_id);
  }
  if (oid == oid::kBasicConstraints) {
    parsed.basic_constraints = Extensions::BasicConstraints{.critical = critical};
    return ReadBasicConstraints(value, *parsed.basic_constraints);
  }
  if (oid == oid::kKeyUsage) {
    parsed.key_usage = Extensions::Usage{.critical = critical};
    return ReadKeyUsage(value, parsed.key_usage->bits);
  }
  if (oid == oid::kExtendedKeyUsage) {
    parsed.extended_key_usage_critical = critical;
    return ReadExtendedKeyUsage(value, parsed.extended_key_usage);
  }
  if (oid == oid::kSubjectAltName) {
    parsed.sans.critical = critical;
    return ReadSubjectAltNames(value, parsed.sans);
  }
  if (oid == oid::kCrlNumber) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Item number, value.Read(der::kInteger, "cRLNumber"));
    CAPSTAN_ASSIGN_OR_RETURN(std::string_view octets,
                             der::IntegerValue(value, number, "cRLNumber"));
    parsed.crl_number = std::string(octets);
    return absl::OkStatus();
  }
  return absl::OkStatus();
}

bool IsOurs(std::string_view oid) {
  return oid == oid::kSubjectKeyId || oid == oid::kAuthorityKeyId ||
         oid == oid::kBasicConstraints || oid == oid::kKeyUsage || oid == oid::kExtendedKeyUsage ||
         oid == oid::kSubjectAltName || oid == oid::kCrlNumber;
}

bool HasNames(const SubjectAltNames& sans) {
  return !sans.dns.empty() || !sans.ips.empty() || !sans.emails.empty() || !sans.uris.empty();
}

}  // namespace

std::string EncodeExtension(std::string_view oid, bool critical, std::string_view value) {
  return der::Sequence(der::Element(der::kObjectId, oid),
                       critical ? der::Element(der::kBoolean, "\xff") : "",
                       der::Element(der::kOctetString, value));
}

std::string EncodeKeyUsage(uint32_t bits, bool critical) {
  return EncodeExtension(oid::kKeyUsage, critical, der::NamedBits(bits & kAllKeyUsages));
}

std::string EncodeBasicConstraints(const Extensions::BasicConstraints& constraints) {
  std::string fields;
  if (constraints.ca) {  // FALSE is the default, which DER leaves out
    fields = der::Element(der::kBoolean, "\xff");
    if (constraints.path_length.has_value()) {
      fields += der::UnsignedInteger(static_cast<uint64_t>(*constraints.path_length));
    }
  }
  return EncodeExtension(oid::kBasicConstraints, constraints.critical,
                         der::Element(der::kSequence, fields));
}

absl::StatusOr<std::string> EncodeExtendedKeyUsage(const std::vector<std::string>& purposes,
                                                   bool critical) {
  std::string list;
  for (const std::string& purpose : purposes) {
    CAPSTAN_ASSIGN_OR_RETURN(std::string oid, oid::FromText(purpose));
    list += der::Element(der::kObjectId, oid);
  }
  return EncodeExtension(oid::kExtendedKeyUsage, critical, der::Element(der::kSequence, list));
}

std::string EncodeAuthorityKeyId(std::string_view key_id) {
  return EncodeExtension(oid::kAuthorityKeyId, false,
                         der::Sequence(der::Element(der::Primitive(0), key_id)));
}

absl::StatusOr<std::string> EncodeSubjectAltNames(const SubjectAltNames& sans, bool critical) {
  if (!HasNames(sans)) {
    return absl::InvalidArgumentError("a subjectAltName needs at least one name");
  }
  std::string names;
  CAPSTAN_RETURN_IF_ERROR(AppendTextNames(names, kDnsName, "DNS", sans.dns));
  for (const std::string& ip : sans.ips) {
    CAPSTAN_ASSIGN_OR_RETURN(std::string octets, IpFromText(ip));
    names += der::Element(kIpName, octets);
  }
  CAPSTAN_RETURN_IF_ERROR(AppendTextNames(names, kEmailName, "email", sans.emails));
  CAPSTAN_RETURN_IF_ERROR(AppendTextNames(names, kUriName, "URI", sans.uris));
  return EncodeExtension(oid::kSubjectAltName, critical, der::Element(der::kSequence, names));
}

absl::StatusOr<std::string> EncodeExtensions(const Extensions& extensions,
                                             std::string_view subject_key_id,
                                             std::string_view authority_key_id) {
  std::string out;
  if (extensions.subject_key_id) {
    out +=
        EncodeExtension(oid::kSubjectKeyId, false, der::Element(der::kOctetString, subject_key_id));
  }
  if (const auto& constraints = extensions.basic_constraints) {
    if (constraints->path_length.value_or(0) < 0 ||
        (!constraints->ca && constraints->path_length.has_value())) {
      return absl::InvalidArgumentError(
          "basicConstraints: a path length is a number from 0, and only with CA:TRUE");
    }
    out += EncodeBasicConstraints(*constraints);
  }
  if (extensions.key_usage.has_value()) {
    out += EncodeKeyUsage(extensions.key_usage->bits, extensions.key_usage->critical);
  }
  if (!extensions.extended_key_usage.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(std::string usage,
                             EncodeExtendedKeyUsage(extensions.extended_key_usage,
                                                    extensions.extended_key_usage_critical));
    out += usage;
  }
  if (HasNames(extensions.sans)) {
    CAPSTAN_ASSIGN_OR_RETURN(std::string sans,
                             EncodeSubjectAltNames(extensions.sans, extensions.sans.critical));
    out += sans;
  }
  if (extensions.authority_key_id && !authority_key_id.empty()) {
    out += EncodeAuthorityKeyId(authority_key_id);
  }
  return out;
}

absl::StatusOr<ParsedExtensions> ParseExtensions(der::Reader list) {
  ParsedExtensions parsed;
  std::set<std::string_view> seen;
  while (!list.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader extension, list.Enter(der::kSequence, "extension"));
    CAPSTAN_ASSIGN_OR_RETURN(der::Item oid, extension.Read(der::kObjectId, "extension identifier"));
    CAPSTAN_RETURN_IF_ERROR(der::CheckObjectId(extension, oid, "extension identifier"));
    if (!seen.insert(oid.content).second) {
      return extension.ErrorAt(
          oid.full, absl::StrCat("the extension ", oid::ToShortName(oid.content), " occurs twice"));
    }
    bool critical = false;
    if (extension.NextTag() == der::kBoolean) {
      CAPSTAN_ASSIGN_OR_RETURN(der::Item flag, extension.Read(der::kBoolean, "critical"));
      CAPSTAN_ASSIGN_OR_RETURN(critical, der::BooleanValue(extension, flag, "critical"));
    }
    CAPSTAN_ASSIGN_OR_RETURN(der::Item octets,
                             extension.Read(der::kOctetString, "extension value"));
    der::Reader value = extension.Inside(octets);
    CAPSTAN_RETURN_IF_ERROR(extension.ExpectEnd("extension"));
    if (oid.content == oid::kNameConstraints) parsed.name_constraints_der = octets.content;
    if (critical) parsed.critical.emplace_back(oid.content);
    CAPSTAN_RETURN_IF_ERROR(ReadExtension(oid.content, critical, value, parsed));
    if (IsOurs(oid.content)) {
      CAPSTAN_RETURN_IF_ERROR(value.ExpectEnd(oid::ToShortName(oid.content)));
    }
  }
  return parsed;
}

}  // namespace capstan::x509
