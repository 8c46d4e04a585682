// SPDX-License-Identifier: Apache-2.0
#include "lifecycle/accept_trust.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "x509/crl.h"

namespace capstan::lifecycle {
namespace {

// Far more than any mesh holds, and little enough for every Envoy.
constexpr size_t kMostRoots = 100;

}  // namespace

absl::Status CheckSuccessor(const Trust& held, const Trust& offered) {
  if (held.version.empty()) return absl::OkStatus();
  if (held.version.lineage != offered.version.lineage) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the control plane offers the trust of another store: lineage ", offered.version.lineage,
        ", not ", held.version.lineage,
        ". Its state was lost or replaced, or this is another control plane: restore its state "
        "directory; or, if the change is meant, remove this agent's state directory and join "
        "anew"));
  }
  if (offered.version.sequence < held.version.sequence) {
    return absl::FailedPreconditionError(
        absl::StrCat("the control plane offers trust bundle ", offered.version.sequence,
                     ", older than ", held.version.sequence,
                     " which it gave out before: its state went back in time (an old backup?); "
                     "restore the newer "
                     "state"));
  }
  if (offered.version == held.version && offered.bundle != held.bundle) {
    return absl::FailedPreconditionError(
        absl::StrCat("the control plane offers other roots under the bundle version ",
                     offered.version.ToString(), " that is held here already"));
  }
  if (offered.crl_number < held.crl_number) {
    return absl::FailedPreconditionError(
        absl::StrCat("the control plane offers CRL set ", offered.crl_number, ", older than ",
                     held.crl_number, " which it gave out before"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Trust> AcceptTrust(const Trust& held, const OfferedTrust& offered) {
  Trust next{.version = offered.version, .crl_number = offered.crl_number};
  if (offered.version.empty() || offered.version.sequence <= 0 || offered.crl_number < 0) {
    return absl::InvalidArgumentError("the offered trust has no valid version");
  }
  auto bundle = trust::Bundle::ParsePem(offered.roots_pem);
  if (!bundle.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the offered trust bundle: ", bundle.status().message()));
  }
  next.bundle = *std::move(bundle);
  if (next.bundle.empty() || next.bundle.roots().size() > kMostRoots) {
    return absl::InvalidArgumentError(absl::StrCat("the offered trust bundle holds ",
                                                   next.bundle.roots().size(), " roots; 1 to ",
                                                   kMostRoots, " are accepted"));
  }
  if (!offered.crls_pem.empty()) {
    auto crls = x509::ParsePemCrls(offered.crls_pem);
    if (!crls.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the offered CRLs: ", crls.status().message()));
    }
    next.crls_pem = x509::ToPem(*crls);
  }
  CAPSTAN_RETURN_IF_ERROR(CheckSuccessor(held, next));
  return next;
}

}  // namespace capstan::lifecycle
