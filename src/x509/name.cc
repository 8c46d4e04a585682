// SPDX-License-Identifier: Apache-2.0
#include "x509/name.h"

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/objects.h>

#include <algorithm>
#include <array>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/der.h"
#include "x509/oid.h"
#include "x509/openssl.h"

namespace capstan::x509 {
namespace {

// The attributes Go's pkix.Name has fields for, in the order it prints them.
struct KnownAttribute {
  std::string_view type;     // OpenSSL's short name
  std::string_view printed;  // Go's
  bool last_only;            // a single field: of several, the last counts
};
constexpr std::array<KnownAttribute, 9> kGoOrder = {{
    {"serialNumber", "SERIALNUMBER", true},
    {"CN", "CN", true},
    {"OU", "OU", false},
    {"O", "O", false},
    {"postalCode", "POSTALCODE", false},
    {"street", "STREET", false},
    {"L", "L", false},
    {"ST", "ST", false},
    {"C", "C", false},
}};

bool IsKnown(std::string_view type) {
  return std::any_of(kGoOrder.begin(), kGoOrder.end(),
                     [&](const KnownAttribute& known) { return known.type == type; });
}

std::string Escape(std::string_view value) {
  std::string out;
  for (size_t i = 0; i < value.size(); ++i) {
    const char c = value[i];
    const bool at_edge = i == 0 || i + 1 == value.size();
    if (std::string_view(",+\"\\<>;").find(c) != std::string_view::npos || (c == ' ' && at_edge) ||
        (c == '#' && i == 0)) {
      out.push_back('\\');
    }
    out.push_back(c);
  }
  return out;
}

// PrintableString as Go's encoder understands it.
bool IsPrintable(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) {
    return absl::ascii_isalnum(c) ||
           std::string_view(" '()+,-./:=?").find(c) != std::string_view::npos;
  });
}

// An attribute Go has no field for: the dotted type and its value in hexadecimal DER.
std::string PrintUnknown(std::string_view type, std::string_view value) {
  const auto oid = oid::FromText(type);
  const std::string dotted = oid.ok() ? oid::ToDotted(*oid) : std::string(type);
  const uint8_t tag = IsPrintable(value) ? der::kPrintableString : der::kUtf8String;
  return absl::StrCat(dotted, "=#", absl::BytesToHexString(der::Element(tag, value)));
}

absl::StatusOr<std::string> EncodeValue(std::string_view type, std::string_view oid,
                                        std::string_view value) {
  const int nid = OBJ_txt2nid(std::string(type).c_str());
  if (nid == NID_undef) {
    return der::Element(der::kUtf8String, value);
  }
  // OpenSSL knows which string type an attribute takes and how long it may be.
  const Asn1StringPtr string(ASN1_STRING_set_by_NID(
      nullptr, Bytes(value), static_cast<int>(value.size()), MBSTRING_UTF8, nid));
  if (string == nullptr) {
    return OpenSslError(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("the name attribute ", type, "=\"", absl::CHexEscape(value), "\" is refused"));
  }
  return der::Element(
      static_cast<uint8_t>(ASN1_STRING_type(string.get())),
      std::string_view(reinterpret_cast<const char*>(ASN1_STRING_get0_data(string.get())),
                       ASN1_STRING_length(string.get())));
}

// The text of a string value in UTF-8; of anything else '#' and its DER, as RFC 2253 writes it.
std::string DecodeValue(const der::Item& item) {
  const auto hex = [&] { return absl::StrCat("#", absl::BytesToHexString(item.full)); };
  switch (item.tag) {
    case V_ASN1_UTF8STRING:
    case V_ASN1_PRINTABLESTRING:
    case V_ASN1_IA5STRING:
    case V_ASN1_NUMERICSTRING:
    case V_ASN1_VISIBLESTRING:
    case V_ASN1_T61STRING:
    case V_ASN1_BMPSTRING:
    case V_ASN1_UNIVERSALSTRING:
      break;
    default:
      return hex();
  }
  const Asn1StringPtr string(ASN1_STRING_type_new(item.tag));
  unsigned char* utf8 = nullptr;
  if (string == nullptr || ASN1_STRING_set(string.get(), item.content.data(),
                                           static_cast<int>(item.content.size())) != 1) {
    return hex();
  }
  const int size = ASN1_STRING_to_UTF8(&utf8, string.get());
  if (size < 0) {
    ERR_clear_error();
    return hex();
  }
  std::string text(reinterpret_cast<char*>(utf8), size);
  OPENSSL_free(utf8);
  return text;
}

}  // namespace

absl::StatusOr<std::string> Name::ToDer() const {
  std::string rdns;
  for (const auto& [type, value] : attributes) {
    CAPSTAN_ASSIGN_OR_RETURN(std::string oid, oid::FromText(type));
    if (value.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the name attribute ", type, " is empty: leave it out"));
    }
    CAPSTAN_ASSIGN_OR_RETURN(std::string encoded, EncodeValue(type, oid, value));
    rdns += der::Element(der::kSet, der::Sequence(der::Element(der::kObjectId, oid), encoded));
  }
  return der::Element(der::kSequence, rdns);
}

absl::StatusOr<Name> Name::FromDer(std::string_view der) {
  der::Reader outer(der);
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader rdns, outer.Enter(der::kSequence, "name"));
  CAPSTAN_RETURN_IF_ERROR(outer.ExpectEnd("name"));
  Name name;
  while (!rdns.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader rdn, rdns.Enter(der::kSet, "relative name"));
    do {
      CAPSTAN_ASSIGN_OR_RETURN(der::Reader pair, rdn.Enter(der::kSequence, "name attribute"));
      CAPSTAN_ASSIGN_OR_RETURN(der::Item type, pair.Read(der::kObjectId, "name attribute type"));
      CAPSTAN_RETURN_IF_ERROR(der::CheckObjectId(pair, type, "name attribute type"));
      CAPSTAN_ASSIGN_OR_RETURN(der::Item value, pair.ReadAny("name attribute value"));
      CAPSTAN_RETURN_IF_ERROR(pair.ExpectEnd("name attribute"));
      name.attributes.emplace_back(oid::ToShortName(type.content), DecodeValue(value));
    } while (!rdn.empty());
  }
  return name;
}

std::string ToRfc2253(const Name& name) {
  std::vector<std::string> parts;
  for (const KnownAttribute& known : kGoOrder) {
    std::vector<std::string> values;
    for (const auto& [type, value] : name.attributes) {
      if (type != known.type) {
        continue;
      }
      if (known.last_only) {
        values.clear();
      }
      if (!value.empty() || !known.last_only) {
        values.push_back(absl::StrCat(known.printed, "=", Escape(value)));
      }
    }
    if (!values.empty()) {
      parts.push_back(absl::StrJoin(values, "+"));
    }
  }
  for (auto it = name.attributes.rbegin(); it != name.attributes.rend(); ++it) {
    if (!IsKnown(it->first)) {
      parts.push_back(PrintUnknown(it->first, it->second));
    }
  }
  return absl::StrJoin(parts, ",");
}

}  // namespace capstan::x509
