// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/secret.h"
#include "kube/client.h"

namespace capstan::kube {

// Whose token it is: a service account, and the pod that the token is bound to.
struct ServiceAccount {
  std::string ns;
  std::string name;
  std::string pod_name;  // "": bound to no pod
  std::string pod_uid;
  std::string node_name;  // "": the API server does not say (before 1.30)
  friend bool operator==(const ServiceAccount&, const ServiceAccount&) = default;
};

// Asks the API server (authentication.k8s.io/v1 TokenReview). Unauthenticated: it does not accept
// the token for any of `audiences`, or it is no service account's. The errors of Client else, but
// FailedPrecondition where it does not accept ourselves.
absl::StatusOr<ServiceAccount> ReviewToken(Client& client, const Secret& token,
                                           const std::vector<std::string>& audiences);

}  // namespace capstan::kube
