// SPDX-License-Identifier: Apache-2.0
#include "authn/service_account.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/json.h"
#include "base/status.h"
#include "base/strings.h"

namespace capstan::authn {
namespace {

// Kubernetes' own are 1 to 2 KiB.
constexpr size_t kMaxJwtBytes = 12 << 10;
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
  if (!LooksLikeJwt(token)) return absl::InvalidArgumentError("the token is no JSON Web Token");
  const std::vector<absl::string_view> parts = PartsOf(token);
  std::string claims;
  if (!absl::WebSafeBase64Unescape(parts[1], &claims)) {
    return absl::InvalidArgumentError("the token's claims are not base64url");
  }
  CAPSTAN_ASSIGN_OR_RETURN(const Json payload, ParseJson(claims, "the token's claims"));
  if (!payload.is_object()) return absl::InvalidArgumentError("the token's claims are no object");
  const Json* end = Member(payload, "exp");
  if (end == nullptr) return absl::InfiniteFuture();
  // Seconds, and RFC 7519 lets them have a fraction.
  const double seconds = end->is_number() ? end->get<double>() : std::nan("");
  if (!std::isfinite(seconds)) {
    return absl::InvalidArgumentError("the token's \"exp\" is not a number");
  }
  return absl::UnixEpoch() + absl::Seconds(seconds);
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
