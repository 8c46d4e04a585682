// SPDX-License-Identifier: Apache-2.0
#include "rpc/call_authenticator.h"

#include <memory>
#include <utility>

#include "base/status.h"
#include "rpc/call_credentials.h"

namespace capstan::rpc {

absl::StatusOr<CallAuthenticator::Call> CallAuthenticator::Authenticate(
    const grpc::CallbackServerContext& context) {
  Shown shown = ShownBy(context);
  CAPSTAN_ASSIGN_OR_RETURN(authn::Caller caller, plane_.Authenticate(shown.credentials));
  Learn(shown, caller);
  return Call{std::move(shown.credentials), std::move(caller)};
}

void CallAuthenticator::AuthenticateForCertificate(const grpc::CallbackServerContext& context,
                                                   bool for_agent, Done done) {
  auto shown = std::make_shared<const Shown>(ShownBy(context));
  plane_.AuthenticateForCertificate(
      shown->credentials, for_agent,
      [this, shown, done = std::move(done)](absl::StatusOr<authn::Caller> caller) {
        if (caller.ok()) Learn(*shown, *caller);
        done(std::move(caller));
      });
}

CallAuthenticator::Shown CallAuthenticator::ShownBy(const grpc::CallbackServerContext& context) {
  Shown shown{CredentialsOf(context), OnResumedSession(context)};
  if (shown.resumed) {
    intermediates_.Complete(shown.credentials.peer_chain);
  }
  return shown;
}

void CallAuthenticator::Learn(const Shown& shown, const authn::Caller& caller) {
  if (!shown.resumed && caller.certificate.has_value()) {
    intermediates_.Learn(shown.credentials.peer_chain);
  }
}

}  // namespace capstan::rpc
