// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "fixture.h"

namespace capstan::e2e {

// A mesh whose rotations are watched as an operator does: by `capstan rotate status`.
class RotatingTest : public MeshTest {
 protected:
  using json = nlohmann::json;

  json Rotation() {
    // Other exit codes than 0 tell that it waits; what is printed is the same.
    auto said =
        mesh::RunProgram({"sh", "-c",
                          absl::StrCat(tools_.programs, "/capstan rotate status -o json --socket ",
                                       mesh_->ControlSocket(), "; true")});
    json rotation = json::parse(said.value_or(""), nullptr, false);
    return rotation.is_object() ? rotation : json::object();  // capstand may be away
  }
  std::string Phase() { return Rotation().value("phase", ""); }
  std::string Summary() { return Rotation().value("gate", json::object()).value("summary", ""); }
  bool Finished() {
    const std::string state = Rotation().value("state", "");
    return state != "running" && state != "paused";
  }
  void AwaitPhase(const std::string& phase) {
    EXPECT_TRUE(mesh::WaitFor(absl::Seconds(60), [&] { return Phase() == phase; }))
        << "in " << Phase() << ", not " << phase << ": " << Summary();
  }
  void AwaitHolder(const std::string& who) {
    EXPECT_TRUE(mesh::WaitFor(absl::Seconds(60), [&] { return absl::StrContains(Summary(), who); }))
        << "not named: " << who << "; " << Summary();
  }
  // That the gate stays shut, for longer than it soaks.
  void ExpectHolds(const std::string& phase) {
    Run(absl::Seconds(4));
    EXPECT_EQ(Phase(), phase) << Summary();
  }
  void AwaitEnd(absl::Duration timeout = absl::Seconds(90)) {
    EXPECT_TRUE(mesh::WaitFor(timeout, [&] { return Finished(); })) << Phase() << ": " << Summary();
  }
  void Steer(std::vector<std::string> what) {
    what.insert(what.begin(), "rotate");
    auto done = mesh_->Capstan(what);
    EXPECT_TRUE(done.ok()) << done.status();
  }
};

}  // namespace capstan::e2e
