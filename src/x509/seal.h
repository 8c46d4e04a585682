// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/secret.h"

namespace capstan::x509 {

// Authenticated encryption of small secrets at rest: AES-256-GCM, 12 random nonce bytes ahead of
// the ciphertext. `context` is bound to it (as additional data) so that one record cannot stand for
// another. `key` is 32 bytes; `nonce` 12 fresh random bytes.
absl::StatusOr<std::string> Seal(const Secret& key, std::string_view nonce,
                                 std::string_view context, const Secret& plain);
// DataLoss: another key, another context, or changed bytes.
absl::StatusOr<Secret> Unseal(const Secret& key, std::string_view context, std::string_view sealed);

// SHA-256, 32 raw bytes. (OpenSSL is named in this room alone.)
std::string Sha256(std::string_view bytes);

}  // namespace capstan::x509
