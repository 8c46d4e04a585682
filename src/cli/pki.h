// SPDX-License-Identifier: Apache-2.0
// The commands below `capstan pki`, one file each, and what they share.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/certificate_input.h"
#include "cli/pki_output.h"
#include "x509/certificate.h"
#include "x509/extensions.h"
#include "x509/key.h"
#include "x509/name.h"
#include "x509/request_file.h"
#include "x509/sign.h"

namespace capstan::cli {

void AddPkiKey(CLI::App& pki);
void AddPkiRootCa(CLI::App& pki);
void AddPkiIntermediate(CLI::App& pki);
void AddPkiCsr(CLI::App& pki);
void AddPkiSign(CLI::App& pki);
void AddPkiBundle(CLI::App& pki);
void AddPkiMakefile(CLI::App& pki);

// --- Flags that several commands have ---

// --force, --dry-run, -o/--output.
void AddOutputFlags(CLI::App& command, OutputOptions& options);

// The key types as a flag; empty unless given.
CLI::Option* AddKeyTypeFlag(CLI::App& command, const std::string& flag, std::string& type);

struct ValidityFlags {
  int days = 0;
  std::string duration;    // instead of days: "24h"
  std::string not_before;  // RFC 3339; empty: now
};
void AddValidityFlags(CLI::App& command, ValidityFlags& flags);

struct Validity {
  absl::Time not_before;
  absl::Time not_after;
};
// As OpenSSL counts: from NotBefore, which is not back-dated, days of 24 hours.
absl::StatusOr<Validity> ToValidity(const ValidityFlags& flags, absl::Time now);

// What a leaf is made for, from flags.
struct LeafFlags {
  std::string spiffe_id;
  std::vector<std::string> dns;
  std::vector<std::string> ips;
  bool Any() const { return !spiffe_id.empty() || !dns.empty() || !ips.empty(); }
};
void AddLeafFlags(CLI::App& command, LeafFlags& flags);
absl::StatusOr<x509::SubjectAltNames> ToSubjectAltNames(const LeafFlags& flags);

// --- Reading, with the path in every error; "-" is standard input ---

absl::StatusOr<x509::PrivateKey> ReadPrivateKey(const std::string& path);
absl::StatusOr<x509::RequestFile> ReadRequestFile(const std::string& path);

// A CA's certificate and the key it signs with.
struct Ca {
  x509::Certificate certificate;
  x509::PrivateKey key;
};
// Of several certificates in the file, the one of that key. FailedPrecondition: it may not sign
// certificates, or not at `now`.
absl::StatusOr<Ca> ReadCa(const std::string& certificate_path, const std::string& key_path,
                          absl::Time now);

// --- Making ---

// Signs `to_sign` with a new serial number in the name of `ca`, or by itself where `ca` is null,
// and checks what was signed before it gives it away. `key` is the subject's.
absl::StatusOr<x509::Certificate> MakeCertificate(x509::CertificateTemplate to_sign,
                                                  const x509::PublicKey& key, const Ca& ca);
absl::StatusOr<x509::Certificate> MakeSelfSigned(x509::CertificateTemplate to_sign,
                                                 const x509::PrivateKey& key);

// The extensions of `requested` as OpenSSL 3 writes them into a certificate: with an SKI always,
// and an AKI unless it signs itself (there only for "keyid:always").
x509::Extensions ForCertificate(const x509::RequestedExtensions& requested, bool self_signed);

}  // namespace capstan::cli
