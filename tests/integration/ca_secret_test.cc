// SPDX-License-Identifier: Apache-2.0
// A CA that is a Secret of a real API server, changed the way people change one.
#include "server/ca_secret.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "kube_fixture.h"

namespace capstan::server {
namespace {

using ::testing::HasSubstr;

class CaSecretTest : public kube::KubeFixture {
 protected:
  CaSecretTest() : source_(client_, {ns_, "cacerts"}, RealClock()) {}

  void Follow(kube::Client& client) { Follow(client, source_); }
  void Follow(kube::Client& client, CaSecret& source) {
    follower_ = std::make_unique<SecretFollower>(
        client, source, RealClock(),
        [this](const absl::StatusOr<trust::CaFiles>& files) -> absl::StatusOr<Outcome> {
          absl::MutexLock lock(&mutex_);
          offers_.push_back(files.ok() ? Names(*files) : files.status().ToString());
          return Outcome{};
        },
        [this] {
          absl::MutexLock lock(&mutex_);
          offers_.push_back("no wish");
        });
  }
  static std::string Names(const trust::CaFiles& files) {
    return absl::StrJoin(files, " ", absl::PairFormatter("="));
  }
  // Whether that is offered within some seconds; what came before it is dropped.
  bool Offered(const std::string& what) {
    absl::MutexLock lock(&mutex_);
    const auto came = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      while (!offers_.empty() && offers_.front() != what) offers_.pop_front();
      return !offers_.empty();
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&came), absl::Seconds(20));
  }
  Json SecretOf(const trust::CaFiles& files, const std::string& type = "Opaque") const {
    Json secret = {{"metadata", {{"name", "cacerts"}}}, {"type", type}};
    for (const auto& [name, bytes] : files) secret["data"][name] = absl::Base64Escape(bytes);
    return secret;
  }
  void Create(const trust::CaFiles& files, const std::string& type = "Opaque") {
    const auto made = client_.Create(kube::kSecrets, {ns_, ""}, SecretOf(files, type));
    ASSERT_TRUE(made.ok()) << made.status();
  }

  CaSecret source_;
  absl::Mutex mutex_;
  std::deque<std::string> offers_;
  std::unique_ptr<SecretFollower> follower_;
};

TEST_F(CaSecretTest, IsFollowedThroughDeleteAndCreate) {
  Follow(client_);
  EXPECT_TRUE(Offered("")) << "nothing is there yet";
  Create({{"ca-cert.pem", "A"}, {"root-cert.pem", "A"}});
  EXPECT_TRUE(Offered("ca-cert.pem=A root-cert.pem=A"));
  ASSERT_TRUE(client_.Delete(kube::kSecrets, {ns_, "cacerts"}).ok());
  EXPECT_TRUE(Offered(""));
  Create({{"ca-cert.pem", "B"}});
  EXPECT_TRUE(Offered("ca-cert.pem=B")) << "half of it: whoever takes it will see that";
  EXPECT_TRUE(source_.Write({{"ca-cert.pem", "B"}, {"root-cert.pem", "A+B"}}).ok());
  EXPECT_TRUE(Offered("ca-cert.pem=B root-cert.pem=A+B"));
}

// What istiod takes: ours is no wish, and what others write there is one.
TEST_F(CaSecretTest, WhatShowsWhatIsInForceIsNoWish) {
  CaSecret shown(client_, {ns_, "cacerts"}, RealClock(), CaSecret::Shows::kInForce);
  const auto get = [&] { return *client_.Get(kube::kSecrets, {ns_, "cacerts"}); };
  Create({{"ca-cert.pem", "A"}, {"root-cert.pem", "A"}});
  EXPECT_FALSE(IsOurs(get()));
  EXPECT_THAT(std::string(shown.CheckWritable().message()),
              HasSubstr("does not show what is in force"));
  EXPECT_EQ((*shown.ReadWish())->at("ca-cert.pem"), "A");
  ASSERT_TRUE(shown.Claim(get()).ok());
  EXPECT_TRUE(IsOurs(get()));
  EXPECT_EQ(FilesOfSecret(get())->at("ca-cert.pem"), "A") << "as it was";
  EXPECT_EQ(*shown.ReadWish(), std::nullopt);
  EXPECT_TRUE(shown.CheckWritable().ok());

  Follow(client_, shown);
  EXPECT_TRUE(Offered("no wish"));
  const std::string old = kube::Metadata(get(), "resourceVersion");
  ASSERT_TRUE(shown.Show({{"ca-cert.pem", "A"}, {"root-cert.pem", "A+B"}}, old).ok());
  EXPECT_TRUE(Offered("no wish"));
  EXPECT_EQ(shown.Show({{"ca-cert.pem", "C"}}, old).code(), absl::StatusCode::kAborted);

  const Json edit = {{"data", {{"root-cert.pem", absl::Base64Escape("B")}}}};
  ASSERT_TRUE(client_.Patch(kube::kSecrets, {ns_, "cacerts"}, edit).ok());
  EXPECT_TRUE(Offered("ca-cert.pem=A root-cert.pem=B")) << "the annotation is of other data";
  EXPECT_FALSE(IsOurs(get()));
}

TEST_F(CaSecretTest, IsOfferedAgainWhenTheApiServerIsBack) {
  kube::Relay relay(ServerPort());
  kube::Client through(Through(relay), RealClock(), Fast());
  Create({{"ca-cert.pem", "A"}});
  Follow(through);
  EXPECT_TRUE(Offered("ca-cert.pem=A"));
  relay.Cut();
  ASSERT_TRUE(client_.Delete(kube::kSecrets, {ns_, "cacerts"}).ok());
  Create({{"ca-cert.pem", "B"}});
  EXPECT_TRUE(Offered("ca-cert.pem=B")) << "what happened while it was cut off";
}

TEST_F(CaSecretTest, IsReadAndWrittenAsAWhole) {
  EXPECT_TRUE(source_.Read()->empty()) << "there is none";
  Create({{"ca-cert.pem", "A"}, {"ca-crl.pem", "old"}});
  Follow(client_);
  EXPECT_TRUE(follower_->ReloadNow().ok());
  EXPECT_TRUE(source_.CheckWritable().ok()) << source_.CheckWritable();
  ASSERT_TRUE(source_.Write({{"ca-cert.pem", "B"}}).ok());
  EXPECT_EQ(*source_.Read(), (trust::CaFiles{{"ca-cert.pem", "B"}})) << "the CRL has gone, too";
}

TEST_F(CaSecretTest, SaysWhyItIsSomebodyElsesToWrite) {
  const auto why = [&] { return std::string(source_.CheckWritable().message()); };
  Create({{"tls.crt", "A"}, {"tls.key", "A"}, {"ca.crt", "A"}}, "kubernetes.io/tls");
  EXPECT_THAT(why(), HasSubstr("of the type kubernetes.io/tls"));
  EXPECT_THAT(why(), HasSubstr("kubectl create secret generic cacerts -n "));

  ASSERT_TRUE(
      client_.Create(kube::kServiceAccounts, {ns_, ""}, {{"metadata", {{"name", "w"}}}}).ok());
  kube::Access weak = client_.access();
  weak.certificate = weak.key = kube::Material();
  weak.token = kube::Material::OfBytes(
      std::string(TokenOf("w", "https://kubernetes.default.svc.cluster.local").Reveal()));
  kube::Client client(weak, RealClock(), Fast());
  CaSecret source(client, {ns_, "cacerts"}, RealClock());
  EXPECT_FALSE(source.CheckWritable().ok());
}

}  // namespace
}  // namespace capstan::server
