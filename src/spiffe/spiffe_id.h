// SPDX-License-Identifier: Apache-2.0
// Trust domains and SPIFFE IDs, as SPIFFE-ID.md (the SPIFFE Identity and Verifiable Identity
// Document standard, sections 2.1 to 2.3) defines them. Upper case is refused, not folded:
// implementations disagree on it.
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace capstan::spiffe {

class TrustDomain {
 public:
  // `name` is the bare name ("cluster.local"). InvalidArgument says what is wrong with it.
  static absl::StatusOr<TrustDomain> Parse(std::string_view name);

  const std::string& name() const { return name_; }
  std::string IdString() const;  // "spiffe://cluster.local"
  friend auto operator<=>(const TrustDomain&, const TrustDomain&) = default;

 private:
  explicit TrustDomain(std::string name) : name_(std::move(name)) {}
  std::string name_;
};

class SpiffeId {
 public:
  // At most 2048 bytes. The messages are those of go-spiffe, so that logs of both read alike.
  static absl::StatusOr<SpiffeId> Parse(std::string_view uri);

  // spiffe://<td>/ns/<ns>/sa/<sa>, the identity of an Istio service account.
  static absl::StatusOr<SpiffeId> ForServiceAccount(const TrustDomain& trust_domain,
                                                    std::string_view ns, std::string_view account);

  // spiffe://<td>/capstan/control-plane: the control plane's own identity. Everything under
  // /capstan/ is reserved: no workload can obtain it.
  static SpiffeId ForControlPlane(const TrustDomain& trust_domain);
  // spiffe://<td>/capstan/trust-history: who signs the links of the trust history.
  static SpiffeId ForTrustHistory(const TrustDomain& trust_domain);
  // spiffe://<td>/capstan/probe: what an agent shows its own consumers when it tries whom they
  // trust. Nobody calls with it.
  static SpiffeId ForProbe(const TrustDomain& trust_domain);
  bool IsReserved() const;

  const TrustDomain& trust_domain() const { return trust_domain_; }
  const std::string& path() const { return path_; }  // "" or "/…"
  std::string ToString() const { return trust_domain_.IdString() + path_; }
  friend auto operator<=>(const SpiffeId&, const SpiffeId&) = default;

 private:
  SpiffeId(TrustDomain trust_domain, std::string path)
      : trust_domain_(std::move(trust_domain)), path_(std::move(path)) {}
  TrustDomain trust_domain_;
  std::string path_;
};

}  // namespace capstan::spiffe
