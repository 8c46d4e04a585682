// SPDX-License-Identifier: Apache-2.0
#include "rpc/fleet_service.h"

#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "rpc/status.h"

namespace capstan::rpc {
namespace {

class Refused final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit Refused(const absl::Status& why) { Finish(ToGrpc(why)); }
  void OnDone() override { delete this; }
};

}  // namespace

absl::StatusOr<std::shared_ptr<TrustStream>> FleetService::Open(
    grpc::CallbackServerContext& context) {
  // Read before: a change in between is then noticed when the stream is checked again.
  const int64_t crl_number = plane_.trust()->crl_number;
  CAPSTAN_ASSIGN_OR_RETURN(CallAuthenticator::Call call, authenticator_.Authenticate(context));
  if (call.caller.proof != authn::Caller::Proof::kCertificate ||
      !call.caller.certificate.has_value()) {
    return absl::PermissionDeniedError(
        "the trust stream needs a client certificate: a join token is good for one only");
  }
  return hub_.Open(context, std::move(call.shown), std::move(call.caller), crl_number);
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* FleetService::Trust(
    grpc::CallbackServerContext* context) {
  absl::StatusOr<std::shared_ptr<TrustStream>> stream = Open(*context);
  if (!stream.ok()) {
    log::Info("trust stream refused", {{"peer", context->peer()},
                                       {"code", absl::StatusCodeToString(stream.status().code())},
                                       {"why", stream.status().message()}});
    return new Refused(stream.status());  // owns itself until OnDone
  }
  (*stream)->Start();
  return stream->get();  // the hub owns it until OnDone
}

}  // namespace capstan::rpc
