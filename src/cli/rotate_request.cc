// SPDX-License-Identifier: Apache-2.0
#include "cli/rotate_request.h"

#include <cmath>

#include "base/files.h"
#include "base/secret.h"
#include "base/status.h"
#include "cli/time_text.h"
#include "trust/ca_set.h"
#include "trust/canary.h"
#include "x509/crl.h"

namespace capstan::cli {
namespace {

constexpr char kCrlFile[] = "ca-crl.pem";

absl::StatusOr<absl::Duration> ParseFlag(const std::string& flag, const std::string& value,
                                         const std::string& example) {
  absl::Duration duration;
  if (!absl::ParseDuration(value, &duration) || duration < absl::ZeroDuration() ||
      duration == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " \"", value, "\" is no duration, such as ", example));
  }
  return duration;
}

absl::Status CheckSource(const RotateFlags& flags) {
  if (!flags.to.empty() + flags.generate + flags.from_upstream != 1) {
    return absl::InvalidArgumentError(
        "what to rotate to: one of --to DIR (a CA you made), --generate (a new root), --generate "
        "--intermediate (a new intermediate under the same root) and --from-upstream (what the "
        "CA directory holds that capstand follows)");
  }
  if (flags.intermediate && !flags.generate) {
    return absl::InvalidArgumentError(
        "--intermediate goes with --generate: with --to, the directory says what is signed with");
  }
  return absl::OkStatus();
}

absl::StatusOr<trust::CaFiles> ReadCaFiles(const std::string& directory) {
  trust::CaFiles files;
  for (const std::string& name : trust::CaFileNames()) {
    const std::string path = absl::StrCat(directory, "/", name);
    absl::StatusOr<std::string> bytes = ReadFile(path);
    if (bytes.ok()) {
      files.emplace(name, *std::move(bytes));
    } else if (!absl::IsNotFound(bytes.status())) {
      return bytes.status();
    }
  }
  return files;
}

// The warnings.
absl::StatusOr<std::vector<std::string>> CheckFiles(trust::CaFiles files, absl::Time now) {
  if (auto crls = files.find(kCrlFile); crls != files.end()) {
    CAPSTAN_RETURN_IF_ERROR(Annotate(x509::ParsePemCrls(crls->second).status(), kCrlFile));
    files.erase(crls);
  }
  absl::StatusOr<trust::CaSet> set = trust::ParseCaSet(files, now);
  for (auto& [name, bytes] : files) WipeBytes(bytes);
  if (!set.ok()) return set.status();
  return set->warnings;
}

}  // namespace

absl::StatusOr<control::v1::RotationPolicy> ToPolicy(const RotateFlags& flags) {
  control::v1::RotationPolicy policy;
  if (!flags.soak.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(absl::Duration soak, ParseFlag("--soak", flags.soak, "30s or 10m"));
    *policy.mutable_soak() = FromDuration(soak);
  }
  if (flags.absent == "wait") {
    *policy.mutable_absent_deadline() = FromDuration(absl::InfiniteDuration());
  } else if (!flags.absent.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(absl::Duration deadline,
                             ParseFlag("--absent", flags.absent, "24h, and not \"wait\" either"));
    *policy.mutable_absent_deadline() = FromDuration(deadline);
  }
  if (!flags.require.empty() && flags.require != "proven") {
    return absl::InvalidArgumentError(
        absl::StrCat("--require \"", flags.require, "\": it may be \"proven\""));
  }
  policy.set_require_proven(flags.require == "proven");
  if (!std::isfinite(flags.budget) || flags.budget < 0) {
    return absl::InvalidArgumentError("--budget is a number of certificates a second, 0 or more");
  }
  policy.set_issue_per_second(flags.budget);
  return policy;
}

absl::StatusOr<RotateRequest> ToRequest(const RotateFlags& flags, absl::Time now) {
  CAPSTAN_RETURN_IF_ERROR(CheckSource(flags));
  RotateRequest request;
  CAPSTAN_ASSIGN_OR_RETURN(*request.message.mutable_policy(), ToPolicy(flags));
  request.message.set_emergency(flags.emergency);
  if (!flags.canary.empty()) {
    CAPSTAN_RETURN_IF_ERROR(Annotate(trust::Canary::Parse(flags.canary).status(), "--canary"));
    request.message.set_canary(flags.canary);
  }
  if (flags.generate) {
    request.message.set_generate(true);
    request.message.set_intermediate_only(flags.intermediate);
    return request;
  }
  if (flags.from_upstream) {
    request.message.set_from_upstream(true);
    return request;
  }
  CAPSTAN_ASSIGN_OR_RETURN(trust::CaFiles files, ReadCaFiles(flags.to));
  absl::StatusOr<std::vector<std::string>> warnings = CheckFiles(files, now);
  if (!warnings.ok()) {
    for (auto& [name, bytes] : files) WipeBytes(bytes);
    return absl::InvalidArgumentError(
        absl::StrCat("--to ", flags.to, ": ", warnings.status().message()));
  }
  request.warnings = *std::move(warnings);
  for (auto& [name, bytes] : files) {
    (*request.message.mutable_ca_files())[name] = std::move(bytes);
  }
  return request;
}

void Wipe(control::v1::StartRotationRequest& request) {
  for (auto& [name, bytes] : *request.mutable_ca_files()) WipeBytes(bytes);
}

}  // namespace capstan::cli
