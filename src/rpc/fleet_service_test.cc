// SPDX-License-Identifier: Apache-2.0
#include "rpc/fleet_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "authn/certificate.h"
#include "rpc/server_fixture.h"

namespace capstan::rpc {
namespace {

using ::testing::HasSubstr;
using testing::Must;

class ProbeCertificateTest : public testing::ServerFixture {
 protected:
  ProbeCertificateTest() { plane_.AllowProbes({&a_}); }

  grpc::Status Create(const std::shared_ptr<grpc::Channel>& channel, const std::string& csr,
                      const std::optional<Secret>& token = std::nullopt) {
    grpc::ClientContext context;
    if (token.has_value()) {
      context.AddMetadata("authorization", absl::StrCat("Bearer ", token->Reveal()));
    }
    fleet::v1::ProbeCertificateRequest request;
    request.set_csr_pem(csr);
    request.set_authority_id(Id(a_));
    return fleet::v1::FleetService::NewStub(channel)->CreateProbeCertificate(&context, request,
                                                                             &response_);
  }
  static std::string Id(const testing::TestCa& ca) {
    return trust::AuthorityId::Of(ca.issuer()).hex();
  }
  static void Expect(const grpc::Status& status, grpc::StatusCode code, const std::string& why) {
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(why));
  }

  fleet::v1::ProbeCertificateResponse response_;
};

TEST_F(ProbeCertificateTest, IsForCallersWithACertificate) {
  EXPECT_TRUE(Create(ChannelOf(a_), NewCsr()).ok());
  ASSERT_EQ(response_.cert_chain_size(), 2);
  Expect(Create(Channel(std::nullopt), NewCsr()), grpc::StatusCode::UNAUTHENTICATED, "neither");
  Expect(Create(Channel(std::nullopt), NewCsr(),
                plane_.AddToken("spiffe://cluster.local/ns/default/sa/sleep")),
         grpc::StatusCode::PERMISSION_DENIED, "a probe certificate needs a client certificate");
}

TEST_F(ProbeCertificateTest, OpensNothingItself) {
  const x509::PrivateKey key = Must(x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256));
  ASSERT_TRUE(Create(ChannelOf(a_), Must(x509::Csr::Create(key, {}, {})).ToPem()).ok());
  testing::Leaf probe{Must(x509::ParsePemCertificates(response_.cert_chain(0))), key};
  probe.chain.push_back(a_.issuer());
  Expect(Create(Channel(probe), NewCsr()), grpc::StatusCode::UNAUTHENTICATED, "reserved");
  grpc::ClientContext context;
  istio::v1::auth::IstioCertificateRequest request;
  request.set_csr(NewCsr());
  istio::v1::auth::IstioCertificateResponse answer;
  Expect(istio::v1::auth::IstioCertificateService::NewStub(Channel(probe))
             ->CreateCertificate(&context, request, &answer),
         grpc::StatusCode::UNAUTHENTICATED, "reserved");
}

TEST_F(ProbeCertificateTest, SaysWhatIsWrong) {
  const auto channel = ChannelOf(a_);
  Expect(Create(channel, ""), grpc::StatusCode::INVALID_ARGUMENT, "csr_pem is empty");
  EXPECT_EQ(Create(channel, "garbage").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  Expect(Create(channel, std::string(200 << 10, 'x')), grpc::StatusCode::RESOURCE_EXHAUSTED, "");
  plane_.AllowProbes({&b_});
  Expect(Create(channel, NewCsr()), grpc::StatusCode::FAILED_PRECONDITION, "is not probed now");
}

}  // namespace
}  // namespace capstan::rpc
