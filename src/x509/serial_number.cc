// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/strings.h"
#include "x509/certificate.h"

namespace capstan::x509 {
namespace {

// Serial numbers of at most 20 octets are made; much longer ones are nobody's.
constexpr size_t kMaxHexDigits = 128;

std::string_view WithoutLeadingZeros(std::string_view big_endian) {
  while (!big_endian.empty() && big_endian.front() == 0) {
    big_endian.remove_prefix(1);
  }
  return big_endian;
}

std::string NegateTwosComplement(std::string octets) {
  int carry = 1;
  for (auto it = octets.rbegin(); it != octets.rend(); ++it) {
    const int sum = static_cast<uint8_t>(~static_cast<uint8_t>(*it)) + carry;
    *it = static_cast<char>(sum);
    carry = sum >> 8;
  }
  return octets;
}

}  // namespace

SerialNumber SerialNumber::FromBytes(std::string_view big_endian) {
  return SerialNumber(std::string(WithoutLeadingZeros(big_endian)), false);
}

SerialNumber SerialNumber::FromDerInteger(std::string_view content) {
  if (content.empty() || (static_cast<uint8_t>(content.front()) & 0x80) == 0) {
    return FromBytes(content);
  }
  return SerialNumber(std::string(WithoutLeadingZeros(NegateTwosComplement(std::string(content)))),
                      true);
}

absl::StatusOr<SerialNumber> SerialNumber::ParseHex(std::string_view hex) {
  std::string digits = absl::StrReplaceAll(hex, {{":", ""}});
  const bool all_hex =
      std::all_of(digits.begin(), digits.end(), [](char c) { return absl::ascii_isxdigit(c); });
  if (digits.empty() || !all_hex || digits.size() > kMaxHexDigits) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", absl::CHexEscape(hex.substr(0, kMaxHexDigits)),
                     "\" is no serial number: write it in hexadecimal"));
  }
  if (digits.size() % 2 != 0) {
    digits.insert(0, "0");
  }
  return FromBytes(absl::HexStringToBytes(digits));
}

std::string SerialNumber::ToHex() const {
  std::string hex = absl::BytesToHexString(bytes_);
  if (hex.empty()) {
    return "0";
  }
  if (hex.front() == '0') {
    hex.erase(0, 1);
  }
  return negative_ ? absl::StrCat("-", hex) : hex;
}

std::string SerialNumber::ToDecimal() const {
  // Base 10^9, least significant first: multiply by 256 and add each octet.
  constexpr uint64_t kBase = 1'000'000'000;
  std::vector<uint32_t> groups;
  for (const char c : bytes_) {
    uint64_t carry = static_cast<uint8_t>(c);
    for (uint32_t& group : groups) {
      const uint64_t value = static_cast<uint64_t>(group) * 256 + carry;
      group = static_cast<uint32_t>(value % kBase);
      carry = value / kBase;
    }
    if (carry != 0) {
      groups.push_back(static_cast<uint32_t>(carry));
    }
  }
  if (groups.empty()) {
    return "0";
  }
  std::string text = absl::StrCat(negative_ ? "-" : "", groups.back());
  for (auto it = groups.rbegin() + 1; it != groups.rend(); ++it) {
    absl::StrAppend(&text, absl::Dec(*it, absl::kZeroPad9));
  }
  return text;
}

}  // namespace capstan::x509
