// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "authn/caller.h"
#include "base/secret.h"
#include "kube/token_review.h"
#include "spiffe/spiffe_id.h"

namespace capstan::authn {

// Whether `token` has the form of a JSON Web Token, as those of service accounts have: what is
// refused here need not be asked about.
bool LooksLikeJwt(const Secret& token);

// When a token ends by its own claim, InfiniteFuture() where it claims no end: to be believed once
// somebody has verified the token. InvalidArgument: its claims cannot be read.
absl::StatusOr<absl::Time> ExpiryOfJwt(const Secret& token);

// Who shows the token with this hash (HashToken) that the API server accepted as `account`'s:
// spiffe://<trust domain>/ns/<namespace>/sa/<name>.
absl::StatusOr<Caller> CallerOf(const kube::ServiceAccount& account,
                                const spiffe::TrustDomain& trust_domain, std::string token_hash);

// The running instance that a kServiceAccount caller is: "pod:<uid>", so that the pods of one
// account are told apart and the renewals of each one are not; "token:<hash>" where the token is
// bound to no pod.
std::string InstanceOf(const Caller& caller);

}  // namespace capstan::authn
