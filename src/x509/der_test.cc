// SPDX-License-Identifier: Apache-2.0
#include "x509/der.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "absl/strings/escaping.h"
#include "base/strings.h"

namespace capstan::x509::der {
namespace {

using ::testing::HasSubstr;

std::string Hex(std::string_view bytes) {
  return absl::BytesToHexString(bytes);
}

TEST(DerWriterTest, UsesTheShortestLengths) {
  EXPECT_EQ(Hex(Element(kOctetString, "")), "0400");
  EXPECT_EQ(Hex(Element(kOctetString, std::string(127, 'a'))).substr(0, 4), "047f");
  EXPECT_EQ(Hex(Element(kOctetString, std::string(128, 'a'))).substr(0, 6), "048180");
  EXPECT_EQ(Hex(Element(kOctetString, std::string(256, 'a'))).substr(0, 8), "04820100");
  EXPECT_EQ(Hex(Element(kOctetString, std::string(65536, 'a'))).substr(0, 10), "0483010000");
}

TEST(DerWriterTest, WritesIntegersAsPositive) {
  EXPECT_EQ(Hex(UnsignedInteger(0)), "020100");
  EXPECT_EQ(Hex(UnsignedInteger(127)), "02017f");
  EXPECT_EQ(Hex(UnsignedInteger(128)), "02020080");
  EXPECT_EQ(Hex(UnsignedInteger(~uint64_t{0})), "020900ffffffffffffffff");
  EXPECT_EQ(Hex(UnsignedInteger(std::string_view("\0\0\x01", 3))), "020101");
}

TEST(DerWriterTest, WritesNamedBitsWithoutTrailingZeros) {
  EXPECT_EQ(Hex(NamedBits(0)), "030100");
  EXPECT_EQ(Hex(NamedBits(1)), "03020780");      // digitalSignature
  EXPECT_EQ(Hex(NamedBits(1 | 4)), "030205a0");  // and keyEncipherment, as in Istio's leaves
  EXPECT_EQ(Hex(NamedBits(1 | 2 | 4 | 32)), "030202e4");  // a CA of Istio's makefile
  EXPECT_EQ(Hex(NamedBits(1 << 8)), "0303070080");        // decipherOnly
}

std::string TimeText(int year, int month, int day) {
  const auto der =
      Time(absl::FromCivil(absl::CivilSecond(year, month, day, 1, 2, 3), absl::UTCTimeZone()) +
           absl::Milliseconds(999));
  return der.ok() ? Hex(der->substr(0, 1)) + " " + der->substr(2) : der.status().ToString();
}

TEST(DerWriterTest, SwitchesToGeneralizedTimeIn2050) {
  EXPECT_EQ(TimeText(1950, 1, 1), "17 500101010203Z");
  EXPECT_EQ(TimeText(2049, 12, 31), "17 491231010203Z");
  EXPECT_EQ(TimeText(2050, 1, 1), "18 20500101010203Z");
  EXPECT_EQ(TimeText(1949, 12, 31), "18 19491231010203Z");
  EXPECT_EQ(TimeText(9999, 12, 31), "18 99991231010203Z");
  EXPECT_THAT(TimeText(10000, 1, 1), HasSubstr("year"));
  EXPECT_FALSE(Time(absl::InfiniteFuture()).ok());
  EXPECT_FALSE(Time(absl::InfinitePast()).ok());
}

absl::StatusOr<absl::Time> ReadTimeText(uint8_t tag, std::string_view text) {
  const std::string der = Element(tag, text);
  Reader reader(der);
  return ReadTime(reader, "time");
}

TEST(DerReaderTest, ReadsTimes) {
  const auto at = [](int year) {
    return absl::FromCivil(absl::CivilSecond(year, 2, 3, 4, 5, 6), absl::UTCTimeZone());
  };
  EXPECT_EQ(ReadTimeText(kUtcTime, "490203040506Z").value(), at(2049));
  EXPECT_EQ(ReadTimeText(kUtcTime, "500203040506Z").value(), at(1950));
  EXPECT_EQ(ReadTimeText(kGeneralizedTime, "20500203040506Z").value(), at(2050));
  for (const std::string_view text :
       {"", "Z", "490203040506", "4902030405Z", "490203040506+0100", "49020304050xZ",
        "490003040506Z", "491303040506Z", "490230040506Z", "490203240506Z", "490203046006Z",
        "490203040560Z", "490203 40506Z", "-90203040506Z"}) {
    EXPECT_FALSE(ReadTimeText(kUtcTime, text).ok()) << text;
  }
  EXPECT_FALSE(ReadTimeText(kGeneralizedTime, "20500203040506.5Z").ok());
  EXPECT_FALSE(ReadTimeText(kIa5String, "490203040506Z").ok());
}

absl::Status ReadWhole(std::string_view der) {
  Reader reader(der);
  const auto item = reader.ReadAny("thing");
  return item.ok() ? reader.ExpectEnd("thing") : item.status();
}

TEST(DerReaderTest, RefusesWhatIsNotDer) {
  struct Case {
    std::string_view der;
    std::string_view error;
  };
  const Case kCases[] = {
      {"", "byte 0: thing is missing"},
      {"\x30", "byte 0: thing is cut off"},
      {{"\x30\x80\x00\x00", 4}, "indefinite length"},
      {{"\x30\x81\x05\x00\x00\x00\x00\x00", 8}, "shortest form"},
      {{"\x30\x82\x00\x80", 4}, "shortest form"},
      {"\x30\x82\x01", "cut off"},
      {"\x30\x85\x01\x01\x01\x01\x01", "larger than any input"},
      {"\x30\x84\xff\xff\xff\xff", "claims 4294967295 bytes and 0 follow"},
      {"\x1f\x81\x01\x01", "tag number above 30"},
      {{"\x05\x00xy", 4}, "byte 2: 2 unexpected bytes after thing"},
  };
  for (const Case& c : kCases) {
    EXPECT_THAT(ReadWhole(c.der).ToString(), HasSubstr(std::string(c.error))) << Hex(c.der);
  }
}

TEST(DerReaderTest, CountsBytesFromTheOutermostText) {
  const std::string der = Sequence(UnsignedInteger(1), Sequence(Element(kBoolean, "x")));
  Reader outer(der);
  Reader inside = outer.Enter(kSequence, "outer").value();
  ASSERT_TRUE(inside.Read(kInteger, "number").ok());
  Reader inner = inside.Enter(kSequence, "inner").value();
  const Item flag = inner.Read(kBoolean, "flag").value();
  EXPECT_THAT(BooleanValue(inner, flag, "flag").status().ToString(), HasSubstr("byte 7: flag"));
}

TEST(DerReaderTest, ChecksValues) {
  const auto integer = [](std::string_view content) {
    const std::string der = Element(kInteger, content);
    Reader reader(der);
    const Item item = reader.ReadAny("n").value();
    return IntegerValue(reader, item, "n").ok();
  };
  EXPECT_TRUE(integer(std::string_view("\0", 1)));
  EXPECT_TRUE(integer("\xff"));
  EXPECT_TRUE(integer(std::string_view("\0\x80", 2)));
  EXPECT_FALSE(integer(""));
  EXPECT_FALSE(integer(std::string_view("\0\x7f", 2)));
  EXPECT_FALSE(integer("\xff\x80"));

  const auto object_id = [](std::string_view content) {
    const std::string der = Element(kObjectId, content);
    Reader reader(der);
    const Item item = reader.ReadAny("id").value();
    return CheckObjectId(reader, item, "id").ok();
  };
  EXPECT_TRUE(object_id("\x55\x1d\x11"));
  EXPECT_FALSE(object_id(""));
  EXPECT_FALSE(object_id("\x55\x80\x01"));
  EXPECT_FALSE(object_id("\x55\x81"));

  const auto bits = [](std::string_view content) {
    const std::string der = Element(kBitString, content);
    Reader reader(der);
    const Item item = reader.ReadAny("bits").value();
    int unused = 0;
    return BitStringValue(reader, item, unused, "bits").ok();
  };
  EXPECT_TRUE(bits(std::string_view("\0", 1)));
  EXPECT_TRUE(bits("\x07\x80"));
  EXPECT_FALSE(bits(""));
  EXPECT_FALSE(bits("\x01"));
  EXPECT_FALSE(bits("\x08\x80"));
  EXPECT_FALSE(bits("\x07\x81"));
}

RC_GTEST_PROP(DerProperty, WhatIsWrittenIsRead, (const std::string& content, uint8_t any)) {
  const uint8_t tag = (any & 0x1f) == 0x1f ? uint8_t{kSequence} : any;
  const std::string der = Element(tag, content);
  Reader reader(der);
  const auto item = reader.Read(tag, "thing");
  RC_ASSERT(item.ok());
  RC_ASSERT(item->content == content);
  RC_ASSERT(item->full == der);
  RC_ASSERT(reader.empty());
}

RC_GTEST_PROP(DerProperty, EveryInputIsAnswered, (const std::string& bytes)) {
  Reader reader(bytes);
  while (!reader.empty()) {
    if (!reader.ReadAny("thing").ok()) {
      break;
    }
  }
}

}  // namespace
}  // namespace capstan::x509::der
