// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "x509/certificate.h"

namespace capstan::envoy {

// One secret as an Envoy holds it. Never any private key: whatever the dump has, it is not read.
struct HeldSecret {
  enum class Type {
    kCertificateChain,  // tls_certificate
    kTrustBundle,       // validation_context: plain, combined, or with the SPIFFE validator
    kOther,             // session ticket keys, generic secrets
    kUnknown,           // nothing has arrived yet
  };
  enum class State {
    kActive,
    kWarming,  // asked for, not there yet
    kStatic,   // in the bootstrap
  };

  std::string name;
  Type type = Type::kUnknown;
  State state = State::kActive;
  std::string version_info;
  std::optional<absl::Time> last_updated;
  std::vector<x509::Certificate> certificates;
  // With the SPIFFE validator the trust domain of each certificate, in their order; empty else.
  std::vector<std::string> trust_domains;
  std::string
      problem;        // why certificates are missing here: in a file of the proxy, not to be parsed
  std::string error;  // Envoy's own words about its last failed update
};

std::string_view Name(HeldSecret::Type type);    // "Cert Chain", "CA", "Other", "Unknown"
std::string_view Name(HeldSecret::State state);  // "ACTIVE", "WARMING", "STATIC"

// Reads what Envoy's admin interface answers to /config_dump (whole or masked), what
// `istioctl proxy-config secret -o json` prints, or a bare SecretsConfigDump; snake_case and
// camelCase. "default" comes first and "ROOTCA" second, then the rest by name, whatever Envoy's
// order was. InvalidArgument: no JSON (with the byte), or no such dump. Bytes inside that are no
// certificates do not fail the whole: they are that secret's `problem`.
absl::StatusOr<std::vector<HeldSecret>> ParseSecrets(std::string_view dump);

// The same dump as istioctl prints it, so that jq paths written for istioctl work:
// .dynamicActiveSecrets[0].secret.tlsCertificate.certificateChain.inlineBytes is "default",
// .dynamicActiveSecrets[1].secret.validationContext.trustedCa.inlineBytes is "ROOTCA". Anything
// secret is replaced by Envoy's own "[redacted]", whether Envoy did so or not.
absl::StatusOr<std::string> NormalizeSecrets(std::string_view dump);

}  // namespace capstan::envoy
