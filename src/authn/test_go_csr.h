// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace capstan::authn::testing {

// As pilot-agent makes it (crypto/x509 of Go): an organization that is empty, and a critical SAN.
inline constexpr char kGoCsr[] = R"(-----BEGIN CERTIFICATE REQUEST-----
MIIBEDCBuAIBADALMQkwBwYDVQQKEwAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AARPTt1zYtI+rxfILqMWto9uz8d3HkuDPfMX+KGbUaEtseDmM2aUbbSQf2bl0s1d
FJwn9jSqxRZjvk9NAblce4P5oEswSQYJKoZIhvcNAQkOMTwwOjA4BgNVHREBAf8E
LjAshipzcGlmZmU6Ly9jbHVzdGVyLmxvY2FsL25zL2RlZmF1bHQvc2Evc2xlZXAw
CgYIKoZIzj0EAwIDRwAwRAIgHG2ZTy+BYaRzWLY2lrv/TxOken80/2HZyyARP9DA
sKoCIHRMaNdsdD6/iTHN0GL089Ozq9yVBh+YYdlk1QS8cg+B
-----END CERTIFICATE REQUEST-----
)";

}  // namespace capstan::authn::testing
