// SPDX-License-Identifier: Apache-2.0
// An agent that is away while root A becomes B and B becomes C.
#include <fstream>
#include <sstream>

#include "fixture.h"

namespace capstan::e2e {
namespace {

class SleptTest : public MeshTest {
 protected:
  // Replaces the CA and waits until the control plane is through with it.
  void Become(const mesh::Root& root) {
    ReplaceCa(root.files);
    ASSERT_TRUE(mesh::WaitFor(absl::Minutes(3),
                              [&] {
                                const auto held = mesh_->Held("httpbin");
                                return held.ok() && held->roots == std::vector{root.root} &&
                                       held->chain.at(1) == root.intermediate;
                              }))
        << "httpbin never held root " << root.label << " alone";
  }
  std::string LogOf(const std::string& process) const {
    std::ifstream file(mesh_->LogPath(process));
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
};

// Short leaves: whoever waits for the sleeper waits until they are over, and so its credential has
// expired as well when it comes back.
TEST_F(SleptTest, ComesBackThroughTheHistoryWithAnExpiredCredential) {
  mesh::Mesh::Options options;
  options.leaf_ttl = absl::Seconds(20);
  options.capstand_flags = {"--rejoin-grace", "1h"};
  ASSERT_NO_FATAL_FAILURE(Begin(a_->files, options));
  auto c = mesh::MakeRoot(tools_, folder_, "C", "ecdsa-p256");
  ASSERT_TRUE(c.ok()) << c.status();

  mesh_->process("agent-sleep").Kill();
  ASSERT_NO_FATAL_FAILURE(Become(*b_));
  ASSERT_NO_FATAL_FAILURE(Become(*c));
  traffic_->Stop();
  Run(absl::Seconds(20));  // the sleeper's certificates are over

  ASSERT_TRUE(mesh_->Restart("agent-sleep").ok());
  ASSERT_TRUE(mesh::WaitFor(absl::Minutes(1), [&] {
    const auto held = mesh_->Held("sleep");
    return held.ok() && held->roots == std::vector{c->root} && held->chain.at(1) == c->intermediate;
  })) << "sleep never came back";
  const std::string log = LogOf("agent-sleep");
  EXPECT_THAT(log, ::testing::HasSubstr("a link of the trust history"));
  EXPECT_THAT(log, ::testing::HasSubstr("a new credential"));
  EXPECT_THAT(LogOf("capstand"), ::testing::HasSubstr("a lapsed certificate was renewed"));

  mesh::Traffic again({.url = mesh_->url(), .requests_per_second = 80});
  Run(absl::Seconds(10));
  again.Stop();
  EXPECT_GT(again.count().requests, 100);
  EXPECT_EQ(again.count().failed, 0) << again.count().first_failure;
}

}  // namespace
}  // namespace capstan::e2e
