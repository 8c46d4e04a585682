// SPDX-License-Identifier: Apache-2.0
#include "cli/control_text.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>

namespace capstan::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

template <typename Message>
Message Text(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

// 2026-03-01T12:00:00Z is 1772366400.
control::v1::Status ExampleStatus() {
  return Text<control::v1::Status>(R"pb(
    version: "0.1.0"
    trust_domain: "cluster.local"
    time { seconds: 1772366400 }
    bundle_version { lineage: "7d7ad3a1-1111-4222-8333-123456789abc" sequence: 3 }
    roots {
      fingerprint: "aaaabbbbccccddddeeee"
      subject_key_id: "0102030405060708090a0b"
      subject: "CN=Root CA,O=Istio"
      serial: "678408d4db228d5700b6e3c2bdd4f259"
      not_after { seconds: 1803902400 }
    }
    issuer_epoch: 2
    authorities {
      id: "99887766554433221100"
      state: "active"
      subject: "CN=Intermediate CA,O=Istio"
      root_fingerprint: "aaaabbbbccccddddeeee"
      not_after { seconds: 1772452800 }
      unexpired_leaves: 7
      last_leaf_expiry_reserved { seconds: 1772370000 }
    }
    source {
      kind: "directory"
      path: "/etc/cacerts"
      last_applied { seconds: 1772366280 }
    }
    serving_certificate {
      serial: "0a0b"
      authority_id: "99887766554433221100"
      not_after { seconds: 1772452740 }
    }
    serving_root_fingerprint: "aaaabbbbccccddddeeee"
    listen_address: "10.0.0.1:15012"
    connected_agents: 2
    population: 3
  )pb");
}

TEST(StatusText, ShowsTheWholeStateAligned) {
  EXPECT_EQ(StatusText(ExampleStatus()),
            "capstand       0.1.0, listens on 10.0.0.1:15012\n"
            "time           2026-03-01T12:00:00Z\n"
            "trust domain   cluster.local\n"
            "bundle         7d7ad3a1-1111-4222-8333-123456789abc/3, roots: 1\n"
            "issuer epoch   2\n"
            "CRL number     0\n"
            "source         directory /etc/cacerts, applied 2026-03-01T11:58:00Z (2m ago)\n"
            "serves with    serial 0a0b, authority 998877665544, root aaaabbbbcccc, expires "
            "2026-03-02T11:59:00Z (in 23h59m)\n"
            "workloads      3 hold an unexpired certificate, 2 agents connected\n"
            "\n"
            "ROOT           SKI            SUBJECT              SERIAL         NOT AFTER\n"
            "aaaabbbbcccc   010203040506   CN=Root CA,O=Istio   678408d4db22   "
            "2027-03-01T12:00:00Z (in 365d)\n"
            "\n"
            "AUTHORITY      STATE    SUBJECT                      ROOT           NOT AFTER"
            "                      LEAVES   LAST LEAF ENDS BY\n"
            "998877665544   active   CN=Intermediate CA,O=Istio   aaaabbbbcccc   "
            "2026-03-02T12:00:00Z (in 1d)   7        2026-03-01T13:00:00Z\n");
}

TEST(StatusText, ABadDirectoryStandsOut) {
  control::v1::Status status = ExampleStatus();
  status.mutable_source()->set_error("ca-key.pem: is not the key of ca-cert.pem");
  status.mutable_source()->mutable_error_since()->set_seconds(1772366340);
  EXPECT_THAT(StatusText(status),
              AllOf(HasSubstr("  NOT USABLE   ca-key.pem: is not the key of ca-cert.pem\n"),
                    HasSubstr("(1m ago)"), HasSubstr("stays in force")));
}

TEST(StatusText, AnIstiodWhoseSecretIsBehindStandsOut) {
  control::v1::Status status = ExampleStatus();
  status.mutable_istiod()->set_address("istiod.example:15012");
  EXPECT_THAT(
      StatusText(status),
      HasSubstr("istiod         istiod.example:15012, its Secret shows what is in force\n"));
  status.mutable_istiod()->set_error("there is no such Secret");
  status.mutable_istiod()->mutable_error_since()->set_seconds(1772366340);
  EXPECT_THAT(StatusText(status),
              AllOf(HasSubstr("istiod         istiod.example:15012\n"
                              "  NOT SHOWN    its Secret is behind: there is no such Secret\n"),
                    HasSubstr("(1m ago)"), HasSubstr("gates wait")));
}

TEST(StatusText, WhatTheTimerSaysAndThatNothingIsIssued) {
  control::v1::Status status = ExampleStatus();
  EXPECT_EQ(TimerText(status.rotation_timer(), absl::UnixEpoch()), "");
  control::v1::RotationTimer& timer = *status.mutable_rotation_timer();
  timer.set_mode("off");
  EXPECT_EQ(TimerText(timer, absl::UnixEpoch()), "");
  timer.set_mode("rotate");
  timer.set_action("none");
  timer.set_why("the root is due");
  timer.mutable_due()->set_seconds(7200);
  timer.mutable_at()->set_seconds(10800);
  EXPECT_EQ(TimerText(timer, absl::UnixEpoch()),
            "the root is due (in 2h); the first maintenance window after that opens at "
            "1970-01-01T03:00:00Z");
  timer.set_action("announce");
  timer.set_command("capstan rotate start --generate");
  status.set_issuance_error("the root has expired");
  EXPECT_THAT(StatusText(status),
              HasSubstr("NOT ISSUING    no certificate is issued: the root has expired\n"
                        "timer          DUE: the root is due; type: capstan rotate start "
                        "--generate\n"));
}

TEST(StatusText, AnEmptyAnswerIsStillShown) {
  EXPECT_THAT(StatusText({}), HasSubstr("serves with    -\n"));
}

TEST(StatusText, NothingThatCameFromOutsideMovesTheCursor) {
  control::v1::Status status = ExampleStatus();
  status.mutable_roots(0)->set_subject("CN=\x1b[2J\nevil");
  status.mutable_source()->set_error("line\r\nline");
  EXPECT_THAT(StatusText(status),
              AllOf(HasSubstr("CN=?[2J?evil"), HasSubstr("line??line"), Not(HasSubstr("\x1b"))));
}

TEST(FleetText, ShowsEachWorkloadAndCountsStates) {
  const auto fleet = Text<control::v1::ListFleetResponse>(R"pb(
    bundle_version { lineage: "L" sequence: 3 }
    workloads {
      spiffe_id: "spiffe://cluster.local/ns/default/sa/httpbin"
      instance: "one"
      connected: true
      state: "acknowledged"
      bundle { lineage: "L" sequence: 3 }
      leaf {
        serial: "0a"
        authority_id: "99887766554433221100"
        not_after { seconds: 1772366400 }
      }
      consumers {
        id: "e1"
        acknowledged_bundle { lineage: "L" sequence: 3 }
        acknowledged_leaf_serial: "0a"
      }
    }
    workloads {
      spiffe_id: "spiffe://cluster.local/ns/default/sa/sleep"
      instance: "two"
      state: "laggard"
      why: "envoy e1 refused the bundle"
      last_error: "no connection"
      bundle { lineage: "L" sequence: 2 }
      leaf { serial: "0b" }
      consumers {
        id: "e1"
        acknowledged_bundle { lineage: "L" sequence: 2 }
        acknowledged_leaf_serial: "0b"
      }
      consumers {
        id: "e2"
        acknowledged_bundle { lineage: "L" sequence: 3 }
        acknowledged_leaf_serial: "old"
      }
    }
  )pb");
  EXPECT_EQ(
      FleetText(fleet),
      "SPIFFE ID                                      INSTANCE   STATE          BUNDLE   AUTHORITY"
      "      LEAF ENDS              CONSUMERS   WHY\n"
      "spiffe://cluster.local/ns/default/sa/httpbin   one        acknowledged   3        "
      "998877665544   2026-03-01T12:00:00Z   1/1         -\n"
      "spiffe://cluster.local/ns/default/sa/sleep     two        laggard        2        -"
      "              -                      0/2         envoy e1 refused the bundle; last error: "
      "no connection\n"
      "\n"
      "2 workloads, bundle L/3: 1 acknowledged, 1 laggard\n");
}

TEST(FleetText, SaysWhenThereIsNobody) {
  EXPECT_EQ(FleetText({}), "No workload holds an unexpired certificate.\n");
}

TEST(ReloadText, TellsStepsAndWarnings) {
  EXPECT_EQ(ReloadText(Text<control::v1::ReloadResponse>(R"pb(changed: true
                                                              steps: "root b added"
                                                              steps: "issuer is b"
                                                              warnings: "dup")pb")),
            "Reloaded.\n  root b added\n  issuer is b\nwarning: dup\n");
  EXPECT_EQ(ReloadText({}), "Nothing changed.\n");
}

TEST(RelativeTo, TellsTwoUnitsAtMost) {
  const absl::Time now = absl::FromUnixSeconds(1772366400);
  EXPECT_EQ(RelativeTo(now, now), "in 0s");
  EXPECT_EQ(RelativeTo(now, now + absl::Seconds(59)), "in 59s");
  EXPECT_EQ(RelativeTo(now, now + absl::Seconds(61)), "in 1m1s");
  EXPECT_EQ(RelativeTo(now, now - absl::Minutes(60)), "1h ago");
  EXPECT_EQ(RelativeTo(now, now - absl::Hours(49) - absl::Minutes(59)), "2d1h ago");
  EXPECT_EQ(RelativeTo(now, now + absl::Hours(48) + absl::Minutes(59)), "in 2d");
}

}  // namespace
}  // namespace capstan::cli
