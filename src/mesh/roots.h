// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/tools.h"
#include "trust/ca_set.h"
#include "x509/certificate.h"
#include "x509/key.h"

namespace capstan::mesh {

// A root with one intermediate, as files that `capstan pki` made.
struct Root {
  std::string label;  // "A"
  x509::Certificate root;
  x509::Certificate intermediate;
  x509::PrivateKey intermediate_key;
  trust::CaFiles files;  // of its intermediate: Istio's four, root-cert.pem holding this root alone
  std::string Ski() const;              // of the root, hex
  std::string IntermediateSki() const;  // hex
};

// Runs `capstan pki root-ca` and `capstan pki intermediate-cacerts intermediate<LABEL>` in
// `folder`/root<LABEL>. `key_type` is for all keys, as `capstan pki --key-type` takes it.
absl::StatusOr<Root> MakeRoot(const Tools& tools, const std::string& folder,
                              const std::string& label, const std::string& key_type);

// The files of `issuer`'s intermediate with root-cert.pem holding `roots` in this order, repeated
// ones repeated: {a, b, b} is S1's combined-root2.pem.
trust::CaFiles CaFilesOf(const Root& issuer, const std::vector<const Root*>& roots);

// Replaces what a followed directory holds as an operator does by hand: everything is deleted, then
// the new files are written one by one.
absl::Status ReplaceCaFiles(const std::string& directory, const trust::CaFiles& files);

// A short-lived client certificate of `issuer` for `spiffe_id`, to try a handshake with.
struct ClientIdentity {
  std::vector<x509::Certificate> chain;
  x509::PrivateKey key;
};
absl::StatusOr<ClientIdentity> MakeClient(const Root& issuer, const std::string& spiffe_id,
                                          absl::Time now);

}  // namespace capstan::mesh
