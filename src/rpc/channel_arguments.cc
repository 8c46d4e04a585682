// SPDX-License-Identifier: Apache-2.0
#include "rpc/channel_arguments.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace capstan::rpc {

absl::Status CheckAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 1 || port > 65535 ||
      address.find('/') != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("the control plane's address \"", address, "\" is not HOST:PORT"));
  }
  return absl::OkStatus();
}

grpc::ChannelArguments AgentChannelArguments() {
  grpc::ChannelArguments arguments;
  // A peer that vanished is noticed within 40 s; servers allow a ping every 15 s.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Callers space their attempts; the channel's own back-off must not add to it.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // The limit of one attempt is the server's for a handshake: where many come at once, those that
  // are given up early and begin anew are work for nothing, and keep all from ending in time.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // A channel with another credential is another connection, whatever the pool finds equal.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // A proxy named by the environment has no business between an agent and its control plane.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

}  // namespace capstan::rpc
