// SPDX-License-Identifier: Apache-2.0
// What tools that show certificates to people want to know, and nobody decides upon.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "x509/certificate.h"
#include "x509/extensions.h"
#include "x509/key.h"
#include "x509/name.h"

namespace capstan::x509 {

// A PKCS#10 request as it is: also one whose key or signature Csr::Parse refuses.
struct RequestDescription {
  std::string der;
  Name subject;
  PublicKey key;
  std::string signature_algorithm;  // as Certificate::SignatureAlgorithm
  bool signature_valid = false;     // false too where OpenSSL cannot use the key
  SubjectAltNames sans;

  std::string SubjectCommonName() const;  // the last CN, or ""
};

// Exactly one request in DER and nothing after it. InvalidArgument names the byte offset.
absl::StatusOr<RequestDescription> DescribeRequest(std::string_view der);

// The provisioner of step-ca that signed, from its extension (1.3.6.1.4.1.37476.9000.64.1).
struct StepProvisioner {
  std::string name;
  std::string credential_id;
};
// nullopt: no such extension, or not in its form.
std::optional<StepProvisioner> FindStepProvisioner(const Certificate& certificate);

// A key as `step` names it: PublicKey::Description, or the name or dotted OID of an algorithm that
// Go does not use.
std::string StepKeyName(const PublicKey& key);

// Whether Go's crypto/x509 parses a certificate with such a key: it fails on curves it does not
// know.
bool GoReads(const PublicKey& key);

// Whether `step` calls this CA a root: in Go's eyes it signed itself.
bool IsRootForStep(const Certificate& certificate);

// SHA-1 of the DER, 20 raw bytes: what old tools compare by.
std::string Sha1Fingerprint(const Certificate& certificate);

}  // namespace capstan::x509
