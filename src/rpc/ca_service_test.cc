// SPDX-License-Identifier: Apache-2.0
#include "rpc/ca_service.h"

#include <gmock/gmock.h>
#include <grpc/support/time.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "rpc/messages.h"
#include "rpc/server_fixture.h"

namespace capstan::rpc {
namespace {

using testing::CaStub;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kMethod[] = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

class CaServiceTest : public testing::ServerFixture {
 protected:
  struct Call {
    grpc::Status status;
    istio::v1::auth::IstioCertificateResponse response;
    std::multimap<std::string, std::string> trailing;
  };
  using Metadata = std::vector<std::pair<std::string, std::string>>;

  static Call Create(const std::shared_ptr<grpc::Channel>& channel,
                     const istio::v1::auth::IstioCertificateRequest& request,
                     const Metadata& metadata = {}) {
    Call call;
    grpc::ClientContext context;
    for (const auto& [key, value] : metadata) {
      context.AddMetadata(key, value);
    }
    call.status = istio::v1::auth::IstioCertificateService::NewStub(channel)->CreateCertificate(
        &context, request, &call.response);
    for (const auto& [key, value] : context.GetServerTrailingMetadata()) {
      call.trailing.emplace(std::string(key.data(), key.size()),
                            std::string(value.data(), value.size()));
    }
    return call;
  }
  static istio::v1::auth::IstioCertificateRequest Request() {
    istio::v1::auth::IstioCertificateRequest request;
    request.set_csr(NewCsr());
    request.set_validity_duration(600);
    return request;
  }
  // Any bytes to any method.
  static grpc::Status Raw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                          const std::string& bytes) {
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    grpc::Slice slice(bytes);
    grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::Status status;
    absl::Notification done;
    stub.UnaryCall(&context, method, grpc::StubOptions(), &request, &response, [&](grpc::Status s) {
      status = std::move(s);
      done.Notify();
    });
    done.WaitForNotification();
    return status;
  }
  static void ExpectUnauthenticated(const Call& call, const std::string& why) {
    EXPECT_EQ(call.status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_THAT(call.status.error_message(), StartsWith("request authenticate failure: "));
    EXPECT_THAT(call.status.error_message(), HasSubstr(why));
  }
};

TEST_F(CaServiceTest, ACertificateObtainsTheNext) {
  const Call call = Create(ChannelOf(a_), Request(), {{"capstan-instance", "node-1"}});
  ASSERT_TRUE(call.status.ok()) << call.status.error_message();
  // Leaf, intermediate, and the whole bundle as one element.
  ASSERT_EQ(call.response.cert_chain_size(), 3);
  const auto leaf = *x509::ParsePemCertificates(call.response.cert_chain(0));
  ASSERT_EQ(leaf.size(), 1u);
  EXPECT_EQ(leaf[0].SpiffeId()->ToString(), "spiffe://cluster.local/ns/default/sa/sleep");
  EXPECT_EQ(call.response.cert_chain(1), a_.issuer().ToPem());
  EXPECT_EQ(call.response.cert_chain(2), a_.bundle().ToPem());
  ASSERT_EQ(plane_.issued().size(), 1u);
  EXPECT_EQ(plane_.issued()[0].ttl, absl::Seconds(600));
  EXPECT_EQ(plane_.issued()[0].instance, "node-1");
  EXPECT_FALSE(plane_.issued()[0].for_agent);
}

TEST_F(CaServiceTest, PurposeSaysWhoseCertificateItIs) {
  EXPECT_TRUE(Create(ChannelOf(a_), Request(), {{"capstan-purpose", "agent"}}).status.ok());
  EXPECT_TRUE(Create(ChannelOf(a_), Request(), {{"capstan-purpose", "workload"}}).status.ok());
  ASSERT_EQ(plane_.issued().size(), 2u);
  EXPECT_TRUE(plane_.issued()[0].for_agent);
  EXPECT_FALSE(plane_.issued()[1].for_agent);
  const Call other = Create(ChannelOf(a_), Request(), {{"capstan-purpose", "root"}});
  EXPECT_EQ(other.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(other.status.error_message(), HasSubstr("capstan-purpose"));
}

TEST_F(CaServiceTest, WhoIsPutOffReadsWhenToComeBack) {
  plane_.PutOffOnce(absl::Milliseconds(3200));
  const Call call = Create(ChannelOf(a_), Request());
  EXPECT_EQ(call.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(call.status.error_message(), "others come first");
  const auto told = call.trailing.find("capstan-retry-after-ms");
  ASSERT_NE(told, call.trailing.end());
  EXPECT_EQ(told->second, "3200");
  const Call next = Create(ChannelOf(a_), Request());
  EXPECT_TRUE(next.status.ok());
  EXPECT_FALSE(next.trailing.contains("capstan-retry-after-ms"));
}

TEST_F(CaServiceTest, WhatIsReplacedIsSaidOrNotSaid) {
  EXPECT_TRUE(Create(ChannelOf(a_), Request()).status.ok());
  EXPECT_TRUE(Create(ChannelOf(a_), Request(), {{"capstan-replaces", "none"}}).status.ok());
  EXPECT_TRUE(Create(ChannelOf(a_), Request(), {{"capstan-replaces", "0a1b"}}).status.ok());
  ASSERT_EQ(plane_.issued().size(), 3u);
  EXPECT_EQ(plane_.issued()[0].replaces, std::nullopt);
  EXPECT_EQ(plane_.issued()[1].replaces, "");
  EXPECT_EQ(plane_.issued()[2].replaces, "0a1b");
}

TEST_F(CaServiceTest, AJoinTokenDoesWithoutACertificate) {
  const Secret token = plane_.AddToken("spiffe://cluster.local/ns/default/sa/httpbin");
  const Call call = Create(Channel(std::nullopt), Request(),
                           {{"authorization", "Bearer " + std::string(token.Reveal())}});
  ASSERT_TRUE(call.status.ok()) << call.status.error_message();
  const auto leaf = *x509::ParsePemCertificates(call.response.cert_chain(0));
  EXPECT_EQ(leaf[0].SpiffeId()->ToString(), "spiffe://cluster.local/ns/default/sa/httpbin");
}

TEST_F(CaServiceTest, TheFirstBearerCountsAndItsCaseMatters) {
  const std::string token(plane_.AddToken("spiffe://cluster.local/ns/default/sa/httpbin").Reveal());
  const auto channel = Channel(std::nullopt);
  EXPECT_TRUE(Create(channel, Request(),
                     {{"authorization", "Basic eHg6eHg="}, {"authorization", "Bearer " + token}})
                  .status.ok());
  ExpectUnauthenticated(Create(channel, Request(), {{"authorization", "bearer " + token}}),
                        "neither a client certificate nor a token");
  ExpectUnauthenticated(
      Create(channel, Request(),
             {{"authorization", "Bearer wrong"}, {"authorization", "Bearer " + token}}),
      "unknown, used or expired");
}

TEST_F(CaServiceTest, AnUntrustedCertificateIsToldWhy) {
  ExpectUnauthenticated(Create(ChannelOf(b_), Request()), "does not chain to a root of the bundle");
}

TEST_F(CaServiceTest, ABadCertificateIsRefusedEvenBesideAGoodToken) {
  const std::string token(plane_.AddToken("spiffe://cluster.local/ns/default/sa/httpbin").Reveal());
  ExpectUnauthenticated(Create(ChannelOf(b_), Request(), {{"authorization", "Bearer " + token}}),
                        "does not chain");
  EXPECT_TRUE(plane_.issued().empty());
}

TEST_F(CaServiceTest, AnExpiredCertificateIsToldSince) {
  const auto channel = ChannelOf(a_);
  EXPECT_TRUE(Create(channel, Request()).status.ok());
  clock_.Advance(absl::Hours(2));
  ExpectUnauthenticated(Create(channel, Request()), "expired at");  // on the same connection
}

TEST_F(CaServiceTest, TheBundleOfTheMomentDecidesOnAnOpenConnection) {
  const auto old_client = ChannelOf(a_);
  const auto new_client = ChannelOf(b_);
  EXPECT_TRUE(Create(old_client, Request()).status.ok());
  ExpectUnauthenticated(Create(new_client, Request()), "does not chain");
  plane_.SetTrust(Union(a_.bundle(), b_.bundle()));
  EXPECT_TRUE(Create(old_client, Request()).status.ok());
  EXPECT_TRUE(Create(new_client, Request()).status.ok());
  plane_.SetTrust(b_.bundle());
  ExpectUnauthenticated(Create(old_client, Request()), "does not chain");
  EXPECT_TRUE(Create(new_client, Request()).status.ok());
}

TEST_F(CaServiceTest, AForeignTrustDomainOfTheSameRootIsRefused) {
  ExpectUnauthenticated(
      Create(Channel(a_.Issue(plane_.Valid("spiffe://other.example/ns/default/sa/sleep"))),
             Request()),
      "trust domain here is cluster.local");
}

TEST_F(CaServiceTest, CertificatesOfEveryAcceptableKeyCanCall) {
  for (x509::KeyType type :
       {x509::KeyType::kRsa2048, x509::KeyType::kEcdsaP256, x509::KeyType::kEcdsaP384}) {
    const x509::PrivateKey key = testing::Must(x509::PrivateKey::Generate(type));
    const testing::Leaf leaf{{a_.Sign(plane_.Valid(), key.public_key()), a_.issuer()}, key};
    const Call call = Create(Channel(leaf), Request());
    EXPECT_TRUE(call.status.ok()) << x509::KeyTypeName(type) << ": " << call.status.error_message();
  }
}

TEST_F(CaServiceTest, ABadCsrIsAnErrorOfTheCaller) {
  auto request = Request();
  for (const std::string& csr : {std::string(), std::string("garbage"),
                                 std::string("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"
                                             "-----END CERTIFICATE REQUEST-----\n"),
                                 std::string(100 << 10, 'x')}) {
    request.set_csr(csr);
    const Call call = Create(ChannelOf(a_), request);
    EXPECT_EQ(call.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(call.status.error_message(), StartsWith("CSR signing error ("));
  }
}

TEST_F(CaServiceTest, SomebodyElsesIdentityIsNeverIssued) {
  auto request = Request();
  (*request.mutable_metadata()->mutable_fields())["ImpersonatedIdentity"].set_string_value(
      "spiffe://cluster.local/ns/default/sa/httpbin");
  const Call call = Create(ChannelOf(a_), request);
  EXPECT_EQ(call.status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(call.status.error_message(),
              StartsWith("request impersonation authentication failure: no such pod"));
}

TEST_F(CaServiceTest, InstanceIsAName) {
  const std::vector<CaServiceTest::Metadata> bad = {
      {{"capstan-instance", "with blank"}},
      {{"capstan-instance", std::string(129, 'x')}},
      {{"capstan-instance", "a"}, {"capstan-instance", "b"}}};
  for (const auto& metadata : bad) {
    const Call call = Create(ChannelOf(a_), Request(), metadata);
    EXPECT_EQ(call.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(call.status.error_message(), HasSubstr("capstan-instance"));
  }
}

// Who asks with a token and is answered when somebody else has said who that is.
class HeldCallsTest : public CaServiceTest {
 protected:
  HeldCallsTest() { plane_.HoldTokens(); }
  ~HeldCallsTest() override {
    for (std::thread& thread : threads_) thread.join();
  }
  void Ask(const Metadata& more = {}, absl::Duration timeout = absl::Seconds(30),
           const std::string& impersonated = "") {
    threads_.emplace_back([this, more, timeout, impersonated] {
      istio::v1::auth::IstioCertificateRequest request = Request();
      (*request.mutable_metadata()->mutable_fields())["ImpersonatedIdentity"].set_string_value(
          impersonated);
      Metadata metadata = {{"authorization", "Bearer a.b.c"}};
      metadata.insert(metadata.end(), more.begin(), more.end());
      grpc::ClientContext context;
      context.set_deadline(gpr_time_from_millis(absl::ToInt64Milliseconds(timeout), GPR_TIMESPAN));
      for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
      istio::v1::auth::IstioCertificateResponse response;
      const grpc::Status status =
          istio::v1::auth::IstioCertificateService::NewStub(channel_)->CreateCertificate(
              &context, request, &response);
      const std::lock_guard lock(mutex_);
      answers_.push_back(status.error_code());
    });
  }
  std::vector<grpc::StatusCode> Answers() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    return std::exchange(answers_, {});
  }

  const std::shared_ptr<grpc::Channel> channel_ = Channel(std::nullopt);
  const authn::Caller sleep_{
      .id = testing::Must(spiffe::SpiffeId::Parse("spiffe://cluster.local/ns/default/sa/sleep")),
      .proof = authn::Caller::Proof::kServiceAccount};
  std::mutex mutex_;
  std::vector<grpc::StatusCode> answers_;
  std::vector<std::thread> threads_;
};

TEST_F(HeldCallsTest, HoldNobodyElse) {
  for (int i = 0; i < 20; ++i) Ask();
  ASSERT_TRUE(plane_.AwaitHeld(20)) << "more than gRPC has threads";
  EXPECT_TRUE(Create(ChannelOf(a_), Request()).status.ok());
  plane_.AnswerHeld(sleep_);
  EXPECT_THAT(Answers(), ::testing::AllOf(::testing::SizeIs(20), Each(grpc::StatusCode::OK)));
  EXPECT_EQ(plane_.issued().size(), 21u);
}

TEST_F(HeldCallsTest, ANodeProxyGetsWhatItAskedForOrNothing) {
  constexpr char kHttpbin[] = "spiffe://cluster.local/ns/default/sa/httpbin";
  plane_.AllowImpersonation(kHttpbin);
  Ask({}, absl::Seconds(30), kHttpbin);
  ASSERT_TRUE(plane_.AwaitHeld(1));
  plane_.AnswerHeld(sleep_);
  EXPECT_THAT(Answers(), Each(grpc::StatusCode::OK));
  ASSERT_EQ(plane_.issued().size(), 1u);
  EXPECT_EQ(plane_.issued()[0].impersonated, kHttpbin);
  Ask({}, absl::Seconds(30), "spiffe://cluster.local/ns/default/sa/other");
  ASSERT_TRUE(plane_.AwaitHeld(1));
  plane_.AnswerHeld(sleep_);
  EXPECT_THAT(Answers(), Each(grpc::StatusCode::UNAUTHENTICATED));
  EXPECT_EQ(plane_.issued().size(), 1u);
}

TEST_F(HeldCallsTest, SayWhichClusterTheTokenIsOf) {
  const std::vector<Metadata> metadata = {
      {{"clusterid", "east"}}, {}, {{"clusterid", "east"}, {"clusterid", "west"}}};
  std::vector<std::string> clusters;
  for (const Metadata& more : metadata) {
    Ask(more);
    ASSERT_TRUE(plane_.AwaitHeld(1));
    const auto shown = plane_.AnswerHeld(absl::UnavailableError("the API server is gone"));
    clusters.push_back(shown.front().cluster);
    EXPECT_EQ(shown.front().bearer, Secret("a.b.c"));
  }
  EXPECT_THAT(clusters, ::testing::ElementsAre("east", "", ""));
  EXPECT_THAT(Answers(), Each(grpc::StatusCode::UNAVAILABLE));
}

TEST_F(HeldCallsTest, MayBeGivenUpByTheirCallers) {
  for (int i = 0; i < 5; ++i) Ask({}, absl::Milliseconds(300));
  ASSERT_TRUE(plane_.AwaitHeld(5));
  EXPECT_THAT(Answers(), Each(grpc::StatusCode::DEADLINE_EXCEEDED));
  EXPECT_EQ(plane_.AnswerHeld(sleep_).size(), 5u) << "nobody hears it, and nothing breaks";
  EXPECT_TRUE(Create(ChannelOf(a_), Request()).status.ok());
}

TEST_F(HeldCallsTest, EndWithTheServerOnceTheyAreAnswered) {
  Ask();
  ASSERT_TRUE(plane_.AwaitHeld(1));
  std::thread answer([this] {
    const std::lock_guard lock(mutex_);
    plane_.AnswerHeld(absl::UnavailableError("stopping"));
  });
  server_->Shutdown();
  answer.join();
  EXPECT_THAT(Answers(), ::testing::SizeIs(1));
}

TEST_F(CaServiceTest, GarbageOfAnySizeGetsAStatus) {
  const auto channel = ChannelOf(a_);
  SeededRandom random(7);
  for (size_t size : {0, 1, 2, 17, 255, 4096, 65536, 200'000, 1'000'000}) {
    const grpc::Status status = Raw(channel, kMethod, random.Bytes(size));
    EXPECT_THAT(status.error_code(), ::testing::AnyOf(grpc::StatusCode::INVALID_ARGUMENT,
                                                      grpc::StatusCode::RESOURCE_EXHAUSTED))
        << size << ": " << status.error_message();
    EXPECT_FALSE(status.error_message().empty());
  }
  EXPECT_EQ(Raw(channel, kMethod, std::string(5 << 20, 'x')).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Create(channel, Request()).status.ok()) << "the connection goes on";
}

TEST_F(CaServiceTest, UnknownMethodsAreUnimplemented) {
  const auto channel = ChannelOf(a_);
  for (const char* method : {"/istio.v1.auth.IstioCertificateService/Nope", "/x/y", "/", "nope",
                             // The operator's calls are not on this port.
                             "/capstan.control.v1.ControlService/CreateToken"}) {
    EXPECT_EQ(Raw(channel, method, "").error_code(), grpc::StatusCode::UNIMPLEMENTED) << method;
  }
}

TEST_F(CaServiceTest, AFloodOfMetadataHarmsTheFlooderOnly) {
  const auto bystander = ChannelOf(a_);
  EXPECT_TRUE(Create(bystander, Request()).status.ok());
  const auto flooder = ChannelOf(a_);
  for (size_t size : {100, 1000, 10'000}) {
    const Metadata flood(100, {"x-flood", std::string(size, 'y')});
    EXPECT_EQ(Create(flooder, Request(), flood).status.ok(), size == 100) << size;
  }
  EXPECT_EQ(plane_.issued().size(), 2u);
  EXPECT_TRUE(Create(bystander, Request()).status.ok());
}

TEST_F(CaServiceTest, CompressedMessagesAreRefusedUnread) {
  grpc::ChannelArguments arguments;
  arguments.SetCompressionAlgorithm(GRPC_COMPRESS_GZIP);
  auto request = Request();
  request.set_csr(std::string(3 << 20, 'x'));
  const Call call = Create(Channel(a_.Issue(plane_.Valid()), arguments), request);
  EXPECT_EQ(call.status.error_code(), grpc::StatusCode::UNIMPLEMENTED)
      << call.status.error_message();
}

TEST_F(CaServiceTest, AMessageThatQuotesTheCallerIsCut) {
  testing::LeafSpec spec = plane_.Valid("spiffe://other.example/" + std::string(2000, 'x'));
  spec.dns = {std::string(200, 'y')};
  const Call call = Create(Channel(a_.Issue(spec)), Request());
  EXPECT_EQ(call.status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_LE(call.status.error_message().size(), 2100u);
}

}  // namespace
}  // namespace capstan::rpc
