// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "agent/delivery.h"
#include "rpc/sds_server.h"

namespace capstan::agent {

// Envoys, over SDS.
class SdsDelivery final : public Delivery {
 public:
  explicit SdsDelivery(std::unique_ptr<rpc::SdsServer> server) : server_(std::move(server)) {}

  void Publish(std::shared_ptr<const sds::Material> material) override {
    server_->Publish(std::move(material));
  }
  fleet::v1::Consumer::Kind kind() const override { return fleet::v1::Consumer::ENVOY; }
  std::vector<sds::ConsumerReport> Consumers() override { return server_->Consumers(); }

  rpc::SdsServer& server() { return *server_; }

 private:
  const std::unique_ptr<rpc::SdsServer> server_;
};

}  // namespace capstan::agent
