// SPDX-License-Identifier: Apache-2.0
// What every command that asks a running capstand shares: its flags, its connection, its output.
#pragma once

#include <google/protobuf/message.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "cli/commands.h"
#include "rpc/control_client.h"

namespace capstan::cli {

inline constexpr char kDefaultSocket[] = "/var/lib/capstand/capstand.sock";

struct Target {
  std::string socket = kDefaultSocket;
  std::string output = "text";
  bool json() const { return output == "json"; }
};

// Adds --socket and --output.
std::shared_ptr<Target> AddTarget(CLI::App& command);

template <typename T>
T OrFail(absl::StatusOr<T> value) {
  if (!value.ok()) {
    Fail(value.status());
  }
  return *std::move(value);
}

std::unique_ptr<rpc::ControlClient> Connect(const Target& target);

// With names as in the .proto and every member that has no value of its own; `lines`: on many
// lines.
std::string Json(const google::protobuf::Message& message, bool lines = true);

template <typename Message>
void Print(const Target& target, const Message& message, std::string (*as_text)(const Message&)) {
  std::cout << (target.json() ? Json(message) : as_text(message)) << std::flush;
}

}  // namespace capstan::cli
