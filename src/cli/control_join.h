// SPDX-License-Identifier: Apache-2.0
// The parts of `capstan token create` that decide.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "authn/join_file.h"
#include "capstan/control/v1/control.pb.h"

namespace capstan::cli {

// InvalidArgument: not a SPIFFE ID, or no positive duration.
absl::StatusOr<control::v1::CreateTokenRequest> TokenRequest(const std::string& spiffe_id,
                                                             const std::string& ttl);

// Internal: capstand's answer makes no join file; says which part of it.
absl::StatusOr<authn::JoinFile> JoinFileOf(const control::v1::CreateTokenRequest& request,
                                           const control::v1::CreateTokenResponse& response);

// What is said about a join file that was written. Never the token.
std::string TokenText(const authn::JoinFile& join, const std::string& file);
std::string TokenJson(const authn::JoinFile& join, const std::string& file);

}  // namespace capstan::cli
