// SPDX-License-Identifier: Apache-2.0
// How much every peer has to hold and send; and who was given a bundle long ago.
#include <set>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "rotation/preflight_checks.h"
#include "trust/ca_crl.h"

namespace capstan::rotation::preflight {
namespace {

constexpr size_t kManyRoots = 50;
constexpr size_t kLargeBundleBytes = 64 << 10;
constexpr size_t kMaxBundleBytes = 1 << 20;  // of a CA file, and of a Kubernetes Secret
// A TLS server that asks for client certificates, as Envoy does, lists the subjects of its roots in
// every handshake; the list has a length of 16 bits.
constexpr size_t kMaxCaNamesBytes = 0xffff;
constexpr size_t kLargeCaNamesBytes = 16 << 10;  // what fits into one TLS record
// What capstand takes from who proves itself with its chain.
constexpr size_t kMaxChainLength = 10;
constexpr size_t kMaxChainBytes = 64 << 10;
constexpr size_t kLeafBytes = 2 << 10;

size_t CaNamesBytes(const trust::Bundle& bundle) {
  std::set<std::string> subjects;
  for (const x509::Certificate& root : bundle.roots()) subjects.insert(root.subject_der());
  size_t bytes = 0;
  for (const std::string& subject : subjects) bytes += 2 + subject.size();
  return bytes;
}

void CheckCaNames(const Scope& scope, const std::string& where, Findings& findings) {
  const size_t bytes = CaNamesBytes(scope.both);
  if (bytes > kMaxCaNamesBytes) {
    findings.push_back(
        {Severity::kError, "ca-names",
         absl::StrCat("the subjects of the roots take ", bytes,
                      " bytes, and a TLS server can list no more than ", kMaxCaNamesBytes,
                      ": no handshake would succeed where client certificates are "
                      "asked for"),
         where, "take roots that nobody needs out of the bundle"});
  } else if (bytes > kLargeCaNamesBytes) {
    findings.push_back({Severity::kWarning, "ca-names",
                        absl::StrCat("the subjects of the roots take ", bytes,
                                     " bytes, which every handshake carries"),
                        where, "take roots that nobody needs out of the bundle"});
  }
}

void CheckBundle(const Scope& scope, Findings& findings) {
  const size_t roots = scope.both.roots().size();
  const size_t bytes = scope.both.ToPem().size();
  const std::string where =
      absl::StrCat("the bundle of both-trusted, ", roots, " roots, ", bytes, " bytes of PEM");
  if (bytes > kMaxBundleBytes) {
    findings.push_back({Severity::kError, "bundle-size",
                        absl::StrCat("it is larger than the ", kMaxBundleBytes,
                                     " bytes that a CA file or a Secret may have"),
                        where, "take roots that nobody needs out of the bundle"});
  } else if (bytes > kLargeBundleBytes || roots > kManyRoots) {
    findings.push_back({Severity::kWarning, "bundle-size",
                        "it is large: every agent and Envoy receives and holds all of it at every "
                        "change",
                        where, "take roots that nobody needs out of the bundle"});
  }
  CheckCaNames(scope, where, findings);
}

void CheckChain(const Scope& scope, Findings& findings) {
  const std::vector<x509::Certificate>& chain = scope.wanted().intermediates;
  size_t bytes = kLeafBytes;
  for (const x509::Certificate& ca : chain) bytes += ca.ToPem().size();
  if (chain.size() < kMaxChainLength && bytes <= kMaxChainBytes) return;
  findings.push_back(
      {Severity::kError, "chain-size",
       absl::StrCat("the chain that every leaf carries has ", chain.size(), " intermediates and ",
                    bytes, " bytes; agents that prove themselves with it are refused above ",
                    kMaxChainLength, " certificates or ", kMaxChainBytes, " bytes"),
       scope.Named(scope.wanted().certificate), "use a shorter chain"});
}

}  // namespace

void CheckSizes(const Scope& scope, Findings& findings) {
  CheckBundle(scope, findings);
  CheckChain(scope, findings);
}

void CheckJoinFiles(const Scope& scope, Findings& findings) {
  const bool there = scope.old_bundle.Includes(scope.new_bundle);
  const int64_t since = scope.input.new_roots_since.value_or(
      there ? scope.input.now_is.trust.version.sequence : INT64_MAX);
  for (const JoinFileFact& file : scope.input.join_files) {
    if (file.expires <= scope.now || file.bundle_sequence >= since) continue;
    const std::string until = file.expires == absl::InfiniteFuture()
                                  ? "it never expires"
                                  : absl::StrCat("it expires at ", UtcTime(file.expires));
    findings.push_back(
        {Severity::kWarning, "join-file",
         absl::StrCat("it has not been used and pins the roots of bundle ", file.bundle_sequence,
                      ", without the new one: who joins with it after the control plane's own "
                      "certificate moved is locked out (",
                      until, ")"),
         absl::StrCat("join file ", file.name),
         "use it before the rotation, make a new one once both roots are trusted (`capstan token "
         "create`), or let it expire"});
  }
}

}  // namespace capstan::rotation::preflight
