// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "authn/token_verifier.h"
#include "base/http_client.h"
#include "kube/client.h"

namespace capstan::authn {

// Somebody whose tokens are taken beside those of the API servers: an OpenID Connect issuer, or an
// API server that is not asked.
struct TokenIssuer {
  std::string issuer;                  // as its tokens and its discovery document say it
  std::vector<std::string> audiences;  // of which a token must have one; empty: token-audiences
  std::string jwks;                    // a file or a URL; "": as the discovery document says
  std::string ca;                      // file: what its server's certificate chains to; "": the
                                       // system's roots
  friend bool operator==(const TokenIssuer&, const TokenIssuer&) = default;
};

// "ISSUER [audience=NAME]… [jwks=FILE|URL] [ca=FILE]", joined by commas. URLs are https, or of the
// loopback interface.
absl::StatusOr<std::vector<TokenIssuer>> ParseTokenIssuers(std::string_view text);
std::string ToString(const std::vector<TokenIssuer>& issuers);

// The keys as they are now. Both block.
absl::StatusOr<TokenKeys> FetchKeys(const TokenIssuer& issuer, HttpClient& http);
// Those of an API server, from itself (wherever its discovery document sends others).
absl::StatusOr<TokenKeys> FetchKeys(kube::Client& client);

}  // namespace capstan::authn
