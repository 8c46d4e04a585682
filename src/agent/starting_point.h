// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/state_files.h"
#include "authn/join_file.h"
#include "lifecycle/accept_trust.h"
#include "lifecycle/machine.h"

namespace capstan::agent {

// The command that makes a join file for `spiffe_id`, and what to do with it.
std::string HowToJoin(const std::string& spiffe_id);

// What an agent finds when it starts.
struct Found {
  std::string state_dir;
  std::optional<Membership> membership;
  std::optional<lifecycle::Trust> trust;
  absl::StatusOr<std::optional<Credential>> credential = std::nullopt;
  std::string join_path;  // as configured; empty: none
  absl::StatusOr<std::optional<authn::JoinFile>> join = std::nullopt;
};

// What it starts from.
struct StartingPoint {
  Membership membership;
  lifecycle::Trust trust;
  // A credential that the control plane will know, or a token to obtain one; or, where the token
  // may have been used before, both, with a credential that lapsed.
  std::optional<Credential> credential;
  std::optional<lifecycle::Leaf> credential_leaf;
  // Why `credential` is good for nothing but to ask for its successor, which the control plane may
  // grant (its rejoin-grace); there is no leaf then. Empty: it is good.
  std::string lapsed;
  std::optional<Secret> token;
};

// A credential that chains to the trust and is valid at `now` is enough: a join file beside it
// lends its address and its newer bundle, its token stays unused, and that it is gone, used or
// expired is no matter. Without one the join file's token is needed; and where there is none that
// is good, or it was used, a credential that expired, or whose root is not held (any more), is
// tried.
//   FailedPrecondition: there is neither, with the command that helps; the join file is of another
//   mesh or identity than the state directory. Other codes: a file of the state cannot be used.
absl::StatusOr<StartingPoint> FindStartingPoint(const Found& found, absl::Time now);

}  // namespace capstan::agent
