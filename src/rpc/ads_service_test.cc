// SPDX-License-Identifier: Apache-2.0
#include "rpc/ads_service.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "envoy/service/discovery/v3/ads.grpc.pb.h"
#include "mesh/v1alpha1/proxy.pb.h"
#include "rpc/server_fixture.h"

namespace capstan::rpc {
namespace {

namespace discovery = ::envoy::service::discovery::v3;
using ::testing::SizeIs;

// A stock agent by the messages it sends.
class StockClient {
 public:
  explicit StockClient(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(discovery::AggregatedDiscoveryService::NewStub(channel)),
        stream_(stub_->StreamAggregatedResources(&context_)) {}
  ~StockClient() { context_.TryCancel(); }

  void Ask(const std::string& type, const std::string& nonce = "") {
    discovery::DiscoveryRequest request;
    request.set_type_url(type);
    request.set_response_nonce(nonce);
    if (nonce.empty()) request.mutable_node()->set_id("sidecar~127.0.0.1~a.b~b.svc.cluster.local");
    EXPECT_TRUE(stream_->Write(request));
  }
  discovery::DiscoveryResponse Next() {
    discovery::DiscoveryResponse response;
    EXPECT_TRUE(stream_->Read(&response));
    return response;
  }
  grpc::Status End() {
    discovery::DiscoveryResponse response;
    while (stream_->Read(&response)) {
    }
    return stream_->Finish();
  }
  static int Roots(const discovery::DiscoveryResponse& response) {
    istio::mesh::v1alpha1::ProxyConfig config;
    EXPECT_THAT(response.resources(), SizeIs(1));
    EXPECT_TRUE(config.ParseFromString(response.resources(0).value()));
    return config.ca_certificates_pem_size();
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<discovery::AggregatedDiscoveryService::Stub> stub_;
  std::unique_ptr<
      grpc::ClientReaderWriter<discovery::DiscoveryRequest, discovery::DiscoveryResponse>>
      stream_;
};

class AdsServiceTest : public testing::ServerFixture {};

TEST_F(AdsServiceTest, GivesTheRootsAndFollowsThem) {
  StockClient agent(ChannelOf(a_));
  agent.Ask(pcds::kListenerType);
  EXPECT_THAT(agent.Next().resources(), SizeIs(0)) << "an Envoy waits for an answer";
  agent.Ask(pcds::kProxyConfigType);
  const discovery::DiscoveryResponse first = agent.Next();
  EXPECT_EQ(first.type_url(), pcds::kProxyConfigType);
  EXPECT_GE(StockClient::Roots(first), 1);
  agent.Ask(pcds::kProxyConfigType, first.nonce());
  plane_.SetTrust(Union(a_.bundle(), b_.bundle()));
  const discovery::DiscoveryResponse second = agent.Next();
  EXPECT_EQ(StockClient::Roots(second), 2);
  EXPECT_NE(second.version_info(), first.version_info());
}

TEST_F(AdsServiceTest, RefusesWhoeverShowsNothing) {
  StockClient stranger(Channel(std::nullopt));
  EXPECT_EQ(stranger.End().error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

}  // namespace
}  // namespace capstan::rpc
