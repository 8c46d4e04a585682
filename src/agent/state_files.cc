// SPDX-License-Identifier: Apache-2.0
#include "agent/state_files.h"

#include <cctype>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/status.h"

namespace capstan::agent {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kMembershipFormat[] = "capstan-agent-membership/1";
constexpr char kTrustFormat[] = "capstan-agent-trust/1";

// Invalid UTF-8 in a value would make dump() throw.
std::string Dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<Json> ParseObject(std::string_view text, std::string_view format) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("is not a JSON object");
  const auto found = json.find("format");
  if (found == json.end() || !found->is_string() || found->get<std::string>() != format) {
    return absl::InvalidArgumentError(absl::StrCat("\"format\" is not \"", format, "\""));
  }
  return json;
}

absl::StatusOr<std::string> TextAt(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is missing or not a string"));
  }
  return found->get<std::string>();
}

absl::StatusOr<int64_t> NumberAt(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_integer() ||
      (found->is_number_unsigned() && found->get<uint64_t>() > INT64_MAX)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is missing or not a number"));
  }
  return found->get<int64_t>();
}

absl::StatusOr<spiffe::SpiffeId> IdAt(const Json& json, const char* key) {
  CAPSTAN_ASSIGN_OR_RETURN(const std::string text, TextAt(json, key));
  auto id = spiffe::SpiffeId::Parse(text);
  if (!id.ok()) return Annotate(id.status(), absl::StrCat("\"", key, "\""));
  return id;
}

}  // namespace

std::string ToJson(const Membership& membership) {
  return Dump({{"format", kMembershipFormat},
               {"address", membership.address},
               {"server_id", membership.server_id.ToString()},
               {"spiffe_id", membership.spiffe_id.ToString()}});
}

std::string ToJson(const lifecycle::Trust& trust) {
  return Dump({{"format", kTrustFormat},
               {"lineage", trust.version.lineage},
               {"sequence", trust.version.sequence},
               {"roots", trust.bundle.ToPem()},
               {"crl_number", trust.crl_number},
               {"crls", trust.crls_pem}});
}

absl::StatusOr<Membership> ParseMembership(std::string_view text) {
  CAPSTAN_ASSIGN_OR_RETURN(const Json json, ParseObject(text, kMembershipFormat));
  CAPSTAN_ASSIGN_OR_RETURN(std::string address, TextAt(json, "address"));
  CAPSTAN_ASSIGN_OR_RETURN(spiffe::SpiffeId server_id, IdAt(json, "server_id"));
  CAPSTAN_ASSIGN_OR_RETURN(spiffe::SpiffeId spiffe_id, IdAt(json, "spiffe_id"));
  if (address.empty()) return absl::InvalidArgumentError("\"address\" is empty");
  return Membership{std::move(address), std::move(server_id), std::move(spiffe_id)};
}

absl::StatusOr<lifecycle::Trust> ParseTrust(std::string_view text) {
  CAPSTAN_ASSIGN_OR_RETURN(const Json json, ParseObject(text, kTrustFormat));
  lifecycle::OfferedTrust stored;
  CAPSTAN_ASSIGN_OR_RETURN(stored.version.lineage, TextAt(json, "lineage"));
  CAPSTAN_ASSIGN_OR_RETURN(stored.version.sequence, NumberAt(json, "sequence"));
  CAPSTAN_ASSIGN_OR_RETURN(const std::string roots, TextAt(json, "roots"));
  CAPSTAN_ASSIGN_OR_RETURN(stored.crl_number, NumberAt(json, "crl_number"));
  CAPSTAN_ASSIGN_OR_RETURN(const std::string crls, TextAt(json, "crls"));
  stored.roots_pem = roots;
  stored.crls_pem = crls;
  return lifecycle::AcceptTrust(lifecycle::Trust{}, stored);
}

absl::StatusOr<Credential> ParseCredential(std::string_view chain_pem, std::string_view key_pem) {
  auto chain = x509::ParsePemCertificates(chain_pem);
  if (!chain.ok()) return Annotate(chain.status(), "the certificate");
  auto key = x509::PrivateKey::ParsePem(key_pem);
  if (!key.ok()) return Annotate(key.status(), "the key");
  if (!(key->public_key() == chain->front().public_key())) {
    return absl::InvalidArgumentError("the key is not the certificate's");
  }
  return Credential{*std::move(key), *std::move(chain)};
}

absl::StatusOr<std::string> ParseInstance(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  bool good = text.size() == 36;
  for (size_t i = 0; good && i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    good = dash ? text[i] == '-' : std::isxdigit(static_cast<unsigned char>(text[i])) != 0;
  }
  if (!good) return absl::InvalidArgumentError("is not a UUID");
  return std::string(text);
}

}  // namespace capstan::agent
