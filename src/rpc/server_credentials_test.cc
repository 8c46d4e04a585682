// SPDX-License-Identifier: Apache-2.0
#include "rpc/server_credentials.h"

#include <gmock/gmock.h>
#include <grpc/grpc_security.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "rpc/server_fixture.h"
#include "x509/handshake.h"

namespace capstan::rpc {
namespace {

using ::testing::HasSubstr;
using testing::Leaf;
using testing::Must;
using ::testing::Not;
using testing::StreamClient;

class ServerCredentialsTest : public testing::ServerFixture {
 protected:
  x509::HandshakeResult Handshake(const std::optional<Leaf>& client = std::nullopt) {
    x509::HandshakeOptions options{.host = "127.0.0.1",
                                   .port = server_->port(),
                                   .server_name = "istiod.istio-system.svc",
                                   .alpn = {"h2"}};
    if (client.has_value()) {
      options.client_chain = client->chain;
      options.client_key = client->key;
    }
    return Must(x509::Handshake(options));
  }

  // What openssl's own client says of a connection.
  std::string SClient(const std::string& flags) {
    const std::string command =
        "openssl s_client -connect 127.0.0.1:" + std::to_string(server_->port()) + " " + flags +
        " </dev/null 2>&1";
    FILE* pipe = ::popen(command.c_str(), "r");
    std::string output;
    char buffer[4096];
    while (size_t n = ::fread(buffer, 1, sizeof(buffer), pipe)) {
      output.append(buffer, n);
    }
    ::pclose(pipe);
    return output;
  }
};

TEST_F(ServerCredentialsTest, ServesTheControlPlanesIdentityWithItsChain) {
  const auto served = Handshake().served_chain;
  ASSERT_EQ(served.size(), 2u) << "leaf and intermediate, no root";
  EXPECT_EQ(served[0].SpiffeId()->ToString(), "spiffe://cluster.local/capstan/control-plane");
  EXPECT_EQ(served[1], a_.issuer());
}

TEST_F(ServerCredentialsTest, ANewCertificateIsServedAtTheNextHandshake) {
  StreamClient open(ChannelOf(a_));
  ASSERT_TRUE(open.Hello("one"));
  EXPECT_EQ(open.Next(), 1);
  const auto before = Handshake().served_chain;

  plane_.Serve(b_);
  const auto after = Handshake().served_chain;
  EXPECT_NE(before[0].serial(), after[0].serial());
  EXPECT_EQ(after[1], b_.issuer());
  EXPECT_EQ(Handshake().served_chain[0].serial(), after[0].serial()) << "made once";

  plane_.SetTrust(Union(a_.bundle(), b_.bundle()));
  EXPECT_EQ(open.Next(), 2) << "the connection of before goes on";
}

TEST_F(ServerCredentialsTest, ABrokenCertificateLeavesTheLastOneInForce) {
  class Broken final : public ControlPlane {
   public:
    explicit Broken(testing::FakeControlPlane& plane) : plane_(plane) {}
    std::shared_ptr<const trust::TrustState> trust() const override { return plane_.trust(); }
    std::shared_ptr<const ServingCertificate> serving() const override { return serving_; }
    void Set(std::shared_ptr<const ServingCertificate> serving) { serving_ = std::move(serving); }
    absl::StatusOr<authn::Caller> Authenticate(const authn::Credentials& c) override {
      return plane_.Authenticate(c);
    }
    absl::StatusOr<authn::Caller> AuthenticateForCredential(const authn::Credentials& c) override {
      return plane_.AuthenticateForCredential(c);
    }
    void Impersonate(const authn::Caller& c, const std::string& i, const Judged& j) override {
      plane_.Impersonate(c, i, j);
    }
    absl::StatusOr<std::vector<std::string>> TrustHistory(
        const trust::BundleVersion& held) override {
      return plane_.TrustHistory(held);
    }
    absl::StatusOr<IssueResponse> Issue(const authn::Caller& c, const IssueRequest& r) override {
      return plane_.Issue(c, r);
    }
    absl::StatusOr<std::vector<std::string>> IssueProbe(const authn::Caller& c,
                                                        const std::string& csr,
                                                        const std::string& id) override {
      return plane_.IssueProbe(c, csr, id);
    }
    absl::StatusOr<int64_t> Connected(const authn::Caller& c, const fleet::v1::Hello& h) override {
      return plane_.Connected(c, h);
    }
    absl::Status Reported(const authn::Caller& c, const std::string& i, int64_t g,
                          const fleet::v1::Report& r) override {
      return plane_.Reported(c, i, g, r);
    }
    void Disconnected(const authn::Caller& c, const std::string& i, int64_t g) override {
      plane_.Disconnected(c, i, g);
    }
    absl::StatusOr<int64_t> StockConnected(const authn::Caller& c, const std::string& i) override {
      return plane_.StockConnected(c, i);
    }
    absl::Status StockReported(const authn::Caller& c, const std::string& i, int64_t g,
                               const StockReport& r) override {
      return plane_.StockReported(c, i, g, r);
    }
    std::shared_ptr<const pcds::Resource> stock_roots() const override {
      return plane_.stock_roots();
    }
    double issue_budget() const override { return plane_.issue_budget(); }
    std::shared_ptr<const fleet::v1::TrustUpdate> update() const override {
      return plane_.update();
    }
    std::shared_ptr<void> Subscribe(std::function<void()>) override { return nullptr; }
    control::v1::Status GetStatus() override { return plane_.GetStatus(); }
    control::v1::ListFleetResponse ListFleet() override { return plane_.ListFleet(); }
    absl::StatusOr<control::v1::ReloadResponse> Reload() override { return plane_.Reload(); }
    absl::StatusOr<control::v1::CreateTokenResponse> CreateToken(
        const control::v1::CreateTokenRequest& r) override {
      return plane_.CreateToken(r);
    }
    absl::StatusOr<control::v1::Rotation> GetRotation() override { return plane_.GetRotation(); }
    absl::StatusOr<control::v1::RotationPlan> PlanRotation(
        const control::v1::StartRotationRequest& r) override {
      return plane_.PlanRotation(r);
    }
    absl::StatusOr<control::v1::Rotation> StartRotation(
        const control::v1::StartRotationRequest& r) override {
      return plane_.StartRotation(r);
    }
    absl::StatusOr<control::v1::Rotation> SteerRotation(
        const control::v1::SteerRotationRequest& r) override {
      return plane_.SteerRotation(r);
    }
    absl::StatusOr<control::v1::ListRotationsResponse> ListRotations() override {
      return plane_.ListRotations();
    }

   private:
    testing::FakeControlPlane& plane_;
    std::shared_ptr<const ServingCertificate> serving_;
  };
  Broken broken(plane_);
  EXPECT_EQ(Server::Start({.listen = "127.0.0.1:0"}, broken, clock_).status().code(),
            absl::StatusCode::kFailedPrecondition)
      << "there is none to start with";

  broken.Set(plane_.serving());
  server_->Shutdown();
  server_ = Must(Server::Start({.listen = "127.0.0.1:0"}, broken, clock_));
  const auto good = Handshake().served_chain;

  auto mismatched = std::make_shared<ServingCertificate>(*plane_.serving());
  plane_.Serve(b_);
  mismatched->chain_pem = plane_.serving()->chain_pem;  // with the key of another
  mismatched->generation = 100;
  broken.Set(mismatched);
  EXPECT_EQ(Handshake().served_chain[0], good[0]);
  broken.Set(nullptr);
  EXPECT_EQ(Handshake().served_chain[0], good[0]);
  auto mended = std::make_shared<ServingCertificate>(*plane_.serving());
  mended->generation = 101;
  broken.Set(mended);
  EXPECT_EQ(Handshake().served_chain[1], b_.issuer());
  server_->Shutdown();
}

TEST_F(ServerCredentialsTest, NoClientIsDroppedBeforeItCanBeTold) {
  EXPECT_EQ(Handshake(a_.Issue(plane_.Valid())).client, x509::ClientVerdict::kAccepted);
  EXPECT_EQ(Handshake(b_.Issue(plane_.Valid())).client, x509::ClientVerdict::kAccepted);
  testing::LeafSpec expired = plane_.Valid();
  expired.not_before = expired.not_after - absl::Hours(3);
  expired.not_after = expired.not_after - absl::Hours(2);
  EXPECT_EQ(Handshake(a_.Issue(expired)).client, x509::ClientVerdict::kAccepted);
}

// A server keeps the leaf alone in a session that is resumed from a ticket.
TEST_F(ServerCredentialsTest, AResumedSessionIsTheSameCaller) {
  grpc::ChannelArguments arguments;
  grpc_ssl_session_cache* cache = grpc_ssl_session_cache_create_lru(4);
  const grpc_arg argument = grpc_ssl_session_cache_create_channel_arg(cache);
  arguments.SetPointerWithVtable(argument.key, argument.value.pointer.p,
                                 argument.value.pointer.vtable);
  const Leaf leaf = a_.Issue(plane_.Valid());
  int resumed = 0;
  for (int i = 0; i < 3; ++i) {
    grpc::ClientContext context;
    istio::v1::auth::IstioCertificateRequest request;
    istio::v1::auth::IstioCertificateResponse response;
    request.set_csr(NewCsr());
    const grpc::Status status =
        istio::v1::auth::IstioCertificateService::NewStub(Channel(leaf, arguments))
            ->CreateCertificate(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    const auto reused =
        context.auth_context()->FindPropertyValues(GRPC_SSL_SESSION_REUSED_PROPERTY);
    resumed += !reused.empty() && reused[0] == "true" ? 1 : 0;
  }
  EXPECT_GT(resumed, 0) << "nothing was resumed, so nothing was shown";
  grpc_ssl_session_cache_destroy(cache);
}

TEST_F(ServerCredentialsTest, AgreesOnH2AsGoClientsDemand) {
  EXPECT_THAT(SClient("-alpn h2"), HasSubstr("ALPN protocol: h2"));
  EXPECT_THAT(SClient("-alpn http/1.1,h2"), HasSubstr("ALPN protocol: h2"));
}

TEST_F(ServerCredentialsTest, SpeaksTls12AndLater) {
  EXPECT_THAT(SClient("-alpn h2 -tls1_3"), HasSubstr("New, TLSv1.3"));
  EXPECT_THAT(SClient("-alpn h2 -tls1_2"), HasSubstr("New, TLSv1.2"));
  // At security level 0 the client itself would go on.
  EXPECT_THAT(SClient("-alpn h2 -tls1_1 -cipher DEFAULT@SECLEVEL=0"),
              HasSubstr("Cipher is (NONE)"));
}

TEST_F(ServerCredentialsTest, AsksForACertificateOfTheBundleOfTheMoment) {
  plane_.SetTrust(Union(a_.bundle(), testing::TestCa(started_, "Another Root", false).bundle()));
  const std::string both = SClient("-alpn h2");
  EXPECT_THAT(both, HasSubstr("Acceptable client certificate CA names"));
  EXPECT_THAT(both, HasSubstr("CN = Another Root"));
  plane_.SetTrust(a_.bundle());
  EXPECT_THAT(SClient("-alpn h2"), Not(HasSubstr("CN = Another Root")));
}

}  // namespace
}  // namespace capstan::rpc
