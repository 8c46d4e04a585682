// SPDX-License-Identifier: Apache-2.0
// The Distinguished Encoding Rules (X.690 section 10), as far as X.509 needs them: a writer that
// concatenates, and a reader that refuses what is not DER and says at which byte. OpenSSL's own
// decoders accept BER and tell no position; its encoders cost several times a signature.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace capstan::x509::der {

enum Tag : uint8_t {
  kBoolean = 0x01,
  kInteger = 0x02,
  kBitString = 0x03,
  kOctetString = 0x04,
  kNull = 0x05,
  kObjectId = 0x06,
  kUtf8String = 0x0c,
  kPrintableString = 0x13,
  kIa5String = 0x16,
  kUtcTime = 0x17,
  kGeneralizedTime = 0x18,
  kSequence = 0x30,
  kSet = 0x31,
};
// Context-specific tags: [n] holding other elements, [n] holding bare content.
constexpr uint8_t Constructed(int n) {
  return static_cast<uint8_t>(0xa0 | n);
}
constexpr uint8_t Primitive(int n) {
  return static_cast<uint8_t>(0x80 | n);
}

// --- Writing ---

std::string Element(uint8_t tag, std::string_view content);

template <typename... Parts>
std::string Sequence(const Parts&... parts) {
  return Element(kSequence, absl::StrCat(parts...));
}

// A non-negative integer from its big-endian bytes, leading zeros allowed.
std::string UnsignedInteger(std::string_view big_endian);
std::string UnsignedInteger(uint64_t value);
// Whole octets; `unused` bits at the end of the last one.
std::string BitString(std::string_view octets, int unused = 0);
// The named bits of X.690 section 11.2.2: bit i of `bits` is bit i of the string, without trailing
// zeros.
std::string NamedBits(uint32_t bits);
// RFC 5280 section 4.1.2.5: UTCTime from 1950 to 2049, else GeneralizedTime; whole seconds, rounded
// down. InvalidArgument outside the years 0 to 9999.
absl::StatusOr<std::string> Time(absl::Time time);

// --- Reading ---

// One element: views into the text being read.
struct Item {
  uint8_t tag = 0;
  std::string_view content;
  std::string_view full;  // with tag and length
};

// Reads elements one after the other. Every error names `what` and the byte where it is, counted
// from the start of the outermost text.
class Reader {
 public:
  explicit Reader(std::string_view text) : origin_(text.data()), rest_(text) {}

  bool empty() const { return rest_.empty(); }
  // The next tag, or 0 at the end.
  uint8_t NextTag() const { return rest_.empty() ? 0 : static_cast<uint8_t>(rest_.front()); }

  absl::StatusOr<Item> ReadAny(std::string_view what);
  absl::StatusOr<Item> Read(uint8_t tag, std::string_view what);
  // A reader of what an element of this reader holds.
  Reader Inside(const Item& item) const { return Reader(origin_, item.content); }
  absl::Status ExpectEnd(std::string_view what) const;
  // Reads an element and steps into it.
  absl::StatusOr<Reader> Enter(uint8_t tag, std::string_view what);

  // InvalidArgument: "byte N: MESSAGE" for the place of `at`, a view into the text.
  absl::Status ErrorAt(std::string_view at, std::string_view message) const;

 private:
  Reader(const char* origin, std::string_view rest) : origin_(origin), rest_(rest) {}
  const char* origin_;
  std::string_view rest_;
};

// The values of elements. `reader` is asked for error positions only.
absl::StatusOr<absl::Time> ReadTime(Reader& reader, std::string_view what);  // either kind
absl::StatusOr<bool> BooleanValue(const Reader& reader, const Item& item, std::string_view what);
// The octets of a BIT STRING; `unused` receives how many bits of the last are padding (all zero).
absl::StatusOr<std::string_view> BitStringValue(const Reader& reader, const Item& item, int& unused,
                                                std::string_view what);
// The same where padding is an error: keys and signatures.
absl::StatusOr<std::string_view> OctetsValue(const Reader& reader, const Item& item,
                                             std::string_view what);
// Checks the shortest form (X.690 section 8.3.2) and gives back the content, sign octet included.
absl::StatusOr<std::string_view> IntegerValue(const Reader& reader, const Item& item,
                                              std::string_view what);
absl::Status CheckObjectId(const Reader& reader, const Item& item, std::string_view what);

}  // namespace capstan::x509::der
