// SPDX-License-Identifier: Apache-2.0
#include "cluster/signing_policy.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/strings.h"

namespace capstan::cluster {
namespace {

// What every workload's leaf is good for, in the words of Kubernetes and of X.509.
constexpr std::array<std::string_view, 4> kUsages = {"digital signature", "key encipherment",
                                                     "server auth", "client auth"};
constexpr uint32_t kKeyUsage = x509::kDigitalSignature | x509::kKeyEncipherment;
constexpr std::array<std::string_view, 2> kExtendedKeyUsage = {"serverAuth", "clientAuth"};

template <typename List>
bool Contains(const List& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

std::optional<Refusal> CheckUsages(const std::vector<std::string>& usages) {
  for (const std::string& usage : usages) {
    if (Contains(kUsages, usage)) continue;
    return Refusal{"UsageNotAllowed",
                   absl::StrCat("the usage \"", absl::CEscape(usage),
                                "\" is not one of a workload's certificate: digital signature, key "
                                "encipherment, server auth, client auth")};
  }
  return std::nullopt;
}

std::optional<Refusal> CheckExtensions(const x509::Extensions& asked) {
  const auto refusal = [](std::string_view what) {
    return Refusal{
        "ExtensionNotAllowed",
        absl::StrCat("the CSR asks for ", what, ", which a workload's certificate does not have")};
  };
  if (asked.basic_constraints.has_value() && asked.basic_constraints->ca) {
    return refusal("a CA certificate (CA:TRUE)");
  }
  if (asked.key_usage.has_value() && (asked.key_usage->bits & ~kKeyUsage) != 0) {
    return refusal("a key usage other than digitalSignature and keyEncipherment");
  }
  for (const std::string& usage : asked.extended_key_usage) {
    if (!Contains(kExtendedKeyUsage, usage)) {
      return refusal(absl::StrCat("the extended key usage ", usage));
    }
  }
  return std::nullopt;
}

// Istio asks with an empty organization.
std::optional<Refusal> CheckSubject(const x509::Name& subject) {
  for (const auto& [type, value] : subject.attributes) {
    if (value.empty()) continue;
    return Refusal{
        "SubjectNotAllowed",
        absl::StrCat("the CSR asks for the subject \"", absl::CEscape(x509::ToRfc2253(subject)),
                     "\": a workload is named by its SPIFFE ID alone")};
  }
  return std::nullopt;
}

bool IsServiceAccounts(const spiffe::SpiffeId& id) {
  const std::vector<std::string> parts = absl::StrSplit(id.path(), '/');
  return parts.size() == 5 && parts[1] == "ns" && parts[3] == "sa";
}

std::variant<spiffe::SpiffeId, Refusal> NameIn(const x509::SubjectAltNames& sans,
                                               const spiffe::TrustDomain& trust_domain) {
  const auto refusal = [](auto... why) {
    return Refusal{"NameNotAllowed", absl::StrCat("the CSR ", why...)};
  };
  if (!sans.dns.empty() || !sans.ips.empty() || !sans.emails.empty()) {
    return refusal("asks for a name that is no SPIFFE ID: ",
                   !sans.dns.empty()   ? absl::CEscape(sans.dns.front())
                   : !sans.ips.empty() ? sans.ips.front()
                                       : absl::CEscape(sans.emails.front()));
  }
  if (sans.uris.size() != 1) {
    return refusal("asks for ", sans.uris.size(), " URIs: one is wanted, ", trust_domain.IdString(),
                   "/ns/NAMESPACE/sa/ACCOUNT");
  }
  absl::StatusOr<spiffe::SpiffeId> id = spiffe::SpiffeId::Parse(sans.uris.front());
  if (!id.ok()) {
    return refusal("asks for \"", absl::CEscape(sans.uris.front()),
                   "\", which is no SPIFFE ID: ", id.status().message());
  }
  if (id->trust_domain() != trust_domain) {
    return refusal("asks for ", id->ToString(), ": the trust domain here is ", trust_domain.name());
  }
  if (!IsServiceAccounts(*id)) {
    return refusal("asks for ", id->ToString(),
                   ", which is not the identity of a service account (", trust_domain.IdString(),
                   "/ns/NAMESPACE/sa/ACCOUNT)");
  }
  return *std::move(id);
}

}  // namespace

std::variant<WantedLeaf, Refusal> JudgeSigningRequest(const kube::SigningRequest& request,
                                                      const spiffe::TrustDomain& trust_domain,
                                                      absl::Duration max_ttl) {
  absl::StatusOr<x509::Csr> csr = x509::Csr::Parse(request.csr);
  if (!csr.ok()) return Refusal{"InvalidRequest", std::string(csr.status().message())};
  if (auto refusal = CheckUsages(request.usages)) return *std::move(refusal);
  if (auto refusal = CheckExtensions(csr->extensions())) return *std::move(refusal);
  if (auto refusal = CheckSubject(csr->subject())) return *std::move(refusal);
  auto name = NameIn(csr->extensions().sans, trust_domain);
  if (auto* refusal = std::get_if<Refusal>(&name)) return std::move(*refusal);
  return WantedLeaf{std::get<spiffe::SpiffeId>(std::move(name)), *std::move(csr),
                    std::min(request.expiration.value_or(absl::ZeroDuration()), max_ttl)};
}

}  // namespace capstan::cluster
