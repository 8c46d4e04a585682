// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/channel_arguments.h>

#include <string>

#include "absl/status/status.h"

namespace capstan::rpc {

// InvalidArgument unless `address` is "HOST:PORT".
absl::Status CheckAddress(const std::string& address);

// How agents connect to the control plane, whatever they trust.
grpc::ChannelArguments AgentChannelArguments();

}  // namespace capstan::rpc
