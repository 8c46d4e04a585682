// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "mesh/mesh.h"
#include "mesh/roots.h"
#include "mesh/tools.h"
#include "mesh/traffic.h"
#include "mesh/walk.h"

namespace capstan::e2e {

// A real mesh per test (capstand, agents, Envoys, httpbin), under traffic from Begin() on. A test
// without Envoy or httpbin on this machine is skipped with the reason.
class MeshTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* tools_dir = std::getenv("CAPSTAN_TOOLS_DIR");
    auto tools = mesh::FindTools(tools_dir != nullptr ? tools_dir : CAPSTAN_DEFAULT_TOOLS_DIR,
                                 mesh::OwnFolder());
    if (!tools.ok()) GTEST_SKIP() << tools.status().message();
    tools_ = *tools;
    std::string folder = "/tmp/capstan-e2e-XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    for (mesh::Root** root : {&a_, &b_}) {
      auto made = mesh::MakeRoot(tools_, folder_, root == &a_ ? "A" : "B", "ecdsa-p256");
      ASSERT_TRUE(made.ok()) << made.status();
      roots_.push_back(std::make_unique<mesh::Root>(*std::move(made)));
      *root = roots_.back().get();
    }
    phases_ = mesh::FourPhases(*a_, *b_);
  }

  void TearDown() override {
    if (traffic_) traffic_->Stop();
    traffic_.reset();
    mesh_.reset();
    if (folder_.empty()) return;
    if (HasFailure()) {
      std::cerr << "logs are kept in " << folder_ << "/m/logs\n";
    } else {
      std::filesystem::remove_all(folder_);
    }
  }

  // A mesh that runs with `files`, and traffic through it.
  void Begin(const trust::CaFiles& files, mesh::Mesh::Options options = {}) {
    options.tools = tools_;
    options.folder = absl::StrCat(folder_, "/m");
    auto started = mesh::Mesh::Start(options, files);
    ASSERT_TRUE(started.ok()) << started.status();
    mesh_ = *std::move(started);
    traffic_ = std::make_unique<mesh::Traffic>(
        mesh::Traffic::Options{.url = mesh_->url(), .requests_per_second = 80});
  }

  // Waits until every workload is as `phase` demands, in the config dump and in fresh handshakes.
  std::vector<mesh::WorkloadView> Await(const mesh::Phase& phase,
                                        absl::Duration timeout = absl::Seconds(60)) {
    absl::StatusOr<std::vector<mesh::WorkloadView>> views;
    bool converged = mesh::WaitFor(timeout, [&] {
      views = mesh::CheckPhase(*mesh_, phase);
      return views.ok();
    });
    EXPECT_TRUE(converged) << phase.name << ": " << views.status();
    return views.ok() ? *views : std::vector<mesh::WorkloadView>();
  }

  void ReplaceCa(const trust::CaFiles& files) {
    absl::Status replaced = mesh::ReplaceCaFiles(mesh_->ca_directory(), files);
    ASSERT_TRUE(replaced.ok()) << replaced;
  }

  // Traffic goes on for `d`.
  void Run(absl::Duration d) { mesh::Pause(d); }

  // Stops the traffic; not one request failed, and neither Envoy counted anything that should not
  // be.
  void ExpectNothingFailed() {
    traffic_->Stop();
    mesh::Traffic::Count count = traffic_->count();
    EXPECT_GT(count.requests, 0);
    EXPECT_EQ(count.failed, 0) << count.first_failure << ", of " << count.requests;
    for (const char* workload : mesh::Mesh::kWorkloads) {
      auto seen = mesh_->Counters(workload);
      ASSERT_TRUE(seen.ok()) << seen.status();
      EXPECT_EQ(seen->retries, 0) << workload;
      EXPECT_EQ(seen->fail_verify, 0) << workload;
      EXPECT_EQ(seen->connection_errors, 0) << workload;
    }
  }

  mesh::Tools tools_;
  std::string folder_;
  std::vector<std::unique_ptr<mesh::Root>> roots_;
  mesh::Root* a_ = nullptr;
  mesh::Root* b_ = nullptr;
  std::vector<mesh::Phase> phases_;  // root-a, both-trusted, new-issuer, root-b
  std::unique_ptr<mesh::Mesh> mesh_;
  std::unique_ptr<mesh::Traffic> traffic_;
};

}  // namespace capstan::e2e
