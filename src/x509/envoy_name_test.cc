// SPDX-License-Identifier: Apache-2.0
#include "x509/envoy_name.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "absl/strings/escaping.h"
#include "base/strings.h"
#include "x509/der.h"
#include "x509/name.h"

namespace capstan::x509 {
namespace {

using ::testing::HasSubstr;

const std::string kCommonName = der::Element(der::kObjectId, "\x55\x04\x03");

std::string NameWith(uint8_t tag, std::string_view content) {
  return der::Sequence(
      der::Element(der::kSet, der::Sequence(kCommonName, der::Element(tag, content))));
}

struct Value {
  uint8_t tag;
  std::string content;
  bool readable;
};

// What Envoy 1.40 said (`--mode validate`, trusted_ca) of roots with these values for a CN.
TEST(EnvoyNameTest, SaysWhatEnvoySays) {
  using std::string_literals::operator""s;
  const Value kTried[] = {
      {0x0c, "Root", true},
      {0x0c, "", true},
      {0x0c, "R\0"s, true},
      {0x0c, "\xf4\x8f\xbf\xbd", true},
      {0x0c, "R\xe9", false},             // Latin-1
      {0x0c, "\xc0\x80", false},          // U+0000, too long
      {0x0c, "\xed\xa0\x80", false},      // a surrogate
      {0x0c, "\xef\xbf\xbf", false},      // U+FFFF
      {0x0c, "\xef\xb7\x90", false},      // U+FDD0
      {0x0c, "\xf4\x90\x80\x80", false},  // beyond Unicode
      {0x13, "Root@*_&", true},           // no PrintableString, and yet
      {0x13, "R\xe9\0t"s, true},
      {0x14, "R\xe9\xff", true},  // T61String
      {0x16, "R\xe9", true},      // IA5String
      {0x1a, "R\x01\xff", true},  // VisibleString
      {0x12, "abc", true},        // NumericString
      {0x1e, "\0R\0o"s, true},    // BMPString
      {0x1e, "\0R\0"s, false},
      {0x1e, "\xd8\0\xdc\0"s, false},
      {0x1e, "\xff\xff", false},
      {0x1c, "\0\0\0R"s, true},  // UniversalString
      {0x1c, "\0\0\0R\0"s, false},
      {0x1c, "\0\x11\0\0"s, false},
      {0x1c, "\0\0\xd8\0"s, false},
      {0x1c, "\0\x01\xff\xfe"s, false},
      {0x03, "\0R"s, true},  // BIT STRING
      {0x03, "\x01\x03", false},
      {0x03, "", false},
      {0x03, "\x09R", false},
      {0x02, "\x01", true},
      {0x02, "\0\x01"s, false},
      {0x02, "", false},
      {0x0a, "\0\x01"s, false},
      {0x01, "\xff", true},
      {0x01, "\x01", false},
      {0x05, "", true},
      {0x05, "\0"s, false},
      {0x06, "\x55\x04\x03", true},
      {0x06, "\x80\x01", false},
      {0x17, "240101000000Z", true},
      {0x17, "nonsense", false},
      {0x18, "nonsense", false},
      {0x04, "R", true},
      {0x30, "junk", true},
      {0x31, "junk", true},
      {0x28, "", true},  // EXTERNAL
      {0x80, "R", true},
      {0xa0, "\x0c\x01R", true},
      {0x2c, "\x0c\x01R", false},  // a constructed UTF8String
  };
  for (const Value& value : kTried) {
    EXPECT_EQ(CheckEnvoyReadsName(NameWith(value.tag, value.content)).ok(), value.readable)
        << absl::StrCat(absl::Hex(value.tag), " ", absl::BytesToHexString(value.content));
  }
}

TEST(EnvoyNameTest, NamesTheValue) {
  EXPECT_EQ(CheckEnvoyReadsName(NameWith(0x0c, "Root \xef\xb7\x90")).message(),
            "CN is a UTF8String with U+FDD0, which is no character");
  EXPECT_EQ(CheckEnvoyReadsName(NameWith(0x1e, "R")).message(),
            "CN is a BMPString that does not decode");
  EXPECT_EQ(CheckEnvoyReadsName(NameWith(0x2c, "")).message(),
            "CN is a value of tag 0x2c that DER does not allow");
}

RC_GTEST_PROP(EnvoyNameProperty, TextOfCharactersIsRead, ()) {
  const auto text = *rc::gen::container<std::string>(rc::gen::inRange<char>(1, 127));
  RC_ASSERT(CheckEnvoyReadsName(NameWith(0x0c, text)).ok());
}

}  // namespace
}  // namespace capstan::x509
