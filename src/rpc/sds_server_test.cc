// SPDX-License-Identifier: Apache-2.0
#include "rpc/sds_server.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "envoy/extensions/transport_sockets/tls/v3/secret.pb.h"
#include "envoy/service/secret/v3/sds.grpc.pb.h"
#include "rpc/unix_listener.h"

namespace capstan::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;
namespace discovery = envoy::service::discovery::v3;
namespace tls = envoy::extensions::transport_sockets::tls::v3;
using SecretService = envoy::service::secret::v3::SecretDiscoveryService;

constexpr char kId[] = "spiffe://cluster.local/ns/foo/sa/httpbin";

std::shared_ptr<sds::Material> MaterialOf(int64_t sequence, std::string roots, std::string leaf) {
  auto material =
      std::make_shared<sds::Material>(sds::Material{.id = *spiffe::SpiffeId::Parse(kId)});
  material->bundle_version = {"lineage", sequence};
  material->roots_pem = std::move(roots);
  if (!leaf.empty()) {
    material->chain_pem = "chain of " + leaf;
    material->key_pem = Secret("key of " + leaf);
    material->leaf_serial = leaf;
  }
  return material;
}

// The text after the comment line, which is always there.
std::string Body(const std::string& pem) {
  EXPECT_THAT(pem, ::testing::StartsWith("# capstan "));
  return pem.substr(pem.find('\n') + 1);
}

tls::Secret Unpack(const google::protobuf::Any& any) {
  tls::Secret secret;
  EXPECT_EQ(any.type_url(), sds::kSecretType);
  EXPECT_TRUE(secret.ParseFromString(any.value()));
  return secret;
}

// A call that hangs is a failure, not a hanging test.
void SetDeadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
}

class SdsServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/sds_server_test.XXXXXX";
    folder_ = ::mkdtemp(pattern);
    socket_ = folder_ + "/agent/sds.sock";
    Restart();
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }
  void Restart() {
    server_.reset();
    auto server = SdsServer::Start(Options(), RealClock(), SystemRandom());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  SdsServer::Options Options() const {
    return {.socket_path = socket_,
            .id = *spiffe::SpiffeId::Parse(kId),
            .first_retry = absl::Milliseconds(50)};
  }
  std::unique_ptr<SecretService::Stub> Client() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    return SecretService::NewStub(grpc::CreateCustomChannel(
        "unix:" + socket_, grpc::InsecureChannelCredentials(), arguments));
  }
  template <typename Condition>
  bool Eventually(Condition condition) const {
    for (int i = 0; i < 1000; ++i) {
      if (condition()) {
        return true;
      }
      absl::SleepFor(absl::Milliseconds(10));
    }
    return false;
  }
  sds::ConsumerReport OnlyConsumer() const {
    const auto consumers = server_->Consumers();
    return consumers.size() == 1 ? consumers[0] : sds::ConsumerReport{};
  }

  std::string folder_;
  std::string socket_;
  std::unique_ptr<SdsServer> server_;
};

// A stream that speaks as Envoy does.
class StateStream {
 public:
  StateStream(SecretService::Stub& stub, std::vector<std::string> names,
              std::string node = "node-1")
      : names_(std::move(names)) {
    SetDeadline(context_);
    stream_ = stub.StreamSecrets(&context_);
    discovery::DiscoveryRequest first = Request();
    if (!node.empty()) {
      first.mutable_node()->set_id(node);
    }
    stream_->Write(first);
  }
  ~StateStream() { context_.TryCancel(); }

  bool Next() { return stream_->Read(&response_); }
  const discovery::DiscoveryResponse& response() const { return response_; }
  tls::Secret secret(int i = 0) const { return Unpack(response_.resources(i)); }
  void Ack() {
    discovery::DiscoveryRequest ack = Request();
    ack.set_version_info(response_.version_info());
    ack.set_response_nonce(response_.nonce());
    stream_->Write(ack);
  }
  void Nack(const std::string& text) {
    discovery::DiscoveryRequest nack = Request();
    nack.set_response_nonce(response_.nonce());
    nack.mutable_error_detail()->set_message(text);
    stream_->Write(nack);
  }
  void Send(const discovery::DiscoveryRequest& request) { stream_->Write(request); }
  grpc::Status End() { return stream_->Finish(); }

 private:
  discovery::DiscoveryRequest Request() const {
    discovery::DiscoveryRequest request;
    request.set_type_url(std::string(sds::kSecretType));
    for (const std::string& name : names_) {
      request.add_resource_names(name);
    }
    return request;
  }
  std::vector<std::string> names_;
  grpc::ClientContext context_;
  std::unique_ptr<
      grpc::ClientReaderWriter<discovery::DiscoveryRequest, discovery::DiscoveryResponse>>
      stream_;
  discovery::DiscoveryResponse response_;
};

TEST_F(SdsServerTest, ServesBothSecretsOnTwoStreamsAndCountsThemTogether) {
  auto first = MaterialOf(1, "root A", "leaf1");
  first->crls_pem = "crl";
  server_->Publish(first);
  const auto stub = Client();
  StateStream leaf(*stub, {"default"});
  ASSERT_TRUE(leaf.Next());
  ASSERT_EQ(leaf.response().resources_size(), 1);
  EXPECT_EQ(leaf.secret().name(), "default");
  EXPECT_EQ(Body(leaf.secret().tls_certificate().certificate_chain().inline_bytes()),
            "chain of leaf1");
  EXPECT_EQ(leaf.secret().tls_certificate().private_key().inline_bytes(), "key of leaf1");
  leaf.Ack();
  StateStream trust(*stub, {"ROOTCA"});
  ASSERT_TRUE(trust.Next());
  EXPECT_EQ(Body(trust.secret().validation_context().trusted_ca().inline_bytes()), "root A");
  EXPECT_EQ(trust.secret().validation_context().crl().inline_bytes(), "crl");
  EXPECT_TRUE(OnlyConsumer().acknowledged_bundle.empty()) << "one secret alone counts for nothing";
  trust.Ack();
  ASSERT_TRUE(Eventually([&] { return OnlyConsumer().acknowledged_bundle.sequence == 1; }));
  const sds::ConsumerReport report = OnlyConsumer();
  EXPECT_EQ(report.acknowledged_leaf_serial, "leaf1");
  EXPECT_EQ(report.node_id, "node-1");
  EXPECT_EQ(report.pid, ::getpid()) << "from the kernel, over a connection handed to gRPC";
  EXPECT_TRUE(report.connected);
}

TEST_F(SdsServerTest, TwoConnectionsOfOneProcessAreOneConsumerAndAnotherNodeIsAnother) {
  server_->Publish(MaterialOf(1, "root A", "leaf1"));
  const auto one = Client();
  const auto two = Client();
  StateStream leaf(*one, {"default"});
  StateStream trust(*two, {"ROOTCA"});
  StateStream other(*one, {"default"}, "node-2");
  ASSERT_TRUE(leaf.Next());
  ASSERT_TRUE(trust.Next());
  ASSERT_TRUE(other.Next());
  ASSERT_TRUE(Eventually([&] { return server_->Consumers().size() >= 2; }));
  EXPECT_THAT(server_->Consumers(), SizeIs(2));
}

TEST_F(SdsServerTest, SendsBothAgainInNewBytesAfterARefusal) {
  server_->Publish(MaterialOf(1, "root A", "leaf1"));
  const auto stub = Client();
  StateStream leaf(*stub, {"default"});
  StateStream trust(*stub, {"ROOTCA"});
  ASSERT_TRUE(trust.Next());
  ASSERT_TRUE(leaf.Next());
  const std::string refused = leaf.response().resources(0).value();
  const std::string accepted = trust.response().resources(0).value();
  leaf.Nack("Failed to load private key");
  trust.Ack();
  ASSERT_TRUE(leaf.Next());
  ASSERT_TRUE(trust.Next());
  EXPECT_NE(leaf.response().resources(0).value(), refused);
  EXPECT_NE(trust.response().resources(0).value(), accepted);
  EXPECT_TRUE(OnlyConsumer().acknowledged_bundle.empty());
  ASSERT_TRUE(Eventually([&] { return OnlyConsumer().last_nack.has_value(); }));
  EXPECT_EQ(OnlyConsumer().last_nack->message, "Failed to load private key");
  EXPECT_EQ(OnlyConsumer().last_nack->resource, "default");
  leaf.Ack();
  trust.Ack();
  EXPECT_TRUE(Eventually([&] { return OnlyConsumer().acknowledged_leaf_serial == "leaf1"; }));
}

TEST_F(SdsServerTest, AnswersTrustBeforeThereIsALeafAndTheLeafWhenThereIs) {
  const auto stub = Client();
  StateStream all(*stub, {});
  server_->Publish(MaterialOf(1, "root A", ""));
  ASSERT_TRUE(all.Next());
  std::vector<std::string> names;
  for (int i = 0; i < all.response().resources_size(); ++i) {
    names.push_back(all.secret(i).name());
  }
  EXPECT_THAT(names, UnorderedElementsAre("ROOTCA", "spiffe://cluster.local"));
  all.Ack();
  server_->Publish(MaterialOf(1, "root A", "leaf1"));
  ASSERT_TRUE(all.Next());
  names.clear();
  for (int i = 0; i < all.response().resources_size(); ++i) {
    names.push_back(all.secret(i).name());
  }
  EXPECT_THAT(names, UnorderedElementsAre("default", kId));
}

TEST_F(SdsServerTest, RefusesWhatIsNoRequestOfThisService) {
  const auto stub = Client();
  {
    StateStream nameless(*stub, {"default"}, /*node=*/"");
    const grpc::Status status = nameless.End();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("missing node information"));
  }
  StateStream stream(*stub, {"nobody's"});
  discovery::DiscoveryRequest wrong;
  wrong.set_type_url("type.googleapis.com/envoy.config.cluster.v3.Cluster");
  stream.Send(wrong);
  EXPECT_EQ(stream.End().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(SdsServerTest, DeltaServesSubscribesAndSaysWhatIsNotThere) {
  server_->Publish(MaterialOf(1, "root A", "leaf1"));
  const auto stub = Client();
  grpc::ClientContext context;
  SetDeadline(context);
  const auto stream = stub->DeltaSecrets(&context);
  discovery::DeltaDiscoveryRequest request;
  request.mutable_node()->set_id("node-1");
  request.set_type_url(std::string(sds::kSecretType));
  request.add_resource_names_subscribe("ROOTCA");
  request.add_resource_names_subscribe("file-root:system");
  ASSERT_TRUE(stream->Write(request));
  discovery::DeltaDiscoveryResponse response;
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_EQ(response.resources_size(), 1);
  EXPECT_EQ(response.resources(0).name(), "ROOTCA");
  EXPECT_EQ(Body(Unpack(response.resources(0).resource())
                     .validation_context()
                     .trusted_ca()
                     .inline_bytes()),
            "root A");
  EXPECT_THAT(response.removed_resources(), ElementsAre("file-root:system"));
  discovery::DeltaDiscoveryRequest more;
  more.set_response_nonce(response.nonce());
  more.add_resource_names_subscribe("default");
  ASSERT_TRUE(stream->Write(more));
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_EQ(response.resources_size(), 1);
  EXPECT_EQ(response.resources(0).name(), "default");
  discovery::DeltaDiscoveryRequest ack;
  ack.set_response_nonce(response.nonce());
  ASSERT_TRUE(stream->Write(ack));
  EXPECT_TRUE(Eventually([&] { return OnlyConsumer().acknowledged_bundle.sequence == 1; }));
  context.TryCancel();
}

TEST_F(SdsServerTest, FetchAnswersOnceAndMakesNoConsumer) {
  const auto stub = Client();
  discovery::DiscoveryRequest request;
  request.mutable_node()->set_id("node-1");
  request.add_resource_names("default");
  discovery::DiscoveryResponse response;
  {
    grpc::ClientContext context;
    EXPECT_EQ(stub->FetchSecrets(&context, request, &response).error_code(),
              grpc::StatusCode::UNAVAILABLE);
  }
  server_->Publish(MaterialOf(1, "root A", "leaf1"));
  grpc::ClientContext context;
  ASSERT_TRUE(stub->FetchSecrets(&context, request, &response).ok());
  ASSERT_EQ(response.resources_size(), 1);
  EXPECT_EQ(Unpack(response.resources(0)).tls_certificate().private_key().inline_bytes(),
            "key of leaf1");
  EXPECT_THAT(server_->Consumers(), SizeIs(0));
}

TEST_F(SdsServerTest, TellsWhoLeftAndCallsBack) {
  std::atomic<int> calls = 0;
  server_->OnConsumersChanged([&] { ++calls; });
  server_->Publish(MaterialOf(1, "root A", "leaf1"));
  {
    const auto stub = Client();
    StateStream leaf(*stub, {"default"});
    ASSERT_TRUE(leaf.Next());
    ASSERT_TRUE(Eventually([&] { return OnlyConsumer().connected; }));
  }
  EXPECT_TRUE(
      Eventually([&] { return server_->Consumers().size() == 1 && !OnlyConsumer().connected; }));
  EXPECT_GE(calls, 2);
}

TEST_F(SdsServerTest, RefusesMaterialOfAnotherIdentityOrWithoutARoot) {
  server_->Publish(MaterialOf(1, "root A", "leaf1"));
  const auto stub = Client();
  StateStream trust(*stub, {"ROOTCA"});
  ASSERT_TRUE(trust.Next());
  trust.Ack();
  auto foreign = MaterialOf(2, "foreign root", "leaf2");
  foreign->id = *spiffe::SpiffeId::Parse("spiffe://evil.td/ns/foo/sa/httpbin");
  server_->Publish(foreign);
  server_->Publish(MaterialOf(3, "", "leaf3"));
  server_->Publish(nullptr);
  server_->Publish(MaterialOf(4, "root B", "leaf4"));
  ASSERT_TRUE(trust.Next());
  EXPECT_EQ(Body(trust.secret().validation_context().trusted_ca().inline_bytes()), "root B");
}

TEST_F(SdsServerTest, ASlowStreamGetsTheLatestOnly) {
  const std::string big(1 << 20, 'r');
  server_->Publish(MaterialOf(1, big + "0", "leaf"));
  const auto stub = Client();
  StateStream trust(*stub, {"ROOTCA"});
  ASSERT_TRUE(trust.Next());
  for (int i = 1; i <= 50; ++i) {
    server_->Publish(MaterialOf(1 + i, big + std::to_string(i), "leaf"));
    absl::SleepFor(absl::Milliseconds(2));
  }
  int responses = 0;
  std::string last;
  while (last != big + "50") {
    ASSERT_TRUE(trust.Next());
    last = Body(trust.secret().validation_context().trusted_ca().inline_bytes());
    ++responses;
  }
  EXPECT_LT(responses, 40) << "what was replaced before it could be sent is not sent";
}

TEST_F(SdsServerTest, TheSocketIsPrivateAndGoneAfterStop) {
  struct stat socket_stat {};
  struct stat folder_stat {};
  ASSERT_EQ(::stat(socket_.c_str(), &socket_stat), 0);
  ASSERT_EQ(::stat((folder_ + "/agent").c_str(), &folder_stat), 0);
  EXPECT_EQ(socket_stat.st_mode & 0777, 0600u);
  EXPECT_EQ(folder_stat.st_mode & 0777, 0700u);
  server_->Stop();
  server_->Stop();
  EXPECT_NE(::stat(socket_.c_str(), &socket_stat), 0);
}

TEST_F(SdsServerTest, RefusesASocketThatIsServedAndReplacesADeadOne) {
  const auto second = SdsServer::Start(Options(), RealClock(), SystemRandom());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists) << second.status();
  const auto stub = Client();
  server_->Publish(MaterialOf(1, "root A", "leaf1"));
  StateStream still(*stub, {"default"});
  EXPECT_TRUE(still.Next()) << "the refused server took the socket from the live one";
  server_->Stop();
  // As a killed agent leaves it: bound, and nobody listens.
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_.c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ::close(fd);
  Restart();
}

TEST_F(SdsServerTest, StopLeavesASocketThatAnotherServerPutThere) {
  std::filesystem::rename(socket_, socket_ + ".old");
  std::ofstream(socket_) << "another's";
  server_->Stop();
  EXPECT_TRUE(std::filesystem::exists(socket_));
}

TEST_F(SdsServerTest, RefusesAPathThatIsTooLong) {
  SdsServer::Options options = Options();
  options.socket_path = folder_ + "/" + std::string(100, 'x');
  EXPECT_EQ(SdsServer::Start(options, RealClock(), SystemRandom()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(SdsServerTest, StopEndsLiveStreamsSoThatTheyComeBack) {
  server_->Publish(MaterialOf(1, "root A", "leaf1"));
  const auto stub = Client();
  StateStream leaf(*stub, {"default"});
  ASSERT_TRUE(leaf.Next());
  leaf.Ack();
  server_->Stop();
  EXPECT_FALSE(leaf.Next());
  EXPECT_EQ(leaf.End().error_code(), grpc::StatusCode::UNAVAILABLE);
}

// A request that arrives in the moment its stream is ended must not touch the call any more.
TEST_F(SdsServerTest, StopsWhileRequestsArrive) {
  for (int round = 0; round < 50; ++round) {
    Restart();
    server_->Publish(MaterialOf(1, "root A", "leaf1"));
    const auto stub = Client();
    std::vector<std::unique_ptr<StateStream>> streams;
    for (int i = 0; i < 4; ++i) {
      streams.push_back(std::make_unique<StateStream>(*stub, std::vector<std::string>{"default"}));
      ASSERT_TRUE(streams.back()->Next());
    }
    for (const auto& stream : streams) {
      stream->Ack();
    }
    server_->Stop();
  }
}

TEST_F(SdsServerTest, ManyStreamsThatComeAndGoWhileMaterialChanges) {
  std::atomic<bool> done = false;
  std::thread publisher([&] {
    for (int i = 1; !done; ++i) {
      server_->Publish(MaterialOf(i, "roots " + std::to_string(i), "leaf" + std::to_string(i)));
      absl::SleepFor(absl::Milliseconds(1));
    }
  });
  const auto stub = Client();
  for (int round = 0; round < 20; ++round) {
    std::vector<std::unique_ptr<StateStream>> streams;
    for (int i = 0; i < 16; ++i) {
      streams.push_back(std::make_unique<StateStream>(
          *stub, std::vector<std::string>{i % 2 == 0 ? "default" : "ROOTCA"},
          "node-" + std::to_string(i % 3)));
    }
    for (size_t i = 0; i < streams.size(); i += 2) {
      ASSERT_TRUE(streams[i]->Next());
      streams[i]->Ack();
    }
  }
  done = true;
  publisher.join();
}

}  // namespace
}  // namespace capstan::rpc
