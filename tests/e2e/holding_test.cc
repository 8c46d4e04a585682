// SPDX-License-Identifier: Apache-2.0
// Gates that hold because of an Envoy: one that refuses what comes, one that is away while its
// agent is back.
#include <csignal>
#include <cstdlib>

#include "rotation_fixture.h"

namespace capstan::e2e {
namespace {

using ::testing::HasSubstr;

class HoldingTest : public RotatingTest {
 protected:
  // A CA that OpenSSL takes and Envoy does not: U+FDD0, which is no character, in the name of its
  // root.
  trust::CaFiles FilesThatEnvoyRefuses() {
    setenv("ROOTCA_CN", "Root \xEF\xB7\x90 CA", 1);
    auto made = mesh::MakeRoot(tools_, folder_, "X", "ecdsa-p256");
    unsetenv("ROOTCA_CN");
    EXPECT_TRUE(made.ok()) << made.status();
    return made.ok() ? made->files : trust::CaFiles();
  }
};

TEST_F(HoldingTest, AnEnvoyThatRefusesTheNewBundleHaltsItWithItsText) {
  Begin(phases_[0].files);
  Await(phases_[0]);
  ReplaceCa(FilesThatEnvoyRefuses());
  AwaitPhase("both-trusted");
  AwaitHolder("Failed to load trusted CA certificates");
  ExpectHolds("both-trusted");
  EXPECT_EQ(Rotation()["gate"].value("laggards", json("0")), json("2")) << Rotation().dump(1);
  auto told = mesh_->Capstan({"fleet", "list"});
  ASSERT_TRUE(told.ok()) << told.status();
  EXPECT_THAT(*told, HasSubstr("Failed to load trusted CA certificates"));
  // The way out: the directory says A again, in bytes that these Envoys have not refused.
  ReplaceCa(phases_[0].files);
  AwaitEnd();
  Await(phases_[0]);
  ExpectNothingFailed();
}

TEST_F(HoldingTest, AnAgentThatIsBackBeforeItsEnvoyHoldsTheGateAndIsNamed) {
  Begin(phases_[0].files);
  Await(phases_[0]);
  // The way to httpbin leads through this Envoy: nobody is asked while it stands still.
  traffic_->Stop();
  const mesh::Traffic::Count before = traffic_->count();
  EXPECT_EQ(before.failed, 0) << before.first_failure;
  mesh::Process& envoy = mesh_->process("envoy-sleep");
  envoy.Signal(SIGSTOP);
  mesh_->process("agent-sleep").Kill();
  ASSERT_TRUE(mesh_->Restart("agent-sleep").ok());
  ReplaceCa(phases_[3].files);
  AwaitPhase("both-trusted");
  AwaitHolder(mesh_->SpiffeId("sleep"));
  EXPECT_TRUE(mesh::WaitFor(absl::Seconds(30), [&] {
    const json rotation = Rotation();
    return rotation.contains("gate") && rotation["gate"].contains("holders") &&
           rotation["gate"]["holders"][0].value("kind", "") == "laggard";
  })) << Rotation().dump(1);  // it is connected, and still holds
  ExpectHolds("both-trusted");
  envoy.Signal(SIGCONT);
  traffic_ = std::make_unique<mesh::Traffic>(
      mesh::Traffic::Options{.url = mesh_->url(), .requests_per_second = 80});
  AwaitEnd();
  Await(phases_[3]);
  EXPECT_TRUE(Rotation().value("exempt", json::array()).empty());
  ExpectNothingFailed();
}

}  // namespace
}  // namespace capstan::e2e
