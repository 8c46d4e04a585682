// SPDX-License-Identifier: Apache-2.0
// A control plane in a test: its clock, its timers and its state are the test's.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/executor.h"
#include "base/random.h"
#include "server/control_plane.h"
#include "store/memory_store.h"
#include "trust/testing.h"

namespace capstan::server::testing {

using trust::testing::TestNow;
using trust::testing::TestPki;

class PlaneTest : public ::testing::Test {
 protected:
  // The one before is gone, as after a crash; the next one has yet to be made.
  void Crash() {
    executor_.DropAll();
    plane_.reset();
    metrics_ = std::make_unique<Metrics>();
  }
  // Not started.
  std::unique_ptr<ControlPlane> PlaneOn(store::Store& store, ControlPlaneOptions options) {
    return std::make_unique<ControlPlane>(
        std::move(options), store,
        *keystore::SealedKeys::Open(seal_key_, keystore::SealedKeys::IfMissing::kCreate,
                                    SystemRandom()),
        clock_, SystemRandom(), executor_, *metrics_);
  }
  static spiffe::TrustDomain Domain() { return *spiffe::TrustDomain::Parse("cluster.local"); }
  static ServingNames Names() {
    return NamesFor(Domain(), "127.0.0.1:15012", "127.0.0.1:15012", {});
  }

  FakeClock clock_{TestNow()};
  ManualExecutor executor_{clock_};
  const std::string seal_key_ = absl::StrCat(::testing::TempDir(), "/seal-", SystemRandom().Uuid());
  store::MemoryStore store_{"lineage"};
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<ControlPlane> plane_;
  const TestPki a_ = TestPki::Make("intermediateA");
  const TestPki b_ = TestPki::Make("intermediateB");
};

}  // namespace capstan::server::testing
