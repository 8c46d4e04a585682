// SPDX-License-Identifier: Apache-2.0
#include "server/expiries.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "trust/testing.h"

namespace capstan::server {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;
using trust::AuthorityState;
using trust::testing::MakeCrl;
using trust::testing::TestNow;
using trust::testing::TestPki;

class ExpiriesTest : public ::testing::Test {
 protected:
  static rotation::Situation With(const TestPki& pki, AuthorityState state) {
    return {
        {{"lineage", 1}, trust::Bundle::Of({pki.root.certificate}), 1, pki.authority().id, 0, {}},
        {{pki.authority().id, {pki.authority(), state, true, absl::InfinitePast()}}},
        std::nullopt};
  }
  const TestPki pki_ = TestPki::Make("a");
  const absl::Time serving_ = TestNow() + absl::Hours(24);
};

TEST_F(ExpiriesTest, EverythingInAChainAndWhatGoesWithIt) {
  rotation::Situation situation = With(pki_, AuthorityState::kActive);
  situation.trust.crls = {MakeCrl(pki_.root, TestNow(), TestNow() + absl::Hours(48)),
                          MakeCrl(pki_.root, TestNow(), TestNow() + absl::Hours(36))};
  const x509::Certificate& root = pki_.root.certificate;
  const x509::Certificate& intermediate = pki_.intermediate.certificate;
  EXPECT_THAT(
      ExpiriesOf(situation, serving_, {.first_leaf = TestNow() + absl::Hours(3)}),
      ElementsAre(
          Expiry{"crl", absl::BytesToHexString(root.subject_key_id()), TestNow() + absl::Hours(36)},
          Expiry{"intermediate", intermediate.FingerprintHex(), intermediate.not_after()},
          Expiry{"issuer", pki_.authority().id.hex(), intermediate.not_after()},
          Expiry{"leaf", "first", TestNow() + absl::Hours(3)},
          Expiry{"root", root.FingerprintHex(), root.not_after()},
          Expiry{"serving", "serving", serving_}));
}

TEST_F(ExpiriesTest, WhatSignsNoMoreAlarmsNobody) {
  const Expiry authority{"authority", pki_.authority().id.hex(),
                         pki_.intermediate.certificate.not_after()};
  for (AuthorityState state : {AuthorityState::kPrepared, AuthorityState::kRetiring}) {
    EXPECT_THAT(ExpiriesOf(With(pki_, state), serving_, {}), Contains(authority));
  }
  for (AuthorityState state : {AuthorityState::kRetired, AuthorityState::kRevoked}) {
    EXPECT_THAT(ExpiriesOf(With(pki_, state), serving_, {}), Not(Contains(authority)));
  }
}

TEST_F(ExpiriesTest, ASurveyLooksAtWhoIsConnected) {
  std::map<fleet::Key, fleet::Workload> workloads;
  auto add = [&](const std::string& name, int64_t generation, absl::Duration left) {
    fleet::Workload& workload = workloads[{name, "i", ""}];
    workload.generation = generation;
    workload.report = fleet::Report{};
    workload.report->leaf = {"01", "aa", TestNow(), TestNow() + left};
    workload.report->consumers.resize(1);
    fleet::Consumer& consumer = workload.report->consumers.front();
    consumer.connected = true;
    consumer.acknowledged_bundle = {"lineage", 1};
    consumer.acknowledged_at = TestNow();
    return &consumer;
  };
  add("away", 0, absl::Minutes(1))->last_nack = fleet::Nack{"ROOTCA", "no", TestNow()};
  add("fine", 1, absl::Hours(2));
  // Refused once, and got over it.
  add("mended", 2, absl::Hours(3))->last_nack =
      fleet::Nack{"ROOTCA", "no", TestNow() - absl::Hours(1)};
  add("refuses", 3, absl::Hours(4))->last_nack =
      fleet::Nack{"ROOTCA", "no", TestNow() + absl::Seconds(1)};
  const Survey survey = SurveyOf(workloads);
  EXPECT_EQ(survey.first_leaf, TestNow() + absl::Hours(2));
  EXPECT_EQ(survey.refusing, 1);
}

}  // namespace
}  // namespace capstan::server
