// SPDX-License-Identifier: Apache-2.0
#include "authn/service_account.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "authn/jwt.h"
#include "base/status.h"
#include "base/strings.h"

namespace capstan::authn {
namespace {

constexpr size_t kTokenInstanceBytes = 8;  // of the hash

std::vector<absl::string_view> PartsOf(const Secret& token) {
  return absl::StrSplit(token.Reveal(), '.');
}

bool IsBase64Url(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
  });
}

}  // namespace

bool LooksLikeJwt(const Secret& token) {
  if (token.Reveal().size() > kMaxJwtBytes) return false;
  const std::vector<absl::string_view> parts = PartsOf(token);
  return parts.size() == 3 && std::all_of(parts.begin(), parts.end(), IsBase64Url);
}

absl::StatusOr<absl::Time> ExpiryOfJwt(const Secret& token) {
  CAPSTAN_ASSIGN_OR_RETURN(const Jwt jwt, ParseJwt(token));
  return jwt.expires.value_or(absl::InfiniteFuture());
}

absl::StatusOr<Caller> CallerOf(const kube::ServiceAccount& account,
                                const spiffe::TrustDomain& trust_domain, std::string token_hash) {
  CAPSTAN_ASSIGN_OR_RETURN(spiffe::SpiffeId id, spiffe::SpiffeId::ForServiceAccount(
                                                    trust_domain, account.ns, account.name));
  return Caller{.id = std::move(id),
                .proof = Caller::Proof::kServiceAccount,
                .token_hash = std::move(token_hash),
                .pod_name = account.pod_name,
                .pod_uid = account.pod_uid};
}

std::optional<kube::ObjectName> AccountIn(const spiffe::SpiffeId& id) {
  const std::vector<std::string> parts = absl::StrSplit(id.path(), '/');
  if (parts.size() != 5 || parts[1] != "ns" || parts[3] != "sa") return std::nullopt;
  return kube::ObjectName{parts[2], parts[4]};
}

std::string InstanceOf(const Caller& caller) {
  if (!caller.node_proxy.empty()) return absl::StrCat("node-proxy:", caller.pod_uid);
  if (!caller.pod_uid.empty()) return absl::StrCat("pod:", caller.pod_uid);
  return absl::StrCat("token:",
                      absl::BytesToHexString(caller.token_hash.substr(0, kTokenInstanceBytes)));
}

}  // namespace capstan::authn
