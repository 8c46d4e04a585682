// SPDX-License-Identifier: Apache-2.0
#include "authn/jwt.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/strings.h"

namespace capstan::authn {
namespace {

constexpr size_t kMostOfAText = 128;  // in messages
// Beyond it a double is no exact number of seconds any more.
constexpr double kLastSecond = 1e15;

absl::Status Malformed(std::string_view where, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("the token's ", where, " ", why));
}

std::string Shown(std::string_view text) {
  return absl::StrCat("\"", absl::CEscape(text.substr(0, kMostOfAText)), "\"");
}

absl::StatusOr<Json> ReadPart(std::string_view text, const std::string& what) {
  const std::optional<std::string> bytes = DecodeBase64Url(text);
  if (!bytes.has_value()) return Malformed(what, "is not base64url");
  CAPSTAN_ASSIGN_OR_RETURN(Json part, ParseStrictJson(*bytes, absl::StrCat("the token's ", what)));
  if (!part.is_object()) return Malformed(what, "is no JSON object");
  return part;
}

// "" where there is no such member.
absl::StatusOr<std::string> ClaimText(const Json& object, const std::string& name) {
  const Json* value = Member(object, name);
  if (value == nullptr) return "";
  if (!value->is_string()) return Malformed(Shown(name), "is not a string");
  return value->get<std::string>();
}

absl::StatusOr<std::optional<absl::Time>> TimeAt(const Json& claims, const std::string& name) {
  const Json* value = Member(claims, name);
  if (value == nullptr) return std::nullopt;
  // RFC 7519 lets the seconds have a fraction.
  const double seconds = value->is_number() ? value->get<double>() : std::nan("");
  if (!(std::abs(seconds) <= kLastSecond)) return Malformed(Shown(name), "is no time");
  return absl::UnixEpoch() + absl::Seconds(seconds);
}

absl::StatusOr<std::vector<std::string>> AudiencesAt(const Json& claims) {
  const Json* value = Member(claims, "aud");
  if (value == nullptr) return std::vector<std::string>();
  if (value->is_string()) return std::vector<std::string>{value->get<std::string>()};
  std::vector<std::string> audiences;
  for (const Json& one : value->is_array() ? *value : Json::array({nullptr})) {
    if (!one.is_string()) return Malformed("\"aud\"", "is neither a string nor a list of strings");
    audiences.push_back(one.get<std::string>());
  }
  return audiences;
}

absl::StatusOr<std::optional<kube::ServiceAccount>> KubernetesAt(const Json& claims) {
  const Json* claim = Member(claims, "kubernetes.io");
  if (claim == nullptr) return std::nullopt;
  const Json none = Json::object();
  const auto within = [&](std::string_view name) {
    const Json* value = Member(*claim, name);
    return value == nullptr ? none : *value;
  };
  if (!claim->is_object()) return Malformed("\"kubernetes.io\"", "is no object");
  kube::ServiceAccount account;
  CAPSTAN_ASSIGN_OR_RETURN(account.ns, ClaimText(*claim, "namespace"));
  CAPSTAN_ASSIGN_OR_RETURN(account.name, ClaimText(within("serviceaccount"), "name"));
  CAPSTAN_ASSIGN_OR_RETURN(account.pod_name, ClaimText(within("pod"), "name"));
  CAPSTAN_ASSIGN_OR_RETURN(account.pod_uid, ClaimText(within("pod"), "uid"));
  CAPSTAN_ASSIGN_OR_RETURN(account.node_name, ClaimText(within("node"), "name"));
  return account;
}

absl::Status Refused(std::string_view why) {
  return absl::UnauthenticatedError(absl::StrCat("the token ", why));
}

std::string At(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

}  // namespace

std::optional<std::string> DecodeBase64Url(std::string_view text) {
  std::string bytes;
  // Abseil's decoder passes over blanks and takes padding; what it would write is what is taken.
  if (!absl::WebSafeBase64Unescape(text, &bytes) || absl::WebSafeBase64Escape(bytes) != text) {
    return std::nullopt;
  }
  return bytes;
}

absl::StatusOr<Json> ParseStrictJson(std::string_view text, std::string_view what) {
  CAPSTAN_ASSIGN_OR_RETURN(Json parsed, ParseJson(text, what));  // nothing too deep from here on
  std::vector<std::set<std::string>> open;
  std::optional<std::string> twice;
  const auto look = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key && !open.back().insert(value.get<std::string>()).second) {
      twice = value.get<std::string>();
    }
    return true;
  };
  static_cast<void>(Json::parse(text, look));
  if (!twice.has_value()) return parsed;
  return absl::InvalidArgumentError(
      absl::StrCat(what, ": the member ", Shown(*twice), " is there twice"));
}

absl::StatusOr<Jwt> ParseJwt(const Secret& token) {
  const std::string_view text = token.Reveal();
  if (text.size() > kMaxJwtBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the token has more than ", kMaxJwtBytes, " bytes"));
  }
  const size_t first = text.find('.');
  const size_t last = text.rfind('.');
  if (first == last || text.find('.', first + 1) != last) {
    return absl::InvalidArgumentError("the token is not the three parts of a JSON Web Token");
  }
  CAPSTAN_ASSIGN_OR_RETURN(const Json header, ReadPart(text.substr(0, first), "header"));
  CAPSTAN_ASSIGN_OR_RETURN(const Json claims,
                           ReadPart(text.substr(first + 1, last - first - 1), "claims"));
  std::optional<std::string> signature = DecodeBase64Url(text.substr(last + 1));
  if (!signature.has_value()) return Malformed("signature", "is not base64url");
  if (Member(header, "crit") != nullptr) {
    return Malformed("header", "has \"crit\": an extension that is not known here");
  }
  Jwt jwt;
  CAPSTAN_ASSIGN_OR_RETURN(jwt.algorithm, ClaimText(header, "alg"));
  CAPSTAN_ASSIGN_OR_RETURN(jwt.key_id, ClaimText(header, "kid"));
  CAPSTAN_ASSIGN_OR_RETURN(jwt.issuer, ClaimText(claims, "iss"));
  CAPSTAN_ASSIGN_OR_RETURN(jwt.subject, ClaimText(claims, "sub"));
  CAPSTAN_ASSIGN_OR_RETURN(jwt.audiences, AudiencesAt(claims));
  CAPSTAN_ASSIGN_OR_RETURN(jwt.expires, TimeAt(claims, "exp"));
  CAPSTAN_ASSIGN_OR_RETURN(jwt.not_before, TimeAt(claims, "nbf"));
  CAPSTAN_ASSIGN_OR_RETURN(jwt.issued_at, TimeAt(claims, "iat"));
  CAPSTAN_ASSIGN_OR_RETURN(jwt.kubernetes, KubernetesAt(claims));
  jwt.message = std::string(text.substr(0, last));
  jwt.signature = *std::move(signature);
  return jwt;
}

absl::Status CheckClaims(const Jwt& jwt, std::string_view issuer,
                         const std::vector<std::string>& audiences, absl::Duration skew,
                         absl::Time now) {
  if (jwt.issuer != issuer) {
    return Refused(absl::StrCat("is of the issuer ", Shown(jwt.issuer), ", not of ", issuer));
  }
  if (std::none_of(jwt.audiences.begin(), jwt.audiences.end(), [&](const std::string& one) {
        return std::find(audiences.begin(), audiences.end(), one) != audiences.end();
      })) {
    return Refused(absl::StrCat("is for ", Shown(absl::StrJoin(jwt.audiences, ", ")), ", not for ",
                                absl::StrJoin(audiences, " or ")));
  }
  if (!jwt.expires.has_value()) return Refused("never ends: it has no \"exp\"");
  if (now >= *jwt.expires + skew) {
    return Refused(absl::StrCat("expired at ", At(*jwt.expires), "; it is ", At(now), " here"));
  }
  for (const std::optional<absl::Time>& begin : {jwt.not_before, jwt.issued_at}) {
    if (begin.has_value() && now < *begin - skew) {
      return Refused(absl::StrCat("is not valid before ", At(*begin), "; it is ", At(now),
                                  " here: compare the clocks"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<kube::ServiceAccount> AccountOf(const Jwt& jwt) {
  const std::vector<std::string> parts = absl::StrSplit(jwt.subject, ':');
  if (parts.size() != 4 || parts[0] != "system" || parts[1] != "serviceaccount" ||
      parts[2].empty() || parts[3].empty()) {
    return Refused(absl::StrCat("is ", Shown(jwt.subject), "'s, not a service account's"));
  }
  kube::ServiceAccount account =
      jwt.kubernetes.value_or(kube::ServiceAccount{.ns = parts[2], .name = parts[3]});
  if (account.ns != parts[2] || account.name != parts[3]) {
    return Refused("says two things about whose it is");
  }
  return account;
}

}  // namespace capstan::authn
