// SPDX-License-Identifier: Apache-2.0
#include "kube/token_review.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/json.h"
#include "base/status.h"

namespace capstan::kube {
namespace {

std::vector<std::string> TextsOf(const Json& object, std::string_view field) {
  std::vector<std::string> texts;
  const Json* list = Member(object, field);
  if (list == nullptr || !list->is_array()) return texts;
  for (const Json& item : *list) {
    if (item.is_string()) texts.push_back(item.get<std::string>());
  }
  return texts;
}

std::string FirstOf(const Json* extra, std::string_view field) {
  if (extra == nullptr) return "";
  const std::vector<std::string> values =
      TextsOf(*extra, absl::StrCat("authentication.kubernetes.io/", field));
  return values.empty() ? "" : values.front();
}

absl::Status Refused(std::string_view why) {
  return absl::UnauthenticatedError(
      absl::StrCat("the API server does not accept the token: ", why));
}

absl::StatusOr<ServiceAccount> AccountOf(const Json& user) {
  const std::string name = TextAt(user, {"username"});
  const std::vector<std::string> parts = absl::StrSplit(name, ':');
  if (parts.size() != 4 || parts[0] != "system" || parts[1] != "serviceaccount" ||
      parts[2].empty() || parts[3].empty()) {
    return Refused(absl::StrCat("it is \"", absl::CEscape(name), "\"'s, not a service account's"));
  }
  const Json* extra = Member(user, "extra");
  return ServiceAccount{parts[2], parts[3], FirstOf(extra, "pod-name"), FirstOf(extra, "pod-uid"),
                        FirstOf(extra, "node-name")};
}

}  // namespace

absl::StatusOr<ServiceAccount> ReviewToken(Client& client, const Secret& token,
                                           const std::vector<std::string>& audiences) {
  const Json review = {{"apiVersion", "authentication.k8s.io/v1"},
                       {"kind", kTokenReviews.kind},
                       {"spec", {{"token", token.Reveal()}, {"audiences", audiences}}}};
  const absl::StatusOr<Json> answer = client.Create(kTokenReviews, {}, review);
  // Not to be taken for a judgement about the token.
  if (absl::IsUnauthenticated(answer.status())) {
    return absl::FailedPreconditionError(answer.status().message());
  }
  CAPSTAN_RETURN_IF_ERROR(answer.status());
  const Json* status = Member(*answer, "status");
  const Json* authenticated = status == nullptr ? nullptr : Member(*status, "authenticated");
  if (authenticated == nullptr || !authenticated->is_boolean() || !authenticated->get<bool>()) {
    const std::string why = TextAt(*answer, {"status", "error"});
    return Refused(why.empty() ? "it does not say why" : why);
  }
  // A server that knows no audiences answers without them, and would accept a token meant for
  // itself.
  const std::vector<std::string> accepted = TextsOf(*status, "audiences");
  const bool ours = std::any_of(audiences.begin(), audiences.end(), [&](const std::string& wanted) {
    return std::find(accepted.begin(), accepted.end(), wanted) != accepted.end();
  });
  if (!ours) {
    return Refused(absl::StrCat("it is not for ", absl::StrJoin(audiences, " or ")));
  }
  const Json* user = Member(*status, "user");
  if (user == nullptr) return Refused("it does not say whose it is");
  return AccountOf(*user);
}

}  // namespace capstan::kube
