// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace capstan::kube {

// A kind of object, and where the API serves it.
struct Resource {
  std::string_view group;    // "": the core
  std::string_view version;  // "v1"
  std::string_view plural;   // "configmaps"
  std::string_view kind;     // "ConfigMap"
};

inline constexpr Resource kConfigMaps{"", "v1", "configmaps", "ConfigMap"};
inline constexpr Resource kNamespaces{"", "v1", "namespaces", "Namespace"};
inline constexpr Resource kPods{"", "v1", "pods", "Pod"};
inline constexpr Resource kSecrets{"", "v1", "secrets", "Secret"};
inline constexpr Resource kServiceAccounts{"", "v1", "serviceaccounts", "ServiceAccount"};
inline constexpr Resource kTokenReviews{"authentication.k8s.io", "v1", "tokenreviews",
                                        "TokenReview"};
inline constexpr Resource kSelfSubjectAccessReviews{
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview"};
inline constexpr Resource kSigningRequests{
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest"};
inline constexpr Resource kClusterTrustBundles{"certificates.k8s.io", "v1beta1",
                                               "clustertrustbundles", "ClusterTrustBundle"};
inline constexpr Resource kLeases{"coordination.k8s.io", "v1", "leases", "Lease"};

struct ObjectName {
  std::string ns;  // "": not in a namespace
  std::string name;
  friend auto operator<=>(const ObjectName&, const ObjectName&) = default;
};

// "istio-system/cacerts", or "cacerts".
std::string ToString(const ObjectName& name);
// Of "istio-system/cacerts"; nullopt: it is not two words with a slash between them.
std::optional<ObjectName> ParseObjectName(std::string_view text);

// The object's own; empty fields where it says none.
ObjectName NameOf(const Json& object);
// metadata.FIELD where it is text, such as "resourceVersion", "uid"; "" else.
std::string Metadata(const Json& object, std::string_view field);

// "/api/v1/namespaces/NS/secrets[/NAME[/SUBRESOURCE]]"; without a namespace, of all of them.
std::string PathOf(const Resource& resource, const ObjectName& name,
                   std::string_view subresource = "");

}  // namespace capstan::kube
