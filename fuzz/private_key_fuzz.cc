// SPDX-License-Identifier: Apache-2.0
// PrivateKey::ParsePem: total, never asks for a passphrase; PKCS#8 out and in is the same key.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "x509/key.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto key = capstan::x509::PrivateKey::ParsePem(text);
  if (!key.ok()) {
    if (key.status().message().empty()) std::abort();
    return 0;
  }
  const auto again = capstan::x509::PrivateKey::ParsePem(key->ToPkcs8Pem().Reveal());
  if (!again.ok() || !(again->public_key() == key->public_key())) std::abort();
  return 0;
}
