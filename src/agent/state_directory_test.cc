// SPDX-License-Identifier: Apache-2.0
#include "agent/state_directory.h"

#include <sys/stat.h>

#include <cstdio>
#include <filesystem>

#include "agent/endpoints.h"
#include "agent/file_delivery.h"
#include "agent/options.h"
#include "authn/test_pki.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace capstan::agent {
namespace {

using authn::testing::Must;
using authn::testing::TestCa;
using ::testing::HasSubstr;

class FolderTest : public ::testing::Test {
 protected:
  FolderTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "state_test_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    folder_ = pattern;
  }
  ~FolderTest() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomically(folder_ + "/" + name, text, 0600, Overwrite::kReplace).ok());
  }
  std::string Read(const std::string& name) { return Must(ReadFile(folder_ + "/" + name)); }
  Credential NewCredential() {
    const auto leaf =
        ca_.Issue({.not_before = now_ - absl::Hours(1), .not_after = now_ + absl::Hours(1)});
    return {leaf.key, leaf.chain};
  }

  const absl::Time now_ = absl::FromUnixSeconds(1'750'000'000);
  const TestCa ca_{now_, "Root", true};
  std::string folder_;
};

using StateDirectoryTest = FolderTest;

TEST_F(StateDirectoryTest, AnEmptyOneHoldsNothing) {
  const auto state = Must(StateDirectory::Open(folder_ + "/new"));
  EXPECT_FALSE(Must(state->LoadMembership()).has_value());
  EXPECT_FALSE(Must(state->LoadTrust()).has_value());
  EXPECT_FALSE(Must(state->LoadCredential()).has_value());
  EXPECT_FALSE(Must(state->LoadPendingKey()).has_value());
}

TEST_F(StateDirectoryTest, WhatIsSavedIsThereAgain) {
  const lifecycle::Trust trust{
      .version = {"L", 7}, .bundle = ca_.bundle(), .crl_number = 3, .crls_pem = ""};
  const Membership membership{"host:15012",
                              Must(spiffe::SpiffeId::Parse("spiffe://td/capstan/control-plane")),
                              Must(spiffe::SpiffeId::Parse("spiffe://td/ns/a/sa/b"))};
  const Credential credential = NewCredential();
  std::string instance;
  {
    const auto state = Must(StateDirectory::Open(folder_));
    instance = Must(state->Instance(SystemRandom()));
    ASSERT_TRUE(state->Save(trust).ok());
    ASSERT_TRUE(state->Save(membership).ok());
    ASSERT_TRUE(state->Save(credential).ok());
  }
  const auto state = Must(StateDirectory::Open(folder_));
  EXPECT_EQ(Must(state->Instance(SystemRandom())), instance);
  EXPECT_EQ(Must(state->LoadTrust()), trust);
  EXPECT_EQ(Must(state->LoadMembership()), membership);
  EXPECT_EQ(Must(state->LoadCredential())->chain, credential.chain);
}

TEST_F(StateDirectoryTest, ACrashBetweenTheFilesOfACredentialLosesNothing) {
  const auto state = Must(StateDirectory::Open(folder_));
  const Credential first = NewCredential();
  const Credential second = NewCredential();
  ASSERT_TRUE(state->Save(first).ok());
  // After the key, before the certificate.
  ASSERT_TRUE(state->SavePendingKey(second.key).ok());
  EXPECT_EQ(Must(state->LoadCredential())->chain, first.chain);
  EXPECT_TRUE(Must(state->LoadPendingKey())->public_key() == second.key.public_key());
  // After the certificate, before the key was renamed.
  Write("credential.pem", x509::ToPem(second.chain));
  EXPECT_EQ(Must(state->LoadCredential())->chain, second.chain);
  ASSERT_TRUE(state->Save(second).ok());
  EXPECT_FALSE(FileExists(folder_ + "/credential.next.key"));
}

TEST_F(StateDirectoryTest, DamageIsNamedWithItsFile) {
  const auto state = Must(StateDirectory::Open(folder_));
  const auto expect = [](const absl::Status& status, const std::string& file) {
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(file));
  };
  for (const char* text : {"", "{", "[]", "{\"format\":\"capstan-agent-trust/1\"}"}) {
    Write("bundle.json", text);
    expect(state->LoadTrust().status(), "bundle.json");
    Write("membership.json", text);
    expect(state->LoadMembership().status(), "membership.json");
  }
  Write("instance", "not a uuid");
  expect(state->Instance(SystemRandom()).status(), "instance");
  Write("credential.pem", x509::ToPem(NewCredential().chain));
  expect(state->LoadCredential().status(), "credential.pem");
  ASSERT_TRUE(state->SavePendingKey(NewCredential().key).ok());
  expect(state->LoadCredential().status(), "not the certificate's");
}

TEST_F(StateDirectoryTest, AFolderThatIsOpenToOthersIsRefused) {
  chmod(folder_.c_str(), 0755);
  EXPECT_THAT(std::string(StateDirectory::Open(folder_).status().message()),
              HasSubstr("chmod 700"));
}

using FileDeliveryTest = FolderTest;

TEST_F(FileDeliveryTest, KeepsTheThreeFiles) {
  FakeClock clock(now_);
  const std::string out = folder_ + "/out";
  const auto files = Must(FileDelivery::Open(out, clock));
  auto material = std::make_shared<sds::Material>(
      sds::Material{.id = Must(spiffe::SpiffeId::Parse("spiffe://td/ns/a/sa/b")),
                    .bundle_version = {"L", 1},
                    .roots_pem = "roots"});
  files->Publish(material);
  EXPECT_EQ(Read("out/root-cert.pem"), "roots");
  EXPECT_FALSE(FileExists(out + "/key.pem"));
  auto with_leaf = std::make_shared<sds::Material>(*material);
  with_leaf->chain_pem = "chain";
  with_leaf->key_pem = Secret("key");
  with_leaf->leaf_serial = "ab";
  files->Publish(with_leaf);
  EXPECT_EQ(Read("out/cert-chain.pem"), "chain");
  EXPECT_EQ(Read("out/key.pem"), "key");
  struct stat st;
  ASSERT_EQ(stat((out + "/key.pem").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600u);
  ASSERT_EQ(stat((out + "/cert-chain.pem").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0644u);
  const auto report = files->Consumers().front();
  EXPECT_EQ(report.acknowledged_leaf_serial, "ab");
  EXPECT_EQ(report.acknowledged_bundle.sequence, 1);

  // What cannot be written is a refusal, and what was accepted stays.
  std::filesystem::remove_all(out);
  auto next = std::make_shared<sds::Material>(*with_leaf);
  next->bundle_version.sequence = 2;
  files->Publish(next);
  EXPECT_EQ(files->Consumers().front().acknowledged_bundle.sequence, 1);
  EXPECT_THAT(files->Consumers().front().last_nack->message, HasSubstr("root-cert.pem"));
}

TEST(EndpointsTest, ReadyMeansTrustAndALivingCertificate) {
  const absl::Time now = absl::FromUnixSeconds(1'750'000'000);
  Agent::Health health;
  EXPECT_EQ(Readyz(health, now).status, 503);
  health.trust_published = true;
  health.last_error = "the token was used";
  EXPECT_THAT(Readyz(health, now).body, HasSubstr("no certificate yet; last error: the token"));
  health.leaf_expiry = now + absl::Seconds(1);
  EXPECT_EQ(Readyz(health, now).status, 200) << "whatever else fails";
  EXPECT_EQ(Readyz(health, now + absl::Seconds(1)).status, 503);
}

TEST(EndpointsTest, HealthyMeansThatTheLoopRuns) {
  Agent::Health health;
  EXPECT_EQ(Healthz(health, absl::Seconds(100)).status, 503);
  health.beat = absl::Seconds(99);
  EXPECT_EQ(Healthz(health, absl::Seconds(100)).status, 200);
  EXPECT_THAT(Healthz(health, absl::Seconds(140)).body, HasSubstr("stuck for 41s"));
}

TEST(OptionsTest, TheSocketLivesInTheStateDirectoryUnlessToldOtherwise) {
  const auto load = [](std::vector<const char*> argv, Options& options) {
    argv.insert(argv.begin(), "capstan-agent");
    return LoadOptions(
        static_cast<int>(argv.size()), argv.data(), [](const std::string&) { return std::nullopt; },
        options);
  };
  Options options;
  ASSERT_TRUE(load({"--state-dir", "/s", "--ttl", "10s", "--socket-uids", "1,22"}, options).ok());
  EXPECT_EQ(options.socket, "/s/sds.sock");
  EXPECT_EQ(options.ttl, absl::Seconds(10));
  EXPECT_THAT(options.socket_uids, ::testing::ElementsAre(1u, 22u));
  Options bad;
  EXPECT_THAT(std::string(load({"--key-type", "ed25519"}, bad).status().message()),
              HasSubstr("ed25519"));
  EXPECT_FALSE(load({"--socket-uids", "root"}, bad).ok());
  EXPECT_FALSE(load({"--state-dir", ""}, bad).ok());
}

}  // namespace
}  // namespace capstan::agent
