// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/security/auth_context.h>
#include <grpcpp/server_context.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "authn/caller.h"
#include "x509/certificate.h"

namespace capstan::rpc {

// The chain that the other end of a connection showed, leaf first; empty: none. InvalidArgument: it
// is malformed, as one of more than ten certificates or 64 KiB is.
absl::StatusOr<std::vector<x509::Certificate>> PeerChainOf(const grpc::AuthContext& connection);

// What the caller of this call showed: the certificate chain of its connection, the first
// "authorization" value that starts with "Bearer " (as istiod reads it: the case matters) and the
// cluster that it says the token is of. Nothing is verified.
authn::Credentials CredentialsOf(const grpc::CallbackServerContext& context);

// Whether the call's connection resumed an earlier TLS session: its chain then is the leaf alone.
bool OnResumedSession(const grpc::CallbackServerContext& context);

// The value of a metadata key; nullopt where absent. InvalidArgument: given twice, longer than 128
// bytes, or not printable ASCII without blanks.
absl::StatusOr<std::optional<std::string>> NameInMetadata(
    const grpc::CallbackServerContext& context, const std::string& key);

// Whether `name` may name an instance or a consumer: 1 to 128 printable ASCII characters, no
// blanks.
bool IsName(std::string_view name);

}  // namespace capstan::rpc
