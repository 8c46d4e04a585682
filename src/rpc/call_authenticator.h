// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server_context.h>

#include "absl/status/statusor.h"
#include "authn/caller.h"
#include "rpc/control_plane.h"
#include "rpc/known_intermediates.h"

namespace capstan::rpc {

// Who makes a call: what the call shows, as the control plane judges it. Thread-safe.
class CallAuthenticator {
 public:
  explicit CallAuthenticator(ControlPlane& plane) : plane_(plane) {}

  struct Call {
    authn::Credentials shown;
    authn::Caller caller;
  };
  absl::StatusOr<Call> Authenticate(const grpc::CallbackServerContext& context);
  // For ControlPlane::AuthenticateForCredential.
  absl::StatusOr<Call> AuthenticateForCredential(const grpc::CallbackServerContext& context);

 private:
  using Judge = absl::StatusOr<authn::Caller> (ControlPlane::*)(const authn::Credentials&);
  absl::StatusOr<Call> AuthenticateBy(Judge judge, const grpc::CallbackServerContext& context);

  ControlPlane& plane_;
  KnownIntermediates intermediates_;
};

}  // namespace capstan::rpc
