// SPDX-License-Identifier: Apache-2.0
#include "cli/control_join.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/time/time.h"
#include "base/status.h"
#include "cli/time_text.h"

namespace capstan::cli {
namespace {

template <typename T>
absl::StatusOr<T> FromAnswer(absl::StatusOr<T> value, std::string_view what) {
  if (!value.ok()) {
    return absl::InternalError(
        absl::StrCat("capstand's answer: ", what, ": ", value.status().message()));
  }
  return value;
}

}  // namespace

absl::StatusOr<control::v1::CreateTokenRequest> TokenRequest(const std::string& spiffe_id,
                                                             const std::string& ttl) {
  absl::StatusOr<spiffe::SpiffeId> id = spiffe::SpiffeId::Parse(spiffe_id);
  if (!id.ok()) {
    return Annotate(id.status(), absl::StrCat("--spiffe-id \"", spiffe_id, "\""));
  }
  absl::Duration duration;
  if (!absl::ParseDuration(ttl, &duration) || duration < absl::Seconds(1) ||
      duration == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--ttl \"", ttl, "\" is no duration of a second or more, such as 10m or 24h"));
  }
  control::v1::CreateTokenRequest request;
  request.set_spiffe_id(id->ToString());
  request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(duration));
  return request;
}

absl::StatusOr<authn::JoinFile> JoinFileOf(const control::v1::CreateTokenRequest& request,
                                           const control::v1::CreateTokenResponse& response) {
  CAPSTAN_ASSIGN_OR_RETURN(
      spiffe::SpiffeId server_id,
      FromAnswer(spiffe::SpiffeId::Parse(response.server_spiffe_id()), "server_spiffe_id"));
  CAPSTAN_ASSIGN_OR_RETURN(spiffe::SpiffeId spiffe_id,
                           FromAnswer(spiffe::SpiffeId::Parse(request.spiffe_id()), "spiffe_id"));
  CAPSTAN_ASSIGN_OR_RETURN(trust::Bundle bundle,
                           FromAnswer(trust::Bundle::ParsePem(response.roots_pem()), "roots_pem"));
  authn::JoinFile join{.address = response.listen_address(),
                       .server_id = std::move(server_id),
                       .spiffe_id = std::move(spiffe_id),
                       .token = Secret(response.token()),
                       .token_expires = absl::FromUnixSeconds(response.expires().seconds()) +
                                        absl::Nanoseconds(response.expires().nanos()),
                       .bundle_version = {.lineage = response.bundle_version().lineage(),
                                          .sequence = response.bundle_version().sequence()},
                       .bundle = std::move(bundle)};
  // What an agent would refuse must not be written.
  CAPSTAN_ASSIGN_OR_RETURN(
      authn::JoinFile read,
      FromAnswer(authn::ParseJoinFile(authn::ToJson(join)), "makes no join file"));
  return read;
}

std::string TokenText(const authn::JoinFile& join, const std::string& file) {
  return absl::StrCat("Wrote ", file, ": ", join.spiffe_id.ToString(), " may join ", join.address,
                      " once, until ", Utc(join.token_expires),
                      ".\nStart its agent with: capstan-agent --join-file ", file, "\n");
}

std::string TokenJson(const authn::JoinFile& join, const std::string& file) {
  nlohmann::ordered_json json;
  json["file"] = file;
  json["spiffe_id"] = join.spiffe_id.ToString();
  json["address"] = join.address;
  json["expires"] = Utc(join.token_expires);
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace capstan::cli
