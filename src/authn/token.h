// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/random.h"
#include "base/secret.h"

namespace capstan::authn {

// What every join token starts with, so that scanners for leaked secrets find it.
inline constexpr std::string_view kTokenPrefix = "cjt_";

// A new join token: the prefix and 256 random bits in URL-safe base64, 47 characters.
Secret NewToken(Random& random);

// Whether `token` says that it is one, well-formed or not.
bool HasTokenPrefix(const Secret& token);

// Whether `token` could have come from NewToken: what is refused here need not be looked up.
bool LooksLikeToken(const Secret& token);

// What is kept of a token: SHA-256, 32 raw bytes. A token has enough entropy to need no salt.
std::string HashToken(const Secret& token);

}  // namespace capstan::authn
