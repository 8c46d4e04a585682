// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/json.h"

namespace capstan::kube {

// A CertificateSigningRequest as a signer sees it.
struct SigningRequest {
  std::string name;
  std::string uid;
  std::string resource_version;
  std::string username;  // who made it, as the API server knows
  std::string csr;       // PEM
  std::vector<std::string> usages;
  std::optional<absl::Duration> expiration;  // spec.expirationSeconds
  bool approved = false;
  bool closed = false;        // denied, failed, or there is a certificate
  Json conditions = nullptr;  // status.conditions

  // Whether it waits for its signer.
  bool open() const { return approved && !closed; }
};

// InvalidArgument: it is none that an API server keeps.
absl::StatusOr<SigningRequest> SigningRequestOf(const Json& object);

// Merge patches of the subresource "status", good for the version that `request` is.
Json CertificatePatch(const SigningRequest& request, const std::string& chain_pem);
// `reason` in CamelCase.
Json FailedPatch(const SigningRequest& request, const std::string& reason,
                 const std::string& message, absl::Time now);

}  // namespace capstan::kube
