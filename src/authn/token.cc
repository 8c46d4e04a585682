// SPDX-License-Identifier: Apache-2.0
#include "authn/token.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "base/strings.h"
#include "x509/seal.h"

namespace capstan::authn {
namespace {

constexpr size_t kTokenBytes = 32;
constexpr size_t kTokenCharacters = (kTokenBytes * 8 + 5) / 6;  // base64 without padding

}  // namespace

Secret NewToken(Random& random) {
  std::string bytes = random.Bytes(kTokenBytes);
  std::string encoded = absl::WebSafeBase64Escape(bytes);  // unpadded
  std::string token;
  token.reserve(kTokenPrefix.size() + encoded.size());
  token.append(kTokenPrefix).append(encoded);
  WipeBytes(bytes);
  WipeBytes(encoded);
  return Secret(std::move(token));
}

bool HasTokenPrefix(const Secret& token) {
  return absl::StartsWith(token.Reveal(), kTokenPrefix);
}

bool LooksLikeToken(const Secret& token) {
  if (!HasTokenPrefix(token)) {
    return false;
  }
  std::string_view text = token.Reveal();
  text.remove_prefix(kTokenPrefix.size());
  return text.size() == kTokenCharacters && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
         });
}

std::string HashToken(const Secret& token) {
  return x509::Sha256(token.Reveal());
}

}  // namespace capstan::authn
