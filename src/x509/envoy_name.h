// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace capstan::x509 {

// Whether Envoy can read a certificate of this subject or issuer, the DER of a Name that
// Name::FromDer() takes. BoringSSL decodes every value of a name when it parses the certificate and
// refuses the certificate with the value; OpenSSL is more lenient about some, so that a root may
// work everywhere but in the mesh. InvalidArgument says which value, and why. The rules were tried
// with Envoy 1.40: a PrintableString with characters that are not printable and any octets in a
// T61String or IA5String pass; in UTF8String, BMPString and UniversalString surrogates and
// noncharacters do not, nor do constructed strings, nor bits set in a BIT STRING's padding.
absl::Status CheckEnvoyReadsName(std::string_view der);

}  // namespace capstan::x509
