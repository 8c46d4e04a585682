// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "capstan/fleet/v1/fleet.pb.h"
#include "lifecycle/machine.h"
#include "sds/material.h"
#include "trust/bundle.h"

namespace capstan::agent {

// What an agent knows of itself at one moment.
struct Standing {
  std::optional<lifecycle::Leaf> leaf;        // the workload's, as served
  std::optional<lifecycle::Leaf> credential;  // the agent's own
  trust::BundleVersion bundle;                // verified, and served
  std::vector<std::pair<fleet::v1::Consumer::Kind, sds::ConsumerReport>> consumers;
  std::string last_error;  // empty: the last attempts succeeded
  std::vector<fleet::v1::ProbeResult> probes = {};
  std::optional<int64_t> failed_verifications = std::nullopt;  // nullopt: nobody tells
};

fleet::v1::BundleVersion ToProto(const trust::BundleVersion& version);
fleet::v1::Report ToReport(const Standing& standing, absl::Time now);

}  // namespace capstan::agent
