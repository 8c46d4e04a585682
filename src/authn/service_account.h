// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "authn/caller.h"
#include "base/secret.h"
#include "kube/resource.h"
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

// Whose identity `id` is: namespace and service account of spiffe://<trust domain>/ns/x/sa/y;
// nullopt for any other form.
std::optional<kube::ObjectName> AccountIn(const spiffe::SpiffeId& id);

// The running instance that a kServiceAccount caller is: "pod:<uid>", so that the pods of one
// account are told apart and the renewals of each one are not; "token:<hash>" where the token is
// bound to no pod. A node proxy has, beside its own, one for each identity that it asks in the name
// of: "node-proxy:<uid>", of its own pod.
std::string InstanceOf(const Caller& caller);

}  // namespace capstan::authn
