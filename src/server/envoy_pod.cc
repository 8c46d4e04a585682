// SPDX-License-Identifier: Apache-2.0
#include "server/envoy_pod.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "authn/service_account.h"
#include "base/status.h"
#include "base/strings.h"
#include "kube/resource.h"

namespace capstan::server {
namespace {

constexpr char kAdmin[] = "capstan.dev/envoy-admin";
constexpr char kProbe[] = "capstan.dev/envoy-probe";
constexpr size_t kMostBundles = 16;

absl::Status Wrong(std::string_view annotation, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("its annotation ", annotation, ": ", why));
}

absl::StatusOr<std::string> AdminOf(const std::string& host, const std::string& port) {
  int number = 0;
  if (port.empty()) return port;
  if (!absl::SimpleAtoi(port, &number) || number < 1 || number > 65535) {
    return Wrong(kAdmin, absl::StrCat("\"", absl::CEscape(port), "\" is no port, such as 15000"));
  }
  return absl::StrCat(host, ":", number);
}

// "PORT[,sni=NAME][,alpn=PROTOCOL]…", separated by blanks.
absl::StatusOr<std::vector<probe::ProbeTarget>> ProbesOf(const std::string& host,
                                                         const std::string& text) {
  std::vector<std::string> targets;
  for (const absl::string_view target : absl::StrSplit(text, ' ', absl::SkipWhitespace())) {
    targets.push_back(absl::StrCat(host, ":", target));
  }
  auto probes = probe::ParseProbeTargets(absl::StrJoin(targets, ","));
  if (!probes.ok()) return Wrong(kProbe, Std(probes.status().message()));
  if (probes->size() != targets.size()) {
    return Wrong(kProbe, "a target is a PORT with its details, at the pod's own address");
  }
  return probes;
}

const envoy::HeldSecret* Find(const std::vector<envoy::HeldSecret>& held, std::string_view name) {
  const auto found = std::find_if(held.begin(), held.end(), [&](const envoy::HeldSecret& secret) {
    return secret.name == name && secret.state != envoy::HeldSecret::State::kWarming;
  });
  return found == held.end() ? nullptr : &*found;
}

absl::StatusOr<const envoy::HeldSecret*> Need(const std::vector<envoy::HeldSecret>& held,
                                              std::string_view name) {
  const envoy::HeldSecret* secret = Find(held, name);
  if (secret == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("it holds no secret \"", name, "\""));
  }
  if (secret->certificates.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("its secret \"", name, "\" holds no certificate",
                     secret->problem.empty() ? "" : ": ", secret->problem));
  }
  return secret;
}

}  // namespace

absl::StatusOr<EnvoyPod> EnvoyPodOf(const Json& pod, const spiffe::TrustDomain& trust_domain) {
  const kube::ObjectName name = kube::NameOf(pod);
  const std::string phase = TextAt(pod, {"status", "phase"});
  const std::string address = TextAt(pod, {"status", "podIP"});
  if (address.empty() || phase == "Succeeded" || phase == "Failed") {
    return absl::NotFoundError("it has no address");
  }
  CAPSTAN_ASSIGN_OR_RETURN(const authn::Caller caller,
                           authn::CallerOf({.ns = name.ns,
                                            .name = TextAt(pod, {"spec", "serviceAccountName"}),
                                            .pod_name = name.name,
                                            .pod_uid = kube::Metadata(pod, "uid")},
                                           trust_domain, ""));
  const bool bare = address.find(':') == std::string::npos;
  const std::string host = bare ? address : absl::StrCat("[", address, "]");
  EnvoyPod read;
  read.key = {caller.id.ToString(), authn::InstanceOf(caller), ""};
  read.name = kube::ToString(name);
  CAPSTAN_ASSIGN_OR_RETURN(read.admin,
                           AdminOf(host, TextAt(pod, {"metadata", "annotations", kAdmin})));
  CAPSTAN_ASSIGN_OR_RETURN(read.probes,
                           ProbesOf(host, TextAt(pod, {"metadata", "annotations", kProbe})));
  if (read.admin.empty() && read.probes.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("it has the label ", kEnvoyLabel,
                                                   ", and neither of the annotations ", kAdmin,
                                                   " and ", kProbe));
  }
  return read;
}

absl::StatusOr<EnvoyHoldings> HoldingsOf(const std::vector<envoy::HeldSecret>& held) {
  CAPSTAN_ASSIGN_OR_RETURN(const envoy::HeldSecret* leaf, Need(held, "default"));
  CAPSTAN_ASSIGN_OR_RETURN(const envoy::HeldSecret* roots, Need(held, "ROOTCA"));
  return EnvoyHoldings{trust::Bundle::Of(roots->certificates), leaf->certificates.front()};
}

void KnownBundles::Add(const trust::BundleVersion& version, const trust::Bundle& bundle) {
  if (!bundles_.empty() && bundles_.back().second == version) return;
  bundles_.emplace_back(bundle.DigestHex(), version);
  if (bundles_.size() > kMostBundles) bundles_.pop_front();
}

trust::BundleVersion KnownBundles::VersionOf(const trust::Bundle& bundle) const {
  const std::string digest = bundle.DigestHex();
  const auto found = std::find_if(bundles_.rbegin(), bundles_.rend(),
                                  [&](const auto& known) { return known.first == digest; });
  return found == bundles_.rend() ? trust::BundleVersion() : found->second;
}

fleet::Leaf LeafOf(const x509::Certificate& leaf) {
  return {leaf.serial().ToHex(), absl::BytesToHexString(leaf.authority_key_id()), leaf.not_before(),
          leaf.not_after()};
}

}  // namespace capstan::server
