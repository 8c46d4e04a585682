// SPDX-License-Identifier: Apache-2.0
#include "x509/name.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "x509/test_openssl.h"

namespace capstan::x509 {
namespace {

using ::testing::HasSubstr;

// The right-hand sides were printed by Go 1.26's pkix.Name.String() for the same attributes.
TEST(NameTest, PrintsAsGoDoes) {
  EXPECT_EQ(ToRfc2253({{{"O", "Istio"}, {"CN", "Root CA"}}}), "CN=Root CA,O=Istio");
  EXPECT_EQ(ToRfc2253({{{"O", "Istio"}, {"CN", "Intermediate CA"}, {"L", "intermediateB"}}}),
            "CN=Intermediate CA,O=Istio,L=intermediateB");
  EXPECT_EQ(ToRfc2253({{{"O", "Istio"},
                        {"CN", "Intermediate CA"},
                        {"L", "intermediateB"},
                        {"CN", "#x, y "},
                        {"O", "Two"},
                        {"emailAddress", "a@b.c"},
                        {"DC", "dc"},
                        {"serialNumber", "12"},
                        {"C", "DE"},
                        {"street", "st"},
                        {"postalCode", "99"},
                        {"ST", "prov"},
                        {"OU", "ou"}}}),
            "SERIALNUMBER=12,CN=\\#x\\, y\\ ,OU=ou,O=Istio+O=Two,POSTALCODE=99,STREET=st,"
            "L=intermediateB,ST=prov,C=DE,0.9.2342.19200300.100.1.25=#13026463,"
            "1.2.840.113549.1.9.1=#0c056140622e63");
  EXPECT_EQ(ToRfc2253({}), "");
}

TEST(NameTest, EncodesWhatOpenSslEncodes) {
  const testing::Workshop workshop;
  workshop.OpenSsl(
      "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -utf8 -outform "
      "DER "
      "-out c.der -subj '/C=DE/ST=Hessen/L=Köln/O=Istio/OU=dev/CN=Root CA/emailAddress=a@b.c/"
      "DC=example/serialNumber=12'");
  const Name name{{{"C", "DE"},
                   {"ST", "Hessen"},
                   {"L", "Köln"},
                   {"O", "Istio"},
                   {"OU", "dev"},
                   {"CN", "Root CA"},
                   {"emailAddress", "a@b.c"},
                   {"DC", "example"},
                   {"serialNumber", "12"}}};
  const auto der = name.ToDer();
  ASSERT_TRUE(der.ok()) << der.status();
  EXPECT_THAT(workshop.Read("c.der"), HasSubstr(*der));
  const auto again = Name::FromDer(*der);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, name);
}

TEST(NameTest, TakesLongNamesOfTypes) {
  EXPECT_EQ((Name{{{"organizationName", "Istio"}}}).ToDer().value(),
            (Name{{{"O", "Istio"}}}).ToDer().value());
}

TEST(NameTest, RefusesWhatCannotBeEncoded) {
  EXPECT_THAT((Name{{{"C", "Germany"}}}).ToDer().status().ToString(), HasSubstr("C=\"Germany\""));
  EXPECT_FALSE((Name{{{"CN", std::string(65, 'x')}}}).ToDer().ok());
  EXPECT_FALSE((Name{{{"CN", ""}}}).ToDer().ok());
  EXPECT_FALSE((Name{{{"CN", "\xff\xfe"}}}).ToDer().ok());
  EXPECT_THAT((Name{{{"XYZ", "x"}}}).ToDer().status().ToString(), HasSubstr("XYZ"));
  EXPECT_FALSE((Name{{{"", "x"}}}).ToDer().ok());
}

TEST(NameTest, ReadsOldStringTypesAndSets) {
  // SET { CN (T61String) "\xe9", O (BMPString) "AB" }, SET { CN (INTEGER) 5 }
  const std::string_view der{
      "\x30\x25\x31\x17\x30\x08\x06\x03\x55\x04\x03\x14\x01\xe9\x30\x0b\x06\x03\x55\x04\x0a\x1e\x04"
      "\x00\x41\x00\x42\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x02\x01\x05",
      39};
  const auto name = Name::FromDer(der);
  ASSERT_TRUE(name.ok()) << name.status();
  EXPECT_EQ(*name, (Name{{{"CN", "é"}, {"O", "AB"}, {"CN", "#020105"}}}));
}

TEST(NameTest, NamesTheByteOfAnError) {
  const std::string der = Name{{{"CN", "Root CA"}}}.ToDer().value();
  for (size_t size = 0; size < der.size(); ++size) {
    const auto cut = Name::FromDer(std::string_view(der).substr(0, size));
    ASSERT_FALSE(cut.ok()) << size;
    EXPECT_THAT(cut.status().ToString(), HasSubstr("byte "));
  }
  EXPECT_FALSE(Name::FromDer(der + "x").ok());
}

RC_GTEST_PROP(NameProperty, WhatIsWrittenIsRead, ()) {
  const std::vector<std::string> types = {"CN", "O", "OU", "L", "ST", "1.2.3.4"};
  Name name;
  for (int i = *rc::gen::inRange(0, 5); i > 0; --i) {
    name.attributes.emplace_back(
        *rc::gen::elementOf(types),
        *rc::gen::nonEmpty(rc::gen::resize(
            40, rc::gen::container<std::string>(rc::gen::inRange<char>(' ', '~')))));
  }
  const auto der = name.ToDer();
  RC_ASSERT(der.ok());
  const auto again = Name::FromDer(*der);
  RC_ASSERT(again.ok());
  RC_ASSERT(again->attributes == name.attributes);
}

}  // namespace
}  // namespace capstan::x509
