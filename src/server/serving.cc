// SPDX-License-Identifier: Apache-2.0
#include "server/serving.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/jitter.h"
#include "base/status.h"
#include "server/host.h"
#include "x509/verify.h"

namespace capstan::server {
namespace {

constexpr absl::Duration kBackdate = absl::Minutes(2);

void AddHost(const std::string& host, ServingNames& names) {
  // "Any address" is nobody's name.
  if (host.empty() || host == "0.0.0.0" || host == "::") return;
  std::vector<std::string>& list = IsIpAddress(host) ? names.ips : names.dns;
  if (std::find(list.begin(), list.end(), host) == list.end()) list.push_back(host);
}

absl::Time RenewAt(const x509::Certificate& leaf, std::string_view id, absl::Time now) {
  const absl::Duration left = leaf.not_after() - now;
  return now + left * (0.5 + 0.25 * Jitter(id, leaf.serial().ToHex()));
}

}  // namespace

ServingNames NamesFor(const spiffe::TrustDomain& trust_domain, const std::string& listen,
                      const std::string& advertise, const std::vector<std::string>& more) {
  ServingNames names{spiffe::SpiffeId::ForControlPlane(trust_domain), {}, {}};
  for (const char* host : {"istiod.istio-system.svc", "localhost", "127.0.0.1", "::1"})
    AddHost(host, names);
  AddHost(HostOf(listen), names);
  AddHost(HostOf(advertise), names);
  for (const std::string& host : more) AddHost(host, names);
  return names;
}

absl::StatusOr<Serving> MakeServing(const ServingNames& names, const trust::Authority& authority,
                                    x509::Signer& signer, absl::Duration ttl, Random& random,
                                    absl::Time now) {
  const x509::Certificate& issuer = authority.certificate;
  if (now >= issuer.not_after()) {
    return absl::FailedPreconditionError(
        absl::StrCat("authority ", authority.id.hex(), " expired at ",
                     absl::FormatTime(issuer.not_after(), absl::UTCTimeZone()),
                     " and cannot sign the control plane's own certificate"));
  }
  x509::SubjectAltNames sans;
  sans.dns = names.dns;
  sans.ips = names.ips;
  sans.uris = {names.id.ToString()};
  sans.critical = true;
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey key,
                           x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256));
  CAPSTAN_ASSIGN_OR_RETURN(x509::LeafTemplate leaf_template, x509::LeafTemplate::For(issuer));
  CAPSTAN_ASSIGN_OR_RETURN(std::string der,
                           leaf_template.SignDer(x509::NewSerial(random.Bytes(16)), now - kBackdate,
                                                 std::min(now + ttl, issuer.not_after()), sans,
                                                 key.public_key(), signer));
  CAPSTAN_ASSIGN_OR_RETURN(x509::Certificate leaf, x509::Certificate::ParseDer(der));
  std::vector<x509::Certificate> presented = {leaf};
  presented.insert(presented.end(), authority.intermediates.begin(), authority.intermediates.end());
  x509::VerifyOptions options;
  options.purpose = x509::Purpose::kServer;
  CAPSTAN_RETURN_IF_ERROR(Annotate(x509::Verify(presented, {authority.root}, now, options).status,
                                   "the control plane's own certificate does not verify"));
  absl::Time renew_at = RenewAt(leaf, names.id.ToString(), now);
  return Serving{std::move(leaf), std::move(key), authority, renew_at};
}

}  // namespace capstan::server
