// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "x509/der.h"
#include "x509/key.h"
#include "x509/signed.h"

namespace capstan::x509 {

// Reads an AlgorithmIdentifier and gives back its whole DER, to be compared with its second copy.
absl::StatusOr<std::string_view> ReadAlgorithm(der::Reader& reader, std::string_view what);

// Go's name of a signature algorithm ("ECDSA-SHA256"), or its dotted OID.
std::string SignatureAlgorithmName(std::string_view algorithm_der);

// Whether `key` made the signature over `message`. nullopt for algorithms with parameters
// (RSASSA-PSS) and unknown ones, for which OpenSSL has to read the AlgorithmIdentifier itself.
std::optional<bool> VerifySignature(std::string_view algorithm_der, std::string_view message,
                                    std::string_view signature, const PublicKey& key);
std::optional<bool> VerifySignature(const Signed& envelope, const PublicKey& key);

// SHA-1, MD5, MD2: whoever can find collisions can forge what is signed with them.
bool IsBroken(std::string_view signature_algorithm);

// Whether Go's crypto/x509 verifies signatures of that name at all.
bool GoVerifies(std::string_view signature_algorithm);

}  // namespace capstan::x509
