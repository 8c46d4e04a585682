// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "trust/authority.h"
#include "trust/bundle.h"
#include "x509/crl.h"
#include "x509/key.h"

namespace capstan::trust {

// A plug-in CA as files: name → bytes, as found in a directory or a Secret. Istio's layout
// (ca-cert.pem ca-key.pem cert-chain.pem root-cert.pem, optional ca-crl.pem) or kubernetes.io/tls
// (tls.crt tls.key ca.crt), which wins where tls.crt exists.
using CaFiles = std::map<std::string, std::string>;

// The names above: what a reader has to look for.
const std::vector<std::string>& CaFileNames();

// A plug-in CA that was verified as one unit.
struct CaSet {
  std::string layout;  // "istio" or "kubernetes.io/tls"
  Authority authority;
  x509::PrivateKey key;
  Bundle bundle;
  std::vector<x509::Crl> crls;        // empty: no ca-crl.pem
  std::vector<std::string> warnings;  // tolerated: duplicated roots, a chain out of order
  // Over the meaning of the files: the same for another order of roots, duplicates, comments, CRLF.
  std::string ContentDigest() const;
};

struct ParseOptions {
  // The URI SAN of the throwaway leaf; matters where a CA has name constraints.
  std::string probe_id = "spiffe://probe.capstan.invalid/probe";
  // CAs from elsewhere (the authority before this one and its chain) that may have signed some of
  // the CRLs.
  std::vector<x509::Certificate> known_cas;
};

// Verifies a set as a whole: every file parses, the key is the certificate's, the chain builds to a
// root of the bundle at `now`, CA bits and path lengths allow leaves, and a throwaway leaf signed
// by the key verifies. The error names the file and what to do. NotFound: no file of either layout
// is there. FailedPrecondition: some are missing (as seen halfway through a replacement).
// InvalidArgument: the rest.
absl::StatusOr<CaSet> ParseCaSet(const CaFiles& files, absl::Time now,
                                 const ParseOptions& options = {});

}  // namespace capstan::trust
