// SPDX-License-Identifier: Apache-2.0
#include "rpc/channel.h"

#include "gmock/gmock.h"
#include "rpc/server_fixture.h"

namespace capstan::rpc::testing {
namespace {

using ::testing::HasSubstr;

constexpr char kServer[] = "spiffe://cluster.local/capstan/control-plane";
constexpr char kWorkload[] = "spiffe://cluster.local/ns/default/sa/sleep";

class CheckServerTest : public ::testing::Test {
 protected:
  LeafSpec Spec(const std::string& uri = kServer) const {
    return {.uris = {uri},
            .dns = {"localhost"},
            .not_before = now_ - absl::Minutes(2),
            .not_after = now_ + absl::Hours(1)};
  }
  absl::Status Check(const LeafSpec& spec, const TestCa& issuer) const {
    return CheckServer(issuer.Issue(spec).chain, server_, a_.bundle(), now_);
  }
  void ExpectRefused(const absl::Status& status, const std::string& why) const {
    EXPECT_TRUE(absl::IsUnauthenticated(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  }

  const absl::Time now_ = absl::FromUnixSeconds(1'750'000'000);
  const TestCa a_{now_, "Root CA", true};
  const TestCa b_{now_, "Root CA", true};  // the same name, another key
  const spiffe::SpiffeId server_ = Must(spiffe::SpiffeId::Parse(kServer));
};

TEST_F(CheckServerTest, AcceptsExactlyTheControlPlane) {
  EXPECT_TRUE(Check(Spec(), a_).ok()) << Check(Spec(), a_);
}

TEST_F(CheckServerTest, RefusesEverybodyElseAndSaysWhom) {
  ExpectRefused(Check(Spec(kWorkload), a_), "its certificate is for spiffe://cluster.local/ns/");
  ExpectRefused(Check(Spec("spiffe://cluster.local/capstan/control-plane/x"), a_), "is not");
  ExpectRefused(Check(Spec("spiffe://other.td/capstan/control-plane"), a_), "other.td");
  LeafSpec dns_only = Spec();
  dns_only.uris = {};
  ExpectRefused(Check(dns_only, a_), "is no X509-SVID");
  LeafSpec both = Spec();
  both.uris = {kServer, kWorkload};
  ExpectRefused(Check(both, a_), "is no X509-SVID");
  ExpectRefused(CheckServer({}, server_, a_.bundle(), now_), "shows no certificate");
}

TEST_F(CheckServerTest, RefusesWhatTheBundleDoesNotVouchFor) {
  ExpectRefused(Check(Spec(), b_), "does not verify against the trust bundle");
  LeafSpec expired = Spec();
  expired.not_after = now_ - absl::Seconds(1);
  ExpectRefused(Check(expired, a_), "does not verify");
  LeafSpec client_only = Spec();
  client_only.extended_key_usage = {"clientAuth"};
  ExpectRefused(Check(client_only, a_), "does not verify");
  LeafSpec ca = Spec();
  ca.ca = true;
  ExpectRefused(Check(ca, a_), "does not verify");
}

class ChannelTest : public ServerFixture {
 protected:
  ChannelOptions Options() const {
    return {.address = "127.0.0.1:" + std::to_string(server_->port()),
            .server_id = Must(spiffe::SpiffeId::Parse(kServer)),
            .bundle = a_.bundle(),
            .credential = std::nullopt};
  }
  ChannelOptions WithCredential(const TestCa& ca) const {
    ChannelOptions options = Options();
    const Leaf leaf = ca.Issue(plane_.Valid());
    options.credential = {x509::ToPem(leaf.chain), leaf.key.ToPkcs8Pem()};
    return options;
  }
  grpc::Status Call(const ChannelOptions& options) {
    const auto channel = MakeChannel(options, clock_);
    if (!channel.ok()) return {grpc::StatusCode::INVALID_ARGUMENT, "no channel"};
    istio::v1::auth::IstioCertificateRequest request;
    request.set_csr(NewCsr());
    istio::v1::auth::IstioCertificateResponse response;
    grpc::ClientContext context;
    context.set_deadline(gpr_time_from_seconds(10, GPR_TIMESPAN));
    return istio::v1::auth::IstioCertificateService::NewStub(*channel)->CreateCertificate(
        &context, request, &response);
  }
};

TEST_F(ChannelTest, ACredentialFromMemoryIsShown) {
  const grpc::Status status = Call(WithCredential(a_));
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(ChannelTest, WithoutOneTheServerAnswersAndSaysWhatIsMissing) {
  const grpc::Status status = Call(Options());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << status.error_message();
}

TEST_F(ChannelTest, TheReasonOfARefusalReachesTheCaller) {
  ChannelOptions other_root = WithCredential(a_);
  other_root.bundle = b_.bundle();
  grpc::Status status = Call(other_root);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("does not verify against the trust bundle"));

  ChannelOptions other_id = WithCredential(a_);
  other_id.server_id = Must(spiffe::SpiffeId::Parse("spiffe://cluster.local/capstan/other"));
  status = Call(other_id);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("is not spiffe://cluster.local/capstan/other"));
  EXPECT_TRUE(plane_.issued().empty());
}

TEST_F(ChannelTest, ARootOfTheSameNameDoesNotHideTheRightOne) {
  ChannelOptions both = WithCredential(a_);
  both.bundle = Union(a_.bundle(), b_.bundle());
  EXPECT_TRUE(Call(both).ok());
  plane_.SetTrust(both.bundle);
  plane_.Serve(b_);
  EXPECT_TRUE(Call(both).ok());
}

TEST_F(ChannelTest, ThereIsNoChannelWithoutAnAddressOrTrust) {
  for (const char* address :
       {"", "host", ":1", "host:0", "host:65536", "host:x", "unix:/x:1", "http://host:1"}) {
    ChannelOptions options = Options();
    options.address = address;
    EXPECT_TRUE(absl::IsInvalidArgument(MakeChannel(options, clock_).status())) << address;
  }
  ChannelOptions options = Options();
  options.bundle = {};
  EXPECT_TRUE(absl::IsInvalidArgument(MakeChannel(options, clock_).status()));
}

}  // namespace
}  // namespace capstan::rpc::testing
