// SPDX-License-Identifier: Apache-2.0
#include "rpc/ads_service.h"

#include <memory>

#include "rpc/refused_stream.h"

namespace capstan::rpc {

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* AdsService::Open(
    AdsFront front, grpc::CallbackServerContext& context) {
  absl::StatusOr<std::shared_ptr<AdsStream>> stream = hub_.Open(front, context.peer());
  if (!stream.ok()) return new RefusedStream(stream.status());
  authenticator_.AuthenticateForCertificate(
      context, false, [stream = *stream](const absl::StatusOr<authn::Caller>& caller) {
        stream->Authenticated(caller);
      });
  return stream->get();  // the hub owns it until OnDone
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* AdsService::StreamAggregatedResources(
    grpc::CallbackServerContext* context) {
  return Open(AdsFront::kStateOfTheWorld, *context);
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* AdsService::DeltaAggregatedResources(
    grpc::CallbackServerContext* context) {
  return Open(AdsFront::kDelta, *context);
}

}  // namespace capstan::rpc
