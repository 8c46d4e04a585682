// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/secret.h"
#include "spiffe/spiffe_id.h"
#include "trust/bundle.h"

namespace capstan::authn {

// All that a new agent needs to meet its control plane safely: where it is, whom to expect there,
// what to trust, and a token that is good for one identity once. Written by `capstan token create`
// (mode 0600) as JSON, read by `capstan-agent --join-file`.
struct JoinFile {
  std::string address;         // "host:port"
  spiffe::SpiffeId server_id;  // the control plane's own SPIFFE ID
  spiffe::SpiffeId spiffe_id;  // the identity the token stands for
  Secret token;
  absl::Time token_expires;
  trust::BundleVersion bundle_version;
  trust::Bundle bundle;  // whole
};

std::string ToJson(const JoinFile& join);
// InvalidArgument names the missing or malformed key.
absl::StatusOr<JoinFile> ParseJoinFile(std::string_view json);

}  // namespace capstan::authn
