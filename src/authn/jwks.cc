// SPDX-License-Identifier: Apache-2.0
#include "authn/jwks.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"

namespace capstan::authn {
namespace {

constexpr size_t kMostKeys = 100;
constexpr size_t kMostOfAText = 128;  // in messages

std::string BytesAt(const Json& object, std::string_view name) {
  return DecodeBase64Url(TextAt(object, {name})).value_or("");
}

absl::StatusOr<x509::PublicKey> KeyOf(const Json& jwk) {
  const std::string kind = TextAt(jwk, {"kty"});
  if (kind == "RSA") return x509::RsaKeyOf(BytesAt(jwk, "n"), BytesAt(jwk, "e"));
  if (kind == "EC")
    return x509::EcKeyOf(TextAt(jwk, {"crv"}), BytesAt(jwk, "x"), BytesAt(jwk, "y"));
  return absl::InvalidArgumentError("\"kty\" is neither RSA nor EC");
}

absl::StatusOr<Jwk> ReadJwk(const Json& jwk) {
  if (const std::string use = TextAt(jwk, {"use"}); !use.empty() && use != "sig") {
    return absl::InvalidArgumentError("it is not for signatures");
  }
  CAPSTAN_ASSIGN_OR_RETURN(x509::PublicKey key, KeyOf(jwk));
  Jwk read{TextAt(jwk, {"kid"}), std::nullopt, std::move(key)};
  if (const std::string name = TextAt(jwk, {"alg"}); !name.empty()) {
    read.algorithm = x509::ParseJwsAlgorithm(name);
    if (!read.algorithm.has_value()) return absl::InvalidArgumentError("its \"alg\" is not taken");
  }
  return read;
}

}  // namespace

absl::StatusOr<std::vector<Jwk>> ParseJwks(const Json& document) {
  const Json* list = Member(document, "keys");
  if (list == nullptr || !list->is_array() || list->size() > kMostKeys) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"keys\" is not there, or no list of at most ", kMostKeys));
  }
  std::vector<Jwk> keys;
  absl::Status last = absl::InvalidArgumentError("it is empty");
  for (const Json& one : *list) {
    absl::StatusOr<Jwk> key = ReadJwk(one);
    if (key.ok()) {
      keys.push_back(*std::move(key));
    } else {
      last = key.status();
    }
  }
  if (keys.empty()) return Annotate(last, "no key of the set can be used");
  return keys;
}

absl::Status CheckSignature(const Jwt& jwt, const std::vector<Jwk>& keys) {
  const std::optional<x509::JwsAlgorithm> algorithm = x509::ParseJwsAlgorithm(jwt.algorithm);
  if (!algorithm.has_value()) {
    return absl::UnauthenticatedError(absl::StrCat(
        "the token's algorithm \"", absl::CEscape(jwt.algorithm.substr(0, kMostOfAText)),
        "\" is not one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384"));
  }
  bool named = jwt.key_id.empty();
  for (const Jwk& key : keys) {
    if (!jwt.key_id.empty() && key.id != jwt.key_id) continue;
    named = true;
    if (key.algorithm.value_or(*algorithm) == *algorithm &&
        x509::VerifyJws(*algorithm, jwt.message, jwt.signature, key.key)) {
      return absl::OkStatus();
    }
  }
  if (named) return absl::UnauthenticatedError("the token's signature is not its issuer's");
  return absl::NotFoundError(absl::StrCat("its issuer has no key \"",
                                          absl::CEscape(jwt.key_id.substr(0, kMostOfAText)), "\""));
}

}  // namespace capstan::authn
