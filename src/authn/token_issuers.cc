// SPDX-License-Identifier: Apache-2.0
#include "authn/token_issuers.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "authn/jwks.h"
#include "authn/jwt.h"
#include "base/files.h"
#include "base/status.h"
#include "base/strings.h"

namespace capstan::authn {
namespace {

constexpr std::string_view kDiscovery = "/.well-known/openid-configuration";
constexpr std::string_view kApiServerKeys = "/openid/v1/jwks";
constexpr size_t kMostBytes = 1 << 20;

bool IsUrl(std::string_view text) {
  return absl::StrContains(std::string(text), "://");
}

// Keys that come in the clear could be anybody's.
absl::Status CheckUrl(const std::string& url) {
  const bool loopback =
      (absl::StartsWith(url, "http://127.0.0.1:") || absl::StartsWith(url, "http://localhost:")) &&
      !absl::StrContains(url, "@");  // which would make that a user's name
  if (loopback || absl::StartsWith(url, "https://")) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("\"", url, "\" is not a URL with https"));
}

absl::StatusOr<TokenIssuer> ParseOne(const std::string& text) {
  const std::vector<std::string> words = absl::StrSplit(text, ' ', absl::SkipWhitespace());
  TokenIssuer issuer{words.front(), {}, "", ""};
  for (size_t i = 1; i < words.size(); ++i) {
    const std::pair<std::string, std::string> part =
        absl::StrSplit(words[i], absl::MaxSplits('=', 1));
    const auto& [name, value] = part;
    if (value.empty() || (name != "audience" && name != "jwks" && name != "ca")) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", words[i],
                       "\" is none of audience=NAME, jwks=FILE|URL and ca=FILE, "
                       "which may follow an issuer"));
    }
    if (name == "audience") {
      issuer.audiences.push_back(value);
    } else {
      (name == "jwks" ? issuer.jwks : issuer.ca) = value;
    }
  }
  // Where the keys come from somewhere else, the issuer is but a name.
  if (issuer.jwks.empty()) CAPSTAN_RETURN_IF_ERROR(CheckUrl(issuer.issuer));
  if (IsUrl(issuer.jwks)) CAPSTAN_RETURN_IF_ERROR(CheckUrl(issuer.jwks));
  return issuer;
}

absl::StatusOr<Json> GetJson(const std::string& url, const TokenIssuer& issuer, HttpClient& http) {
  CAPSTAN_RETURN_IF_ERROR(CheckUrl(url));
  HttpRequest request;
  request.url = url;
  request.headers = {"Accept: application/json, application/jwk-set+json"};
  request.timeout = absl::Seconds(5);
  request.max_bytes = kMostBytes;
  if (!issuer.ca.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(request.tls.ca_pem, ReadFile(issuer.ca));
  }
  CAPSTAN_ASSIGN_OR_RETURN(HttpReply reply, http.Call(request));
  if (reply.status != 200) {
    return absl::UnavailableError(absl::StrCat(url, " answers ", reply.status));
  }
  return ParseStrictJson(reply.body, url);
}

absl::StatusOr<TokenKeys> KeysOf(std::string issuer, const Json& jwks, std::string_view where) {
  absl::StatusOr<std::vector<Jwk>> keys = ParseJwks(jwks);
  if (!keys.ok()) return Annotate(keys.status(), where);
  return TokenKeys{std::move(issuer), *std::move(keys)};
}

}  // namespace

absl::StatusOr<std::vector<TokenIssuer>> ParseTokenIssuers(std::string_view text) {
  std::vector<TokenIssuer> issuers;
  for (const auto part : absl::StrSplit(std::string(text), ',', absl::SkipWhitespace())) {
    CAPSTAN_ASSIGN_OR_RETURN(TokenIssuer issuer, ParseOne(std::string(part)));
    for (const TokenIssuer& other : issuers) {
      if (other.issuer != issuer.issuer) continue;
      return absl::InvalidArgumentError(absl::StrCat("issuer \"", issuer.issuer, "\" is twice"));
    }
    issuers.push_back(std::move(issuer));
  }
  return issuers;
}

std::string ToString(const std::vector<TokenIssuer>& issuers) {
  return absl::StrJoin(issuers, ",", [](std::string* out, const TokenIssuer& issuer) {
    out->append(issuer.issuer);
    for (const std::string& audience : issuer.audiences) {
      absl::StrAppend(out, " audience=", audience);
    }
    if (!issuer.jwks.empty()) absl::StrAppend(out, " jwks=", issuer.jwks);
    if (!issuer.ca.empty()) absl::StrAppend(out, " ca=", issuer.ca);
  });
}

absl::StatusOr<TokenKeys> FetchKeys(const TokenIssuer& issuer, HttpClient& http) {
  std::string url = issuer.jwks;
  if (!url.empty() && !IsUrl(url)) {
    CAPSTAN_ASSIGN_OR_RETURN(const std::string text, ReadFile(url));
    CAPSTAN_ASSIGN_OR_RETURN(const Json jwks, ParseStrictJson(text, url));
    return KeysOf(issuer.issuer, jwks, url);
  }
  if (url.empty()) {
    const std::string discovery = absl::StrCat(absl::StripSuffix(issuer.issuer, "/"), kDiscovery);
    CAPSTAN_ASSIGN_OR_RETURN(const Json document, GetJson(discovery, issuer, http));
    if (TextAt(document, {"issuer"}) != issuer.issuer) {
      return absl::FailedPreconditionError(absl::StrCat(discovery, " is of another issuer: \"",
                                                        absl::CEscape(TextAt(document, {"issuer"})),
                                                        "\""));
    }
    url = TextAt(document, {"jwks_uri"});
  }
  CAPSTAN_ASSIGN_OR_RETURN(const Json jwks, GetJson(url, issuer, http));
  return KeysOf(issuer.issuer, jwks, url);
}

absl::StatusOr<TokenKeys> FetchKeys(kube::Client& client) {
  CAPSTAN_ASSIGN_OR_RETURN(const Json document, client.GetPath(std::string(kDiscovery)));
  const std::string issuer = TextAt(document, {"issuer"});
  if (issuer.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(client.access().server, " does not say as whom it issues tokens"));
  }
  CAPSTAN_ASSIGN_OR_RETURN(const Json jwks, client.GetPath(std::string(kApiServerKeys)));
  return KeysOf(issuer, jwks, client.access().server);
}

}  // namespace capstan::authn
