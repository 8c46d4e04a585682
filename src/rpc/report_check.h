// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "capstan/fleet/v1/fleet.pb.h"

namespace capstan::rpc {

// The largest message an agent may send on its trust stream.
inline constexpr size_t kMaxAgentMessageBytes = 256 << 10;

// What an agent says is checked before the control plane sees it: everything in it is bounded, and
// every number, time and id is one. InvalidArgument names the field. ResourceExhausted: too many
// consumers or probes.
absl::Status CheckHello(const fleet::v1::Hello& hello);

// Besides, texts that others wrote (an Envoy's refusal, an error) are cut at 4 KiB: their length is
// not the agent's fault. A verdict that a later version may send counts as none.
absl::Status CheckReport(fleet::v1::Report& report);

}  // namespace capstan::rpc
