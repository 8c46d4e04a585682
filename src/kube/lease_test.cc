// SPDX-License-Identifier: Apache-2.0
#include "kube/lease.h"

#include <gtest/gtest.h>

namespace capstan::kube {
namespace {

TEST(Lease, IsRead) {
  const Lease lease = LeaseOf({{"metadata", {{"name", "capstand"}, {"resourceVersion", "7"}}},
                               {"spec",
                                {{"holderIdentity", "a"},
                                 {"leaseDurationSeconds", 15},
                                 {"acquireTime", "t1"},
                                 {"renewTime", "t2"},
                                 {"leaseTransitions", 3}}}});
  EXPECT_EQ(lease.resource_version, "7");
  EXPECT_EQ(lease.holder, "a");
  EXPECT_EQ(lease.duration, absl::Seconds(15));
  EXPECT_EQ(lease.acquired, "t1");
  EXPECT_EQ(lease.renewed, "t2");
  EXPECT_EQ(lease.transitions, 3);
}

TEST(Lease, ThatSaysNothingIsNobodys) {
  for (const Json& object :
       {Json::object(), Json{{"spec", {{"holderIdentity", nullptr}}}}, Json{{"spec", "x"}}}) {
    const Lease lease = LeaseOf(object);
    EXPECT_EQ(lease.holder, "");
    EXPECT_EQ(lease.duration, absl::ZeroDuration());
  }
}

TEST(Lease, TimesAreAsTheApiHasThem) {
  EXPECT_EQ(LeaseTime(absl::FromUnixMicros(1'700'000'000'123'456)), "2023-11-14T22:13:20.123456Z");
}

}  // namespace
}  // namespace capstan::kube
