// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "rpc/call_authenticator.h"
#include "rpc/control_plane.h"
#include "security/v1alpha1/ca.grpc.pb.h"

namespace capstan::rpc {

// Istio's certificate service. Compatible on the wire: the elements of the answer are the leaf,
// each intermediate, and the whole bundle as the last; codes and the first words of messages are
// istiod's, and the reason follows. Our agent adds metadata: "capstan-instance";
// "capstan-purpose", which is "workload" (also where absent) or "agent"; and "capstan-replaces",
// the serial of the leaf that it holds, or "none". Who is put off (RESOURCE_EXHAUSTED) reads in the
// trailing metadata "capstan-retry-after-ms" when to come back; a stock agent backs off by itself.
// A call whose caller somebody else has to be asked about is answered later and blocks no thread.
class CaService final
    : public istio::v1::auth::IstioCertificateService::WithRawCallbackMethod_CreateCertificate<
          istio::v1::auth::IstioCertificateService::Service> {
 public:
  CaService(ControlPlane& plane, CallAuthenticator& authenticator)
      : plane_(plane), authenticator_(authenticator) {}

  grpc::ServerUnaryReactor* CreateCertificate(grpc::CallbackServerContext* context,
                                              const grpc::ByteBuffer* request,
                                              grpc::ByteBuffer* response) override;

 private:
  // Called once, within the call that takes it or later.
  using Created = std::function<void(absl::StatusOr<grpc::ByteBuffer>)>;
  void Create(const grpc::CallbackServerContext& context,
              const absl::StatusOr<authn::Caller>& caller, const grpc::ByteBuffer& bytes,
              const Created& created);
  absl::StatusOr<grpc::ByteBuffer> Issue(const authn::Caller& caller, const IssueRequest& request);

  ControlPlane& plane_;
  CallAuthenticator& authenticator_;
};

}  // namespace capstan::rpc
