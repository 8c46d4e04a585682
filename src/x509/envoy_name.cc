// SPDX-License-Identifier: Apache-2.0
#include "x509/envoy_name.h"

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "x509/der.h"
#include "x509/oid.h"

namespace capstan::x509 {
namespace {

constexpr uint8_t kEnumerated = 0x0a;
constexpr uint8_t kExternal = 0x28;
constexpr uint8_t kUniversalString = 0x1c;
constexpr uint8_t kBmpString = 0x1e;
constexpr uint8_t kConstructedBit = 0x20;
constexpr uint8_t kClassBits = 0xc0;

uint32_t Octet(std::string_view text, size_t at) {
  return static_cast<uint8_t>(text[at]);
}

// The next character, taken from `text`; nullopt where there is no whole one.
using Decoder = std::optional<uint32_t> (*)(std::string_view& text);

std::optional<uint32_t> TakeUtf8(std::string_view& text) {
  const uint32_t first = Octet(text, 0);
  const size_t size = first < 0x80             ? 1
                      : (first & 0xe0) == 0xc0 ? 2
                      : (first & 0xf0) == 0xe0 ? 3
                      : (first & 0xf8) == 0xf0 ? 4
                                               : 0;
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (size == 0 || size > text.size()) return std::nullopt;
  uint32_t c = size == 1 ? first : first & (0x7fU >> size);
  for (size_t i = 1; i < size; ++i) {
    if ((Octet(text, i) & 0xc0) != 0x80) return std::nullopt;
    c = c << 6 | (Octet(text, i) & 0x3f);
  }
  if (c < kLeast[size]) return std::nullopt;
  text.remove_prefix(size);
  return c;
}

template <size_t kSize>
std::optional<uint32_t> TakeBigEndian(std::string_view& text) {
  if (text.size() < kSize) return std::nullopt;
  uint32_t c = 0;
  for (size_t i = 0; i < kSize; ++i) c = c << 8 | Octet(text, i);
  text.remove_prefix(kSize);
  return c;
}

std::string WhyNoCharacter(uint32_t c) {
  if (c > 0x10ffff) return "is beyond Unicode";
  if (c >= 0xd800 && c <= 0xdfff) return "is half of a surrogate pair";
  if ((c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe) return "is no character";
  return "";
}

// Why a value cannot be read; "" where it can.
std::string WhyNoText(std::string_view text, std::string_view kind, Decoder take) {
  while (!text.empty()) {
    const std::optional<uint32_t> c = take(text);
    if (!c.has_value()) return absl::StrCat("a ", kind, " that does not decode");
    if (const std::string why = WhyNoCharacter(*c); !why.empty()) {
      return absl::StrFormat("a %s with U+%04X, which %s", kind, *c, why);
    }
  }
  return "";
}

// Of the kinds that have a form of their own, by the rules of DER.
absl::Status CheckForm(const der::Reader& reader, const der::Item& value) {
  int unused = 0;
  switch (value.tag) {
    case der::kBitString:
      return der::BitStringValue(reader, value, unused, "").status();
    case der::kBoolean:
      return der::BooleanValue(reader, value, "").status();
    case der::kInteger:
    case kEnumerated:
      return der::IntegerValue(reader, value, "").status();
    case der::kObjectId:
      return der::CheckObjectId(reader, value, "");
    case der::kUtcTime:
    case der::kGeneralizedTime: {
      der::Reader time(value.full);
      return der::ReadTime(time, "").status();
    }
    case der::kNull:
      return value.content.empty() ? absl::OkStatus() : absl::InvalidArgumentError("not empty");
    default:
      break;
  }
  const bool constructed = (value.tag & kConstructedBit) != 0 && (value.tag & kClassBits) == 0;
  const bool may_be =
      value.tag == der::kSequence || value.tag == der::kSet || value.tag == kExternal;
  return constructed && !may_be ? absl::InvalidArgumentError("constructed") : absl::OkStatus();
}

std::string WhyUnreadable(const der::Reader& reader, const der::Item& value) {
  switch (value.tag) {
    case der::kUtf8String:
      return WhyNoText(value.content, "UTF8String", &TakeUtf8);
    case kBmpString:
      return WhyNoText(value.content, "BMPString", &TakeBigEndian<2>);
    case kUniversalString:
      return WhyNoText(value.content, "UniversalString", &TakeBigEndian<4>);
    default:
      break;
  }
  if (CheckForm(reader, value).ok()) return "";
  return absl::StrFormat("a value of tag 0x%02x that DER does not allow", value.tag);
}

}  // namespace

absl::Status CheckEnvoyReadsName(std::string_view der) {
  der::Reader outer(der);
  CAPSTAN_ASSIGN_OR_RETURN(der::Reader rdns, outer.Enter(der::kSequence, "name"));
  while (!rdns.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(der::Reader rdn, rdns.Enter(der::kSet, "relative name"));
    while (!rdn.empty()) {
      CAPSTAN_ASSIGN_OR_RETURN(der::Reader pair, rdn.Enter(der::kSequence, "name attribute"));
      CAPSTAN_ASSIGN_OR_RETURN(const der::Item type,
                               pair.Read(der::kObjectId, "name attribute type"));
      CAPSTAN_ASSIGN_OR_RETURN(const der::Item value, pair.ReadAny("name attribute value"));
      if (const std::string why = WhyUnreadable(pair, value); !why.empty()) {
        return absl::InvalidArgumentError(
            absl::StrCat(oid::ToShortName(type.content), " is ", why));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace capstan::x509
