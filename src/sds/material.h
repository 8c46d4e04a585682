// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "base/secret.h"
#include "spiffe/spiffe_id.h"
#include "trust/bundle.h"

namespace capstan::sds {

// What an agent has to serve at one moment; immutable once published.
struct Material {
  spiffe::SpiffeId id;
  trust::BundleVersion bundle_version;
  std::string roots_pem;  // canonical, never empty
  std::string crls_pem;   // empty: none
  // The workload's certificate; all empty until the first was issued. The chain has no root.
  std::string chain_pem;
  Secret key_pem;
  std::string leaf_serial;
};

// What one consumer (one Envoy process: node and connection, however many streams) did with it.
struct ConsumerReport {
  std::string id;  // unique within the agent's life
  std::string node_id;
  int64_t pid = 0;  // 0: unknown
  bool connected = false;
  // Accepted by the consumer for trust and for the leaf, after its last refusal and since its
  // start; empty where nothing counts.
  trust::BundleVersion acknowledged_bundle;
  std::string acknowledged_leaf_serial;
  absl::Time acknowledged_at = absl::InfinitePast();
  struct Nack {
    std::string resource;
    std::string message;
    absl::Time at;
  };
  std::optional<Nack> last_nack;
};

}  // namespace capstan::sds
