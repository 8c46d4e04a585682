// SPDX-License-Identifier: Apache-2.0
#include "authn/join_file.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "authn/token.h"
#include "base/status.h"
#include "base/strings.h"

namespace capstan::authn {
namespace {

using Json = nlohmann::ordered_json;

// Says what the file is, and lets a later layout be told from this one.
constexpr char kFormat[] = "capstan-join/1";
// A bundle of a hundred RSA-4096 roots is about 200 KiB.
constexpr size_t kMaxBytes = 4 << 20;

absl::Status Malformed(std::string_view key, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("join file: \"", key, "\" ", why));
}

absl::StatusOr<std::string> RequiredText(const Json& object, const char* key,
                                         std::string_view path) {
  auto found = object.find(key);
  if (found == object.end()) {
    return Malformed(path, "is missing");
  }
  if (!found->is_string()) {
    return Malformed(path, "is not a string");
  }
  std::string text = found->get<std::string>();
  if (text.empty()) {
    return Malformed(path, "is empty");
  }
  return text;
}

absl::StatusOr<std::string> RequiredText(const Json& object, const char* key) {
  return RequiredText(object, key, key);
}

absl::StatusOr<spiffe::SpiffeId> IdAt(const Json& object, const char* key) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string text, RequiredText(object, key));
  absl::StatusOr<spiffe::SpiffeId> id = spiffe::SpiffeId::Parse(text);
  if (!id.ok()) {
    return Malformed(key, absl::StrCat("is no SPIFFE ID: ", id.status().message()));
  }
  return id;
}

absl::StatusOr<std::string> AddressAt(const Json& object) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string address, RequiredText(object, "address"));
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 1 || port > 65535) {
    return Malformed("address", "is not HOST:PORT");
  }
  return address;
}

absl::StatusOr<trust::BundleVersion> VersionAt(const Json& object) {
  auto found = object.find("bundle_version");
  if (found == object.end()) {
    return Malformed("bundle_version", "is missing");
  }
  if (!found->is_object()) {
    return Malformed("bundle_version", "is not an object");
  }
  trust::BundleVersion version;
  CAPSTAN_ASSIGN_OR_RETURN(version.lineage,
                           RequiredText(*found, "lineage", "bundle_version.lineage"));
  auto sequence = found->find("sequence");
  if (sequence == found->end()) {
    return Malformed("bundle_version.sequence", "is missing");
  }
  if (!sequence->is_number_integer()) {
    return Malformed("bundle_version.sequence", "is not an integer");
  }
  if ((sequence->is_number_unsigned() && sequence->get<uint64_t>() > INT64_MAX) ||
      sequence->get<int64_t>() < 0) {
    return Malformed("bundle_version.sequence", "is out of range");
  }
  version.sequence = sequence->get<int64_t>();
  return version;
}

absl::StatusOr<absl::Time> TimeAt(const Json& object, const char* key) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string text, RequiredText(object, key));
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error)) {
    return Malformed(key, absl::StrCat("is no RFC 3339 time: ", error));
  }
  if (time == absl::InfiniteFuture() || time == absl::InfinitePast()) {  // Abseil reads these too
    return Malformed(key, "is no RFC 3339 time");
  }
  return time;
}

absl::StatusOr<Secret> TokenAt(const Json& object) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string text, RequiredText(object, "token"));
  Secret token(std::move(text));
  if (!LooksLikeToken(token)) {
    return Malformed("token", "is not one that `capstan token create` made");
  }
  return token;
}

absl::StatusOr<trust::Bundle> BundleAt(const Json& object) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string pem, RequiredText(object, "roots_pem"));
  absl::StatusOr<trust::Bundle> bundle = trust::Bundle::ParsePem(pem);
  if (!bundle.ok()) {
    return Malformed("roots_pem", absl::StrCat("is no trust bundle: ", bundle.status().message()));
  }
  return bundle;
}

absl::StatusOr<Json> ParseObject(std::string_view text) {
  if (text.size() > kMaxBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("join file: ", text.size(), " bytes, more than any join file has"));
  }
  // The parser says where it stopped, but also what it read last, which may be the token.
  try {
    Json json = Json::parse(text);
    if (!json.is_object()) {
      return absl::InvalidArgumentError("join file: not a JSON object");
    }
    return json;
  } catch (const Json::parse_error& error) {
    const std::string_view before = text.substr(0, std::min(error.byte, text.size()));
    return absl::InvalidArgumentError(absl::StrCat(
        "join file: not JSON at line ", 1 + std::count(before.begin(), before.end(), '\n'),
        " (byte ", error.byte, ")"));
  } catch (const Json::exception&) {
    return absl::InvalidArgumentError("join file: not JSON that can be read");
  }
}

}  // namespace

std::string ToJson(const JoinFile& join) {
  Json json;
  json["format"] = kFormat;
  json["address"] = join.address;
  json["server_id"] = join.server_id.ToString();
  json["spiffe_id"] = join.spiffe_id.ToString();
  json["token"] = join.token.Reveal();
  json["token_expires"] =
      absl::FormatTime(absl::RFC3339_full, join.token_expires, absl::UTCTimeZone());
  json["bundle_version"] = {{"lineage", join.bundle_version.lineage},
                            {"sequence", join.bundle_version.sequence}};
  json["roots_pem"] = join.bundle.ToPem();
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<JoinFile> ParseJoinFile(std::string_view text) {
  CAPSTAN_ASSIGN_OR_RETURN(Json json, ParseObject(text));
  CAPSTAN_ASSIGN_OR_RETURN(std::string format, RequiredText(json, "format"));
  if (format != kFormat) {
    return Malformed("format",
                     absl::StrCat("is not \"", kFormat, "\": written by another version"));
  }
  CAPSTAN_ASSIGN_OR_RETURN(std::string address, AddressAt(json));
  CAPSTAN_ASSIGN_OR_RETURN(spiffe::SpiffeId server_id, IdAt(json, "server_id"));
  CAPSTAN_ASSIGN_OR_RETURN(spiffe::SpiffeId spiffe_id, IdAt(json, "spiffe_id"));
  if (server_id.trust_domain() != spiffe_id.trust_domain()) {
    return Malformed("spiffe_id", "is of another trust domain than \"server_id\"");
  }
  CAPSTAN_ASSIGN_OR_RETURN(Secret token, TokenAt(json));
  CAPSTAN_ASSIGN_OR_RETURN(absl::Time expires, TimeAt(json, "token_expires"));
  CAPSTAN_ASSIGN_OR_RETURN(trust::BundleVersion version, VersionAt(json));
  CAPSTAN_ASSIGN_OR_RETURN(trust::Bundle bundle, BundleAt(json));
  return JoinFile{.address = std::move(address),
                  .server_id = std::move(server_id),
                  .spiffe_id = std::move(spiffe_id),
                  .token = std::move(token),
                  .token_expires = expires,
                  .bundle_version = std::move(version),
                  .bundle = std::move(bundle)};
}

}  // namespace capstan::authn
