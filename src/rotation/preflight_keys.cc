// SPDX-License-Identifier: Apache-2.0
// Kinds and sizes of keys: what Envoy (BoringSSL), Go and OpenSSL all take.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "rotation/preflight_checks.h"
#include "trust/ca_crl.h"

namespace capstan::rotation::preflight {
namespace {

constexpr int kMinRsaBits = 2048;  // OpenSSL's security level 2
constexpr int kMaxRsaBits = 8192;  // Go ends handshakes in which a larger one is shown

constexpr char kUseUsual[] = "use RSA of 2048 to 4096 bits, ECDSA P-256 or ECDSA P-384";

// The bits of an RSA key from its description ("RSA 1024"), 0 for other kinds.
int RsaBits(const x509::PublicKey& key) {
  const std::string description = key.Description();
  std::string_view rest = description;
  int bits = 0;
  if (!absl::ConsumePrefix(&rest, "RSA ") || !absl::SimpleAtoi(rest, &bits)) return 0;
  return bits;
}

// A CA above the one that signs leaves: its key only verifies, so more kinds work.
void CheckUpperKey(const Scope& scope, const x509::Certificate& ca, Findings& findings) {
  const x509::PublicKey& key = ca.public_key();
  if (key.CheckAcceptable().ok()) return;
  const int bits = RsaBits(key);
  const std::string kind = key.Description();
  if (bits > 4096 && bits <= kMaxRsaBits) {
    findings.push_back(
        {Severity::kWarning, "key-unusual",
         absl::StrCat("its key (", kind, ") makes every handshake verify a slow signature"),
         scope.Named(ca), kUseUsual});
    return;
  }
  if (kind == "ECDSA P-521" || kind == "ECDSA P-224" || kind.starts_with("Ed25519")) {
    findings.push_back({Severity::kWarning, "key-unusual",
                        absl::StrCat("its key (", kind,
                                     ") is verified by newer Envoys, Go and OpenSSL, and not by "
                                     "every peer"),
                        scope.Named(ca), kUseUsual});
    return;
  }
  const std::string why = bits == 0            ? "is of a kind that Envoy or Go cannot verify with"
                          : bits < kMinRsaBits ? "is too short: OpenSSL's peers refuse it"
                          : bits > kMaxRsaBits
                              ? "is too long: Go refuses it in a handshake and BoringSSL verifies "
                                "with none above 16384 bits"
                              : "has an exponent or modulus that Go and Envoy refuse";
  findings.push_back({Severity::kError, "key-refused", absl::StrCat("its key (", kind, ") ", why),
                      scope.Named(ca), kUseUsual});
}

void CheckSigningKey(const Scope& scope, Findings& findings) {
  const x509::Certificate& ca = scope.wanted().certificate;
  if (absl::Status taken = ca.public_key().CheckAcceptable(); !taken.ok()) {
    findings.push_back({Severity::kError, "key-refused",
                        absl::StrCat("leaves cannot be signed with it: ", taken.message()),
                        scope.Named(ca), kUseUsual});
  }
}

void CompareWithOld(const Scope& scope, Findings& findings) {
  if (scope.in_use.empty()) return;
  const std::string before = scope.in_use.front().certificate.public_key().Description();
  const std::string after = scope.wanted().certificate.public_key().Description();
  if (before == after) return;
  findings.push_back({Severity::kNote, "key-changes",
                      absl::StrCat("the issuer's key changes from ", before, " to ", after,
                                   ": signing and every handshake cost something else than before"),
                      scope.Named(scope.wanted().certificate), ""});
}

}  // namespace

void CheckKeys(const Scope& scope, Findings& findings) {
  CheckSigningKey(scope, findings);
  for (const x509::Certificate& ca : scope.candidate) {
    if (!(ca == scope.wanted().certificate)) CheckUpperKey(scope, ca, findings);
  }
  CompareWithOld(scope, findings);
}

}  // namespace capstan::rotation::preflight
