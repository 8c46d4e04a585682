// SPDX-License-Identifier: Apache-2.0
#include "x509/der.h"

#include <bit>

#include "absl/strings/str_format.h"
#include "absl/time/civil_time.h"
#include "base/status.h"
#include "base/strings.h"

namespace capstan::x509::der {
namespace {

// No input of ours is larger, and four length octets are enough for it.
constexpr int kMaxLengthOctets = 4;

void AppendLength(std::string& out, size_t length) {
  if (length < 0x80) {
    out.push_back(static_cast<char>(length));
    return;
  }
  const int octets = (std::bit_width(length) + 7) / 8;
  out.push_back(static_cast<char>(0x80 | octets));
  for (int i = octets - 1; i >= 0; --i) {
    out.push_back(static_cast<char>(length >> (8 * i)));
  }
}

bool ParseTwoDigits(std::string_view text, size_t at, int& value) {
  const char high = text[at];
  const char low = text[at + 1];
  if (high < '0' || high > '9' || low < '0' || low > '9') {
    return false;
  }
  value = (high - '0') * 10 + (low - '0');
  return true;
}

}  // namespace

std::string Element(uint8_t tag, std::string_view content) {
  std::string out;
  out.reserve(content.size() + 6);
  out.push_back(static_cast<char>(tag));
  AppendLength(out, content.size());
  out.append(content);
  return out;
}

std::string UnsignedInteger(std::string_view big_endian) {
  while (!big_endian.empty() && big_endian.front() == 0) {
    big_endian.remove_prefix(1);
  }
  // A set top bit would read as a negative number; zero has one octet.
  if (big_endian.empty() || (static_cast<uint8_t>(big_endian.front()) & 0x80) != 0) {
    return Element(kInteger, absl::StrCat(std::string_view("\0", 1), big_endian));
  }
  return Element(kInteger, big_endian);
}

std::string UnsignedInteger(uint64_t value) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) {
    bytes.push_back(static_cast<char>(value >> shift));
  }
  return UnsignedInteger(bytes);
}

std::string BitString(std::string_view octets, int unused) {
  const char head = static_cast<char>(unused);
  return Element(kBitString, absl::StrCat(std::string_view(&head, 1), octets));
}

std::string NamedBits(uint32_t bits) {
  const int count = std::bit_width(bits);
  std::string octets((count + 7) / 8, '\0');
  for (int i = 0; i < count; ++i) {
    if ((bits >> i) & 1) {
      octets[i / 8] = static_cast<char>(octets[i / 8] | (0x80 >> (i % 8)));
    }
  }
  return BitString(octets, static_cast<int>(octets.size()) * 8 - count);
}

absl::StatusOr<std::string> Time(absl::Time time) {
  const absl::CivilSecond t = absl::ToCivilSecond(time, absl::UTCTimeZone());
  if (time == absl::InfiniteFuture() || time == absl::InfinitePast() || t.year() < 0 ||
      t.year() > 9999) {
    return absl::InvalidArgumentError(
        absl::StrCat("the time ", absl::FormatTime(time, absl::UTCTimeZone()),
                     " cannot be written in a certificate: the year must be 0 to 9999"));
  }
  const bool utc_time = t.year() >= 1950 && t.year() < 2050;
  const std::string rest = absl::StrFormat("%02d%02d%02d%02d%02dZ", t.month(), t.day(), t.hour(),
                                           t.minute(), t.second());
  if (utc_time) {
    return Element(kUtcTime, absl::StrFormat("%02d", t.year() % 100) + rest);
  }
  return Element(kGeneralizedTime, absl::StrFormat("%04d", t.year()) + rest);
}

absl::Status Reader::ErrorAt(std::string_view at, std::string_view message) const {
  return absl::InvalidArgumentError(absl::StrCat("byte ", at.data() - origin_, ": ", message));
}

absl::StatusOr<Item> Reader::ReadAny(std::string_view what) {
  if (rest_.empty()) {
    return ErrorAt(rest_, absl::StrCat(what, " is missing"));
  }
  const uint8_t tag = static_cast<uint8_t>(rest_.front());
  if ((tag & 0x1f) == 0x1f) {
    return ErrorAt(rest_,
                   absl::StrCat(what, " has a tag number above 30, which X.509 does not use"));
  }
  if (rest_.size() < 2) {
    return ErrorAt(rest_, absl::StrCat(what, " is cut off"));
  }
  const uint8_t first = static_cast<uint8_t>(rest_[1]);
  size_t header = 2;
  size_t length = first;
  if (first >= 0x80) {
    const int octets = first & 0x7f;
    if (octets == 0) {
      return ErrorAt(rest_, absl::StrCat(what, " has an indefinite length, which DER forbids"));
    }
    if (octets > kMaxLengthOctets) {
      return ErrorAt(rest_, absl::StrCat(what, " claims to be larger than any input"));
    }
    if (rest_.size() < header + octets) {
      return ErrorAt(rest_, absl::StrCat(what, " is cut off"));
    }
    length = 0;
    for (int i = 0; i < octets; ++i) {
      length = length << 8 | static_cast<uint8_t>(rest_[header++]);
    }
    if (length < 0x80 || length >> (8 * (octets - 1)) == 0) {
      return ErrorAt(rest_, absl::StrCat("the length of ", what, " is not in its shortest form"));
    }
  }
  if (rest_.size() - header < length) {
    return ErrorAt(rest_, absl::StrCat(what, " is cut off: it claims ", length, " bytes and ",
                                       rest_.size() - header, " follow"));
  }
  Item item{tag, rest_.substr(header, length), rest_.substr(0, header + length)};
  rest_.remove_prefix(header + length);
  return item;
}

absl::StatusOr<Item> Reader::Read(uint8_t tag, std::string_view what) {
  if (!rest_.empty() && NextTag() != tag) {
    return ErrorAt(
        rest_, absl::StrFormat("%s expected (tag 0x%02x), found tag 0x%02x", what, tag, NextTag()));
  }
  return ReadAny(what);
}

absl::Status Reader::ExpectEnd(std::string_view what) const {
  if (rest_.empty()) {
    return absl::OkStatus();
  }
  return ErrorAt(rest_, absl::StrCat(rest_.size(), " unexpected bytes after ", what));
}

absl::StatusOr<Reader> Reader::Enter(uint8_t tag, std::string_view what) {
  CAPSTAN_ASSIGN_OR_RETURN(Item item, Read(tag, what));
  return Inside(item);
}

absl::StatusOr<absl::Time> ReadTime(Reader& reader, std::string_view what) {
  CAPSTAN_ASSIGN_OR_RETURN(Item item, reader.ReadAny(what));
  const bool utc_time = item.tag == kUtcTime;
  const std::string_view text = item.content;
  const auto malformed = [&] {
    return reader.ErrorAt(item.full, absl::StrCat(what, " is not a time of the form ",
                                                  utc_time ? "YYMMDDHHMMSSZ" : "YYYYMMDDHHMMSSZ"));
  };
  if ((!utc_time && item.tag != kGeneralizedTime) || text.size() != (utc_time ? 13u : 15u) ||
      text.back() != 'Z') {
    return malformed();
  }
  int century = 0;
  size_t at = 0;
  if (!utc_time) {
    if (!ParseTwoDigits(text, 0, century)) {
      return malformed();
    }
    at = 2;
  }
  int field[6];  // year of the century, month, day, hour, minute, second
  for (int& value : field) {
    if (!ParseTwoDigits(text, at, value)) {
      return malformed();
    }
    at += 2;
  }
  if (utc_time) {
    century = field[0] >= 50 ? 19 : 20;  // RFC 5280 section 4.1.2.5.1
  }
  const absl::CivilSecond civil(century * 100 + field[0], field[1], field[2], field[3], field[4],
                                field[5]);
  if (civil.month() != field[1] || civil.day() != field[2] || civil.hour() != field[3] ||
      civil.minute() != field[4] || civil.second() != field[5]) {
    return reader.ErrorAt(item.full, absl::StrCat(what, " is not a date of the calendar"));
  }
  return absl::FromCivil(civil, absl::UTCTimeZone());
}

absl::StatusOr<bool> BooleanValue(const Reader& reader, const Item& item, std::string_view what) {
  if (item.content.size() != 1 ||
      (item.content[0] != '\0' && static_cast<uint8_t>(item.content[0]) != 0xff)) {
    return reader.ErrorAt(item.full, absl::StrCat(what, " is neither TRUE nor FALSE"));
  }
  return item.content[0] != '\0';
}

absl::StatusOr<std::string_view> BitStringValue(const Reader& reader, const Item& item, int& unused,
                                                std::string_view what) {
  const auto malformed = [&] {
    return reader.ErrorAt(item.full, absl::StrCat(what, " is not a well-formed bit string"));
  };
  if (item.content.empty()) {
    return malformed();
  }
  unused = static_cast<uint8_t>(item.content.front());
  const std::string_view octets = item.content.substr(1);
  if (unused > 7 || (octets.empty() && unused != 0)) {
    return malformed();
  }
  if (unused != 0 && (static_cast<uint8_t>(octets.back()) & ((1 << unused) - 1)) != 0) {
    return malformed();
  }
  return octets;
}

absl::StatusOr<std::string_view> OctetsValue(const Reader& reader, const Item& item,
                                             std::string_view what) {
  int unused = 0;
  CAPSTAN_ASSIGN_OR_RETURN(std::string_view octets, BitStringValue(reader, item, unused, what));
  if (unused != 0) {
    return reader.ErrorAt(item.full, absl::StrCat(what, " is no whole number of bytes"));
  }
  return octets;
}

absl::StatusOr<std::string_view> IntegerValue(const Reader& reader, const Item& item,
                                              std::string_view what) {
  const std::string_view v = item.content;
  if (v.empty()) {
    return reader.ErrorAt(item.full, absl::StrCat(what, " is an integer without octets"));
  }
  if (v.size() > 1) {
    const bool next_high = (static_cast<uint8_t>(v[1]) & 0x80) != 0;
    const uint8_t first = static_cast<uint8_t>(v[0]);
    if ((first == 0x00 && !next_high) || (first == 0xff && next_high)) {
      return reader.ErrorAt(item.full, absl::StrCat(what, " is not in its shortest form"));
    }
  }
  return v;
}

absl::Status CheckObjectId(const Reader& reader, const Item& item, std::string_view what) {
  const std::string_view v = item.content;
  bool at_start = true;  // of an arc: 0x80 there is a leading zero
  for (const char c : v) {
    const uint8_t octet = static_cast<uint8_t>(c);
    if (at_start && octet == 0x80) {
      return reader.ErrorAt(item.full,
                            absl::StrCat(what, " is not a well-formed object identifier"));
    }
    at_start = (octet & 0x80) == 0;
  }
  if (v.empty() || !at_start) {
    return reader.ErrorAt(item.full, absl::StrCat(what, " is not a well-formed object identifier"));
  }
  return absl::OkStatus();
}

}  // namespace capstan::x509::der
