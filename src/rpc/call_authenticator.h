// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server_context.h>

#include <functional>

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
  // By ControlPlane::AuthenticateForCertificate. `done` is called once, within this call or later
  // from another thread.
  using Done = std::function<void(absl::StatusOr<authn::Caller>)>;
  void AuthenticateForCertificate(const grpc::CallbackServerContext& context, bool for_agent,
                                  Done done);

 private:
  struct Shown {
    authn::Credentials credentials;
    bool resumed = false;
  };
  Shown ShownBy(const grpc::CallbackServerContext& context);
  void Learn(const Shown& shown, const authn::Caller& caller);

  ControlPlane& plane_;
  KnownIntermediates intermediates_;
};

}  // namespace capstan::rpc
