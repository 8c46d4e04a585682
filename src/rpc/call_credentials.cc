// SPDX-License-Identifier: Apache-2.0
#include "rpc/call_credentials.h"

#include <grpc/grpc_security_constants.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/strings.h"

namespace capstan::rpc {
namespace {

constexpr std::string_view kBearer = "Bearer ";
constexpr size_t kMaxChainBytes = 64 << 10;
constexpr size_t kMaxChainLength = 10;
constexpr size_t kMaxNameBytes = 128;

std::string_view View(const grpc::string_ref& text) {
  return {text.data(), text.size()};
}

std::string PropertyOf(const grpc::AuthContext& context, const char* name) {
  std::vector<grpc::string_ref> values = context.FindPropertyValues(name);
  return values.empty() ? std::string() : std::string(View(values.front()));
}

// The leaf is a property of its own; the chain holds what came with it, with or without the leaf
// again (OpenSSL leaves it out on servers, BoringSSL does not).
absl::StatusOr<std::vector<x509::Certificate>> ParseChain(const std::string& leaf_pem,
                                                          const std::string& chain_pem) {
  if (leaf_pem.size() + chain_pem.size() > kMaxChainBytes) {
    return absl::InvalidArgumentError("certificate chain too large");
  }
  absl::StatusOr<std::vector<x509::Certificate>> chain = x509::ParsePemCertificates(leaf_pem);
  if (!chain.ok()) {
    return chain.status();
  }
  if (!chain_pem.empty()) {
    absl::StatusOr<std::vector<x509::Certificate>> rest = x509::ParsePemCertificates(chain_pem);
    if (!rest.ok()) {
      return rest.status();
    }
    for (x509::Certificate& certificate : *rest) {
      if (!(certificate == chain->front())) {
        chain->push_back(std::move(certificate));
      }
    }
  }
  if (chain->size() > kMaxChainLength) {
    return absl::InvalidArgumentError("certificate chain too long");
  }
  return chain;
}

}  // namespace

absl::StatusOr<std::vector<x509::Certificate>> PeerChainOf(const grpc::AuthContext& connection) {
  const std::string leaf_pem = PropertyOf(connection, GRPC_X509_PEM_CERT_PROPERTY_NAME);
  if (leaf_pem.empty()) return std::vector<x509::Certificate>();
  return ParseChain(leaf_pem, PropertyOf(connection, GRPC_X509_PEM_CERT_CHAIN_PROPERTY_NAME));
}

authn::Credentials CredentialsOf(const grpc::CallbackServerContext& context) {
  authn::Credentials shown;
  shown.peer = context.peer();
  auto chain = PeerChainOf(*context.auth_context());
  shown.peer_chain_malformed = !chain.ok();
  if (chain.ok()) shown.peer_chain = *std::move(chain);
  auto [first, last] = context.client_metadata().equal_range("authorization");
  for (auto it = first; it != last; ++it) {
    std::string_view value = View(it->second);
    if (absl::ConsumePrefix(&value, kBearer)) {
      shown.bearer = Secret(std::string(value));
      break;
    }
  }
  const auto [cluster, after] = context.client_metadata().equal_range("clusterid");
  if (cluster != after && std::next(cluster) == after) {
    shown.cluster = std::string(View(cluster->second));
  }
  return shown;
}

bool OnResumedSession(const grpc::CallbackServerContext& context) {
  return PropertyOf(*context.auth_context(), GRPC_SSL_SESSION_REUSED_PROPERTY) == "true";
}

absl::StatusOr<std::optional<std::string>> NameInMetadata(
    const grpc::CallbackServerContext& context, const std::string& key) {
  auto [first, last] = context.client_metadata().equal_range(key);
  if (first == last) {
    return std::nullopt;
  }
  if (std::next(first) != last) {
    return absl::InvalidArgumentError(absl::StrCat("metadata \"", key, "\" is given twice"));
  }
  std::string_view value = View(first->second);
  if (!IsName(value)) {
    return absl::InvalidArgumentError(absl::StrCat("metadata \"", key, "\" is not 1 to ",
                                                   kMaxNameBytes,
                                                   " printable characters without blanks"));
  }
  return std::string(value);
}

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

}  // namespace capstan::rpc
