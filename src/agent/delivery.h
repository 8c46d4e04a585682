// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "capstan/fleet/v1/fleet.pb.h"
#include "sds/material.h"

namespace capstan::agent {

// One way for the material to reach the workload: SDS, or files. What it reports is what its
// consumers did with it, never what was meant.
class Delivery {
 public:
  virtual ~Delivery() = default;
  // Replaces what was published before. Trust reaches a consumer before a leaf that needs it.
  virtual void Publish(std::shared_ptr<const sds::Material> material) = 0;
  virtual fleet::v1::Consumer::Kind kind() const = 0;
  virtual std::vector<sds::ConsumerReport> Consumers() = 0;
};

}  // namespace capstan::agent
