// SPDX-License-Identifier: Apache-2.0
// An issuer of tokens by another hand: its key and its signatures are openssl's. For tests.
#pragma once

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/secret.h"
#include "x509/test_openssl.h"

namespace capstan::authn::testing {

class TestIssuer {
 public:
  explicit TestIssuer(std::string key_id) : key_id_(std::move(key_id)) {
    shop_.OpenSsl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem");
  }
  // With a key of RSA that somebody else has as well, in PEM.
  TestIssuer(std::string key_id, const std::string& key) : key_id_(std::move(key_id)) {
    shop_.Write("key.pem", key);
  }
  const std::string& key_id() const { return key_id_; }

  Json Jwk() const {
    const std::string modulus = shop_.OpenSsl("rsa -in key.pem -noout -modulus");
    const std::string bytes =
        absl::HexStringToBytes(modulus.substr(8, modulus.find('\n') - 8));  // "Modulus=…"
    return {{"kty", "RSA"},   {"use", "sig"}, {"alg", "RS256"},
            {"kid", key_id_}, {"e", "AQAB"},  {"n", absl::WebSafeBase64Escape(bytes)}};
  }
  Json Jwks() const { return {{"keys", {Jwk()}}}; }

  Secret Sign(const Json& claims) const {
    return Sign(claims, {{"alg", "RS256"}, {"kid", key_id_}});
  }
  Secret Sign(const Json& claims, const Json& header) const {
    const std::string message = absl::StrCat(absl::WebSafeBase64Escape(header.dump()), ".",
                                             absl::WebSafeBase64Escape(claims.dump()));
    shop_.Write("message", message);
    shop_.OpenSsl("dgst -sha256 -sign key.pem -out signature message");
    return Secret(absl::StrCat(message, ".", absl::WebSafeBase64Escape(shop_.Read("signature"))));
  }

 private:
  const std::string key_id_;
  x509::testing::Workshop shop_;
};

}  // namespace capstan::authn::testing
