// SPDX-License-Identifier: Apache-2.0
// What anybody may show as a token, down to whose it says it is: total; what is accepted has one
// text only; no error quotes the token.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "authn/jwks.h"
#include "authn/jwt.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const auto jwt = capstan::authn::ParseJwt(capstan::Secret(input));
  if (!jwt.ok()) {
    const std::string message(jwt.status().message());
    if (message.empty() || (size > 200 && message.find(input) != std::string::npos)) std::abort();
  } else {
    if (absl::StrCat(jwt->message, ".", absl::WebSafeBase64Escape(jwt->signature)) != input) {
      std::abort();
    }
    const auto account = capstan::authn::AccountOf(*jwt);
    if (account.ok() && (account->ns.empty() || account->name.empty())) std::abort();
    if (capstan::authn::CheckSignature(*jwt, {}).ok()) std::abort();
    if (capstan::authn::CheckClaims(*jwt, "https://k", {"istio-ca"}, absl::Seconds(30),
                                    absl::FromUnixSeconds(1'800'000'000))
            .ok() &&
        (jwt->issuer != "https://k" || !jwt->expires.has_value())) {
      std::abort();
    }
  }
  const auto document = capstan::authn::ParseStrictJson(input, "keys");
  if (document.ok() && capstan::authn::ParseJwks(*document).ok() &&
      document->find("keys") == document->end()) {
    std::abort();
  }
  return 0;
}
