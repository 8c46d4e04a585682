// SPDX-License-Identifier: Apache-2.0
// A rotation that waits, for tests of what is printed about one.
#pragma once

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>

#include "capstan/control/v1/control.pb.h"

namespace capstan::cli::testing {

template <typename Message>
Message Text(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

// 2026-03-01T12:00:00Z is 1772366400.
inline control::v1::Rotation WaitingRotation() {
  return Text<control::v1::Rotation>(R"pb(
    number: 3
    state: "running"
    phase: "both-trusted"
    started { seconds: 1772365680 }
    phase_since { seconds: 1772366210 }
    source: "managed"
    from_issuer: "aaaaaaaaaaaaaaaa"
    to_issuer: "bbbbbbbbbbbbbbbb"
    added_roots { fingerprint: "2222bbbb" subject: "CN=Root B" }
    leaving_roots { fingerprint: "1111aaaa" subject: "CN=Root A" }
    next_step: "switch-issuer"
    gate {
      name: "trust"
      summary: "waiting for 1 absent, 1 laggard; spiffe://td/ns/a/sa/httpbin/one: Envoy x (pid 7) has not acknowledged the bundle of sequence 4"
      laggards: 1
      absent: 1
      holders {
        kind: "laggard"
        name: "spiffe://td/ns/a/sa/httpbin/one"
        why: "Envoy x (pid 7) has not acknowledged the bundle of sequence 4; it refused ROOTCA: Failed to load trusted CA"
      }
      holders {
        kind: "absent"
        name: "spiffe://td/ns/a/sa/sleep/two"
        why: "its agent is not connected; last seen at 2026-03-01T09:00:00Z"
        until { seconds: 1772406000 }
      }
    }
    policy {
      soak { seconds: 30 }
      absent_deadline { seconds: 86400 }
    }
    exempt {
      name: "spiffe://td/ns/a/sa/gone/g"
      why: "excluded by the operator: switched off"
      at { seconds: 1772365800 }
    }
    time { seconds: 1772366400 }
    progress {
      population: 10
      connected: 9
      acknowledged: 8
      proven: 7
      certificates_per_second: 20
      clock_offset { seconds: -1 nanos: -500000000 }
    }
  )pb");
}

// One whose canary the new authority signs for.
inline control::v1::Rotation CanaryRotation() {
  control::v1::Rotation rotation = WaitingRotation();
  rotation.mutable_gate()->set_name("canary");
  control::v1::Canary& canary = *rotation.mutable_canary();
  canary.set_selector("namespace=web");
  canary.set_signing(true);
  canary.set_population(3);
  canary.set_moved(2);
  canary.set_others(7);
  canary.set_untold(4);
  return rotation;
}

}  // namespace capstan::cli::testing
