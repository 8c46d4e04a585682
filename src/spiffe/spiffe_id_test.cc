// SPDX-License-Identifier: Apache-2.0
#include "spiffe/spiffe_id.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace capstan::spiffe {
namespace {

struct Case {
  std::string_view uri;
  std::string_view error;  // empty: accepted
};

constexpr std::string_view kTrustDomain =
    "trust domain characters are limited to lowercase letters, numbers, dots, dashes, and "
    "underscores";
constexpr std::string_view kPathCharacters =
    "path segment characters are limited to letters, numbers, dots, dashes, and underscores";

// Verdicts and texts printed by go-spiffe v2.8.1's spiffeid.FromString.
constexpr Case kCases[] = {
    {"spiffe://td.test", ""},
    {"spiffe://td.test/a", ""},
    {"spiffe://td_1-x.test/A._-9", ""},
    {"spiffe://10.0.0.1/x", ""},
    {"spiffe://td/.../x", ""},
    {"spiffe://td.test/", "path cannot have a trailing slash"},
    {"spiffe://td.test/a/", "path cannot have a trailing slash"},
    {"spiffe://td.test//a", "path cannot contain empty segments"},
    {"spiffe://td.test/a/../b", "path cannot contain dot segments"},
    {"spiffe://TD.test/a", kTrustDomain},
    {"spiffe://td.test:80/a", kTrustDomain},
    {"spiffe://u@td.test/a", kTrustDomain},
    {"spiffe://[::1]/a", kTrustDomain},
    {"SPIFFE://td.test/a", "scheme is missing or invalid"},
    {"https://td.test/a", "scheme is missing or invalid"},
    {"spiffe:/td/x", "scheme is missing or invalid"},
    {"spiffe://td.test/a b", kPathCharacters},
    {"spiffe://td.test/a%20", kPathCharacters},
    {"spiffe://td.test/a?x", kPathCharacters},
    {"spiffe://td.test/a#f", kPathCharacters},
    {"spiffe:///a", "trust domain is missing"},
    {"", "cannot be empty"},
};

TEST(SpiffeId, AgreesWithGoSpiffe) {
  for (const Case& c : kCases) {
    auto id = SpiffeId::Parse(c.uri);
    if (c.error.empty()) {
      ASSERT_TRUE(id.ok()) << c.uri << ": " << id.status();
      EXPECT_EQ(id->ToString(), c.uri);
    } else {
      EXPECT_EQ(std::string(id.status().message()), c.error) << c.uri;
    }
  }
}

TEST(SpiffeId, ServiceAccountNamesCannotAddSegments) {
  auto td = TrustDomain::Parse("cluster.local");
  EXPECT_EQ(SpiffeId::ForServiceAccount(*td, "httpbin", "httpbin")->ToString(),
            "spiffe://cluster.local/ns/httpbin/sa/httpbin");
  EXPECT_FALSE(SpiffeId::ForServiceAccount(*td, "", "x").ok());
  EXPECT_FALSE(SpiffeId::ForServiceAccount(*td, "x", "..").ok());
  EXPECT_FALSE(SpiffeId::ForServiceAccount(*td, "x/sa/y", "z").ok());
}

TEST(SpiffeId, ReservesItsOwnPaths) {
  auto td = TrustDomain::Parse("cluster.local");
  EXPECT_TRUE(SpiffeId::ForControlPlane(*td).IsReserved());
  EXPECT_TRUE(SpiffeId::Parse("spiffe://cluster.local/capstan/x")->IsReserved());
  EXPECT_FALSE(SpiffeId::Parse("spiffe://cluster.local/capstanx")->IsReserved());
}

}  // namespace
}  // namespace capstan::spiffe
