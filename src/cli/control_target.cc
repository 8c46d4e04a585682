// SPDX-License-Identifier: Apache-2.0
#include "cli/control_target.h"

#include <google/protobuf/util/json_util.h>

namespace capstan::cli {

std::shared_ptr<Target> AddTarget(CLI::App& command) {
  auto target = std::make_shared<Target>();
  command.add_option("--socket", target->socket, "Operator socket of capstand")
      ->envname("CAPSTAN_SOCKET")
      ->capture_default_str();
  command.add_option("-o,--output", target->output, "Output format")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  return target;
}

std::unique_ptr<rpc::ControlClient> Connect(const Target& target) {
  return OrFail(rpc::ControlClient::Create(target.socket));
}

std::string Json(const google::protobuf::Message& message, bool lines) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = lines;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(message, &json, options).ok()) {
    Fail(kFailed, "capstand's answer cannot be written as JSON");
  }
  return json;
}

}  // namespace capstan::cli
