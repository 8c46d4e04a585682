// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/secret.h"
#include "spiffe/spiffe_id.h"
#include "trust/bundle.h"
#include "x509/certificate.h"

namespace grpc {
class Channel;
}

namespace capstan::rpc {

// What a client shows of itself: a certificate of the bundle's roots, and its key.
struct ClientCredential {
  std::string chain_pem;  // leaf first, without the root
  Secret key_pem;
};

struct ChannelOptions {
  std::string address;                         // "host:port"
  spiffe::SpiffeId server_id;                  // whom to expect there
  trust::Bundle bundle;                        // what to verify it with
  std::optional<ClientCredential> credential;  // none: we are not known yet
};

// A connection to the control plane, made when it is first used. Always TLS; the server is verified
// by CheckServer() before a byte of a call is sent. Keys stay in memory, so trust and credential
// are fixed: when either changes, make a new channel and let the calls on the old one end.
// InvalidArgument: the address, or an empty bundle.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const ChannelOptions& options,
                                                           Clock& clock);

// Whether a server that showed `chain` (leaf first) is `expected`: an X509-SVID with exactly that
// SPIFFE ID, for servers, that chains to a root of `bundle` at `now`. Names and addresses count for
// nothing.
absl::Status CheckServer(const std::vector<x509::Certificate>& chain,
                         const spiffe::SpiffeId& expected, const trust::Bundle& bundle,
                         absl::Time now);

}  // namespace capstan::rpc
