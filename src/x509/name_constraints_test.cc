// SPDX-License-Identifier: Apache-2.0
#include "x509/name_constraints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status.h"
#include "x509/certificate.h"
#include "x509/test_openssl.h"

namespace capstan::x509 {
namespace {

using ::testing::ElementsAre;

Certificate MakeCa(const std::string& extensions) {
  testing::Workshop shop;
  shop.OpenSsl(
      "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out ca.pem "
      "-subj /CN=ca " +
      extensions);
  return ParsePemCertificates(shop.Read("ca.pem"))->front();
}

NameConstraints Parse(const std::string& constraints) {
  const Certificate ca = MakeCa("-addext 'nameConstraints=critical," + constraints + "'");
  EXPECT_TRUE(ca.name_constraints_der().has_value());
  const auto parsed = ParseNameConstraints(ca.name_constraints_der().value_or(""));
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.value_or(NameConstraints{});
}

TEST(NameConstraintsTest, PermittedHostsAreTheOnlyOnes) {
  const NameConstraints one = Parse("permitted;URI:cluster.local");
  EXPECT_THAT(one.permitted_uri_hosts, ElementsAre("cluster.local"));
  EXPECT_TRUE(one.AdmitsUriHost("cluster.local"));
  EXPECT_TRUE(one.AdmitsUriHost("CLUSTER.local"));
  EXPECT_FALSE(one.AdmitsUriHost("a.cluster.local"));
  EXPECT_FALSE(one.AdmitsUriHost("xcluster.local"));
  const NameConstraints below = Parse("permitted;URI:.local,permitted;URI:b.example");
  EXPECT_TRUE(below.AdmitsUriHost("cluster.local"));
  EXPECT_TRUE(below.AdmitsUriHost("b.example"));
  EXPECT_FALSE(below.AdmitsUriHost("local"));
}

TEST(NameConstraintsTest, ExcludedHostsWin) {
  const NameConstraints parsed = Parse("permitted;URI:.local,excluded;URI:cluster.local");
  EXPECT_FALSE(parsed.AdmitsUriHost("cluster.local"));
  EXPECT_TRUE(parsed.AdmitsUriHost("other.local"));
}

TEST(NameConstraintsTest, OtherKindsSayNothingOfUris) {
  const NameConstraints parsed = Parse("permitted;DNS:a.example,permitted;IP:10.0.0.0/255.0.0.0");
  EXPECT_TRUE(parsed.AdmitsUriHost("cluster.local"));
  EXPECT_TRUE(parsed.constrains_ips);
  EXPECT_FALSE(Parse("permitted;URI:a.example").constrains_ips);
}

TEST(NameConstraintsTest, MalformedOnesAreRefused) {
  EXPECT_FALSE(ParseNameConstraints("").ok());
  EXPECT_FALSE(ParseNameConstraints("\x05\x01").ok());
  // A minimum of 1, which RFC 5280 forbids.
  EXPECT_FALSE(
      ParseNameConstraints(std::string("\x30\x0b\xa0\x09\x30\x07\x86\x02\x61\x62\x80\x01\x01", 13))
          .ok());
}

TEST(CertificateExtensionsTest, CriticalOnesAreNamedInOrder) {
  const Certificate ca = MakeCa(
      "-addext keyUsage=critical,keyCertSign -addext 1.2.3.4=critical,ASN1:NULL "
      "-addext 1.2.3.5=ASN1:NULL");
  EXPECT_THAT(ca.critical_extensions(), ElementsAre("basicConstraints", "keyUsage", "1.2.3.4"));
  EXPECT_EQ(ca.name_constraints_der(), std::nullopt);
}

}  // namespace
}  // namespace capstan::x509
