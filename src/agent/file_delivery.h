// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/delivery.h"
#include "base/clock.h"

namespace capstan::agent {

// Keeps root-cert.pem (0644), cert-chain.pem (0644) and key.pem (0600) in a folder, each replaced
// atomically and only when it changed: roots first, then the key, then the chain, so that a reader
// woken by cert-chain.pem finds the key that belongs to it. A reader that must never see a key and
// a chain of two generations compares them and reads again.
class FileDelivery final : public Delivery {
 public:
  // Makes the folder, mode 0700, where it is missing.
  static absl::StatusOr<std::unique_ptr<FileDelivery>> Open(const std::string& folder,
                                                            Clock& clock);

  void Publish(std::shared_ptr<const sds::Material> material) override;
  fleet::v1::Consumer::Kind kind() const override { return fleet::v1::Consumer::FILES; }
  // The files themselves: they "accepted" what was written. Nobody knows who reads them.
  std::vector<sds::ConsumerReport> Consumers() override { return {report_}; }

 private:
  FileDelivery(std::string folder, Clock& clock);
  absl::Status Write(const sds::Material& material);
  absl::Status WriteChanged(const char* name, std::string_view bytes, mode_t mode);

  const std::string folder_;
  Clock& clock_;
  sds::ConsumerReport report_;
};

}  // namespace capstan::agent
