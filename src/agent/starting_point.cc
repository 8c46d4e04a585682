// SPDX-License-Identifier: Apache-2.0
#include "agent/starting_point.h"

#include <utility>

#include "base/status.h"
#include "lifecycle/check_answer.h"

namespace capstan::agent {

std::string HowToJoin(const std::string& spiffe_id) {
  return absl::StrCat("on the control plane's machine run `capstan token create --spiffe-id ",
                      spiffe_id,
                      " --ttl 10m --out join.json`, bring the file here and start again with "
                      "--join-file join.json");
}

namespace {

absl::Status CheckSameMesh(const Found& found, const authn::JoinFile& join) {
  if (found.membership && found.membership->spiffe_id != join.spiffe_id) {
    return absl::FailedPreconditionError(absl::StrCat(
        found.join_path, " is for ", join.spiffe_id.ToString(), ", but the state directory ",
        found.state_dir, " is of ", found.membership->spiffe_id.ToString(),
        ": give each identity a --state-dir of its own, or remove this one to change the "
        "identity"));
  }
  if (found.trust && found.trust->version.lineage != join.bundle_version.lineage) {
    return absl::FailedPreconditionError(absl::StrCat(
        found.join_path, " is of the control plane with lineage ", join.bundle_version.lineage,
        ", but the state directory ", found.state_dir, " is of ", found.trust->version.lineage,
        ": remove the state directory to join another control plane"));
  }
  return absl::OkStatus();
}

lifecycle::Trust TrustOf(const authn::JoinFile& join) {
  return {.version = join.bundle_version, .bundle = join.bundle, .crl_number = 0, .crls_pem = ""};
}

// Puts membership and trust together from both sources; the newer bundle wins.
absl::StatusOr<StartingPoint> Combine(const Found& found,
                                      const std::optional<authn::JoinFile>& join) {
  if (join) {
    CAPSTAN_RETURN_IF_ERROR(CheckSameMesh(found, *join));
    StartingPoint point{.membership = {join->address, join->server_id, join->spiffe_id},
                        .trust = TrustOf(*join)};
    if (found.trust && found.trust->version.sequence >= join->bundle_version.sequence) {
      point.trust = *found.trust;
    } else if (found.trust) {
      point.trust.crl_number = found.trust->crl_number;
      point.trust.crls_pem = found.trust->crls_pem;
    }
    return point;
  }
  if (found.membership && found.trust) {
    return StartingPoint{.membership = *found.membership, .trust = *found.trust};
  }
  const std::string missing =
      found.join_path.empty() ? "no --join-file is given"
                              : absl::StrCat("the join file ", found.join_path, " does not exist");
  return absl::FailedPreconditionError(absl::StrCat(
      "this agent is not a member of any mesh: the state directory ", found.state_dir,
      " holds no credential, and ", missing, "; ", HowToJoin("spiffe://TRUST-DOMAIN/ns/NS/sa/SA")));
}

absl::StatusOr<lifecycle::Leaf> CheckCredential(const StartingPoint& point,
                                                const Credential& credential, absl::Time now) {
  CAPSTAN_ASSIGN_OR_RETURN(
      const lifecycle::CheckedAnswer checked,
      lifecycle::CheckChain(credential.chain, {.id = point.membership.spiffe_id,
                                               .key = credential.key.public_key(),
                                               .ttl = absl::ZeroDuration(),
                                               .bundle = point.trust.bundle,
                                               .now = now}));
  return checked.leaf;
}

// Whether the control plane might take it all the same: it is ours, and was good once.
bool MayRejoin(const StartingPoint& point, const Credential& credential, absl::Time now) {
  const x509::Certificate& leaf = credential.chain.front();
  const absl::StatusOr<spiffe::SpiffeId> id = leaf.SpiffeId();
  return id.ok() && *id == point.membership.spiffe_id && leaf.not_before() <= now;
}

}  // namespace

absl::StatusOr<StartingPoint> FindStartingPoint(const Found& found, absl::Time now) {
  // An unreadable join file matters only where it is needed.
  const std::optional<authn::JoinFile> join = found.join.ok() ? *found.join : std::nullopt;
  absl::StatusOr<StartingPoint> combined = Combine(found, join);
  if (!combined.ok()) return found.join.ok() ? combined.status() : found.join.status();
  StartingPoint point = *std::move(combined);

  std::string why = absl::StrCat("the state directory ", found.state_dir, " holds no credential");
  if (!found.credential.ok()) {
    why = std::string(found.credential.status().message());
  } else if (found.credential->has_value()) {
    const Credential& credential = **found.credential;
    absl::StatusOr<lifecycle::Leaf> leaf = CheckCredential(point, credential, now);
    if (leaf.ok()) {
      point.credential = credential;
      point.credential_leaf = *std::move(leaf);
      return point;
    }
    why = absl::StrCat("the credential in ", found.state_dir,
                       " is of no use any more: ", Std(leaf.status().message()));
  }
  if (found.credential.ok() && found.credential->has_value() &&
      MayRejoin(point, **found.credential, now)) {
    point.credential = **found.credential;
  }
  if (join && join->token_expires > now) {
    point.token = join->token;
    if (point.credential) point.lapsed = why;
    return point;
  }
  if (!found.join.ok()) {
    absl::StrAppend(&why, "; ", Std(found.join.status().message()));
  } else if (join) {
    absl::StrAppend(&why, "; the token in ", found.join_path, " expired at ",
                    absl::FormatTime(join->token_expires, absl::UTCTimeZone()));
  } else if (found.join_path.empty()) {
    absl::StrAppend(&why, "; no --join-file is given");
  } else {
    absl::StrAppend(&why, "; the join file ", found.join_path, " does not exist");
  }
  if (point.credential) {
    point.lapsed = why;
    return point;
  }
  return absl::FailedPreconditionError(
      absl::StrCat(why, ": ", HowToJoin(point.membership.spiffe_id.ToString())));
}

}  // namespace capstan::agent
