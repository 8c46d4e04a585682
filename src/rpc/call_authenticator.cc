// SPDX-License-Identifier: Apache-2.0
#include "rpc/call_authenticator.h"

#include <utility>

#include "base/status.h"
#include "rpc/call_credentials.h"

namespace capstan::rpc {

absl::StatusOr<CallAuthenticator::Call> CallAuthenticator::Authenticate(
    const grpc::CallbackServerContext& context) {
  return AuthenticateBy(&ControlPlane::Authenticate, context);
}

absl::StatusOr<CallAuthenticator::Call> CallAuthenticator::AuthenticateForCredential(
    const grpc::CallbackServerContext& context) {
  return AuthenticateBy(&ControlPlane::AuthenticateForCredential, context);
}

absl::StatusOr<CallAuthenticator::Call> CallAuthenticator::AuthenticateBy(
    Judge judge, const grpc::CallbackServerContext& context) {
  authn::Credentials shown = CredentialsOf(context);
  const bool resumed = OnResumedSession(context);
  if (resumed) {
    intermediates_.Complete(shown.peer_chain);
  }
  CAPSTAN_ASSIGN_OR_RETURN(authn::Caller caller, (plane_.*judge)(shown));
  if (!resumed && caller.proof != authn::Caller::Proof::kJoinToken) {
    intermediates_.Learn(shown.peer_chain);
  }
  return Call{std::move(shown), std::move(caller)};
}

}  // namespace capstan::rpc
