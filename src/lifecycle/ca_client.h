// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace capstan::lifecycle {

// Which of an agent's two certificates.
enum class Purpose {
  kCredential,  // shown to the control plane; stays in the agent
  kWorkload,    // shown to the workload's peers
};

// Where certificates come from: lifecycle's port. rpc/ implements it over gRPC; fakes in tests.
class CaClient {
 public:
  struct Request {
    std::string csr_pem;
    absl::Duration ttl;  // <= 0: the control plane's default
    Purpose purpose = Purpose::kWorkload;
    absl::Duration timeout;
    // Serial of the leaf that this one is to replace; "": none is held, and whoever waits for this
    // answer has nothing to show.
    std::string replaces;
  };
  // The elements of the answer, leaf first; nothing about them is verified.
  using Callback = std::function<void(absl::StatusOr<std::vector<std::string>> answer)>;

  virtual ~CaClient() = default;
  // Calls `done` once, as a task of the executor that the caller runs on and never before
  // returning, at the latest soon after `timeout` (DeadlineExceeded). An error that says when to
  // come back carries it (base/retry_after.h).
  virtual void CreateCertificate(const Request& request, Callback done) = 0;
};

}  // namespace capstan::lifecycle
