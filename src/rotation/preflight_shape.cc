// SPDX-License-Identifier: Apache-2.0
// What is in a CA's certificate, by the rules of BoringSSL (Envoy) and Go where they are stricter
// than OpenSSL's, which the trial of pairs has asked already.
#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "rotation/preflight_checks.h"
#include "trust/ca_crl.h"
#include "x509/envoy_name.h"
#include "x509/name_constraints.h"

namespace capstan::rotation::preflight {
namespace {

constexpr size_t kMaxSerialOctets = 20;

// The critical extensions that BoringSSL handles; a certificate below the root with any other is
// refused. OpenSSL also handles critical CRL distribution points and others.
constexpr std::array<std::string_view, 9> kHandled = {
    "keyUsage",         "subjectAltName",    "basicConstraints", "certificatePolicies",
    "extendedKeyUsage", "policyConstraints", "nameConstraints",  "policyMappings",
    "inhibitAnyPolicy"};

void CheckCritical(const Scope& scope, const x509::Certificate& ca, Findings& findings) {
  for (const std::string& name : ca.critical_extensions()) {
    if (std::find(kHandled.begin(), kHandled.end(), name) != kHandled.end()) continue;
    const bool root = scope.IsRoot(ca);
    findings.push_back(
        {root ? Severity::kWarning : Severity::kError, "critical-extension",
         absl::StrCat("its extension ", name, " is critical: ",
                      root ? "Envoy does not look at a root's extensions, and verifiers that do "
                             "(Go, rustls) refuse it"
                           : "Envoy refuses every chain through it (unhandled critical extension)"),
         scope.Named(ca), "have it issued again with that extension not critical"});
  }
}

void CheckSignature(const Scope& scope, const x509::Certificate& ca, Findings& findings) {
  const std::string name = ca.SignatureAlgorithm();
  const bool broken =
      absl::StrContains(name, "SHA1") || name.starts_with("MD") || name.starts_with("DSA-");
  const bool unknown = name.find_first_not_of("0123456789.") == std::string::npos;
  if (!broken && !unknown) return;
  if (scope.IsRoot(ca)) {
    findings.push_back(
        {Severity::kNote, "signature-weak",
         absl::StrCat("it signed itself with ", name, ", which no verifier looks at in a root"),
         scope.Named(ca), ""});
    return;
  }
  findings.push_back({Severity::kError, "signature-weak",
                      absl::StrCat("it is signed with ", name,
                                   unknown ? ", which peers do not know"
                                           : ", which Go and OpenSSL's peers refuse"),
                      scope.Named(ca), "have it signed with SHA-256 or better"});
}

void CheckSerial(const Scope& scope, const x509::Certificate& ca, Findings& findings) {
  const x509::SerialNumber serial = ca.serial();
  const std::string_view what = serial.negative()        ? "is negative"
                                : serial.bytes().empty() ? "is zero"
                                : serial.bytes().size() > kMaxSerialOctets
                                    ? "has more than 20 octets"
                                    : "";
  if (what.empty()) return;
  findings.push_back({Severity::kWarning, "serial",
                      absl::StrCat("its serial number ", what,
                                   ", which RFC 5280 forbids and Go or rustls peers may refuse"),
                      scope.Named(ca),
                      "have it issued again with a positive one of 8 to 20 octets"});
}

// Its own name and its issuer's: either keeps it from being parsed.
void CheckReadable(const Scope& scope, const x509::Certificate& ca, Findings& findings) {
  for (const auto& [which, der] :
       {std::pair{"subject", ca.subject_der()}, std::pair{"issuer", ca.issuer_der()}}) {
    const absl::Status readable = x509::CheckEnvoyReadsName(der);
    if (readable.ok()) continue;
    findings.push_back(
        {Severity::kError, "unreadable-name",
         absl::StrCat("Envoy cannot read it, though OpenSSL may: in its ", which, ", ",
                      readable.message(), "; ",
                      scope.IsRoot(ca) ? "every Envoy would refuse the whole bundle with it"
                                       : "every Envoy would refuse the leaves below it, its own "
                                         "and its peers'"),
         scope.Named(ca), "have it issued again, with plain text in its names"});
    return;
  }
}

void CheckMaySign(const Scope& scope, const x509::Certificate& ca, Findings& findings) {
  const auto error = [&](std::string code, std::string what, std::string remedy) {
    findings.push_back(
        {Severity::kError, std::move(code), std::move(what), scope.Named(ca), std::move(remedy)});
  };
  if (ca.version() != 3) {
    error("version",
          absl::StrCat("it is of version ", ca.version(),
                       " and so has no extensions: Envoy takes none but version 3 as a CA"),
          "have it issued as a version 3 CA");
    return;
  }
  if (!ca.is_ca()) {
    error("not-a-ca",
          "it is not a CA (no basicConstraints CA:TRUE): no peer accepts what it signed",
          "have it issued with basicConstraints CA:TRUE");
  }
  if (!ca.key_usage().has_value()) {
    findings.push_back({Severity::kNote, "no-key-usage",
                        "it has no keyUsage: Envoy, Go and OpenSSL accept that, strict verifiers "
                        "do not",
                        scope.Named(ca), "have it issued with keyUsage keyCertSign, cRLSign"});
  } else if ((*ca.key_usage() & x509::kKeyCertSign) == 0) {
    error("no-key-cert-sign", "its keyUsage lacks keyCertSign: no peer accepts what it signed",
          "have it issued with keyCertSign");
  }
}

// Intermediates that name themselves as issuer do not count (RFC 5280 section 4.2.1.9).
void CheckPathLengths(const Scope& scope, Findings& findings) {
  int below = 0;
  for (const x509::Certificate& ca : trust::CasOf(scope.wanted())) {
    if (ca.path_length().has_value() && *ca.path_length() < below) {
      findings.push_back({Severity::kError, "path-length",
                          absl::StrCat("it allows ", *ca.path_length(),
                                       " intermediates below it and the chain has ", below),
                          scope.Named(ca),
                          "have it issued with a longer path length, or shorten the chain"});
    }
    if (ca.subject_der() != ca.issuer_der()) ++below;
  }
}

void CheckConstraintsOf(const Scope& scope, const x509::Certificate& ca, Findings& findings) {
  const std::optional<std::string> der = ca.name_constraints_der();
  if (!der.has_value()) return;
  const absl::StatusOr<x509::NameConstraints> constraints = x509::ParseNameConstraints(*der);
  const std::string& domain = scope.input.sample_id.trust_domain().name();
  if (!constraints.ok()) {
    findings.push_back(
        {Severity::kError, "name-constraints",
         absl::StrCat("its name constraints cannot be used: ", constraints.status().message()),
         scope.Named(ca), "have it issued without them, or with sound ones"});
    return;
  }
  if (!constraints->AdmitsUriHost(domain)) {
    findings.push_back(
        {Severity::kError, "name-constraints",
         absl::StrCat("its name constraints exclude URIs of the trust domain ", domain,
                      ": every leaf below it is refused"),
         scope.Named(ca),
         absl::StrCat("have it issued with permitted;URI:", domain, ", or without constraints")});
  } else {
    findings.push_back({Severity::kNote, "name-constraints",
                        absl::StrCat("it has name constraints, which admit the trust domain ",
                                     domain, "; for another trust domain it is of no use"),
                        scope.Named(ca), ""});
  }
  if (constraints->constrains_ips) {
    findings.push_back({Severity::kWarning, "name-constraints-ip",
                        "it constrains IP addresses, which Envoy does not support: it refuses "
                        "every certificate below with an IP address in it, such as the control "
                        "plane's own may have",
                        scope.Named(ca), "have it issued without constraints on IP addresses"});
  }
}

}  // namespace

void CheckShape(const Scope& scope, Findings& findings) {
  for (const x509::Certificate& ca : scope.candidate) {
    CheckReadable(scope, ca, findings);
    CheckMaySign(scope, ca, findings);
    CheckCritical(scope, ca, findings);
    CheckSignature(scope, ca, findings);
    CheckSerial(scope, ca, findings);
  }
  CheckPathLengths(scope, findings);
}

void CheckNameConstraints(const Scope& scope, Findings& findings) {
  for (const x509::Certificate& ca : trust::CasOf(scope.wanted())) {
    CheckConstraintsOf(scope, ca, findings);
  }
}

}  // namespace capstan::rotation::preflight
