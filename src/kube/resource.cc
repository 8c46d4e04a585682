// SPDX-License-Identifier: Apache-2.0
#include "kube/resource.h"

#include "absl/strings/str_cat.h"
#include "base/http_client.h"
#include "base/strings.h"

namespace capstan::kube {

std::string ToString(const ObjectName& name) {
  return name.ns.empty() ? name.name : absl::StrCat(name.ns, "/", name.name);
}

std::optional<ObjectName> ParseObjectName(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos || slash == 0 || slash + 1 == text.size() ||
      text.find('/', slash + 1) != std::string_view::npos) {
    return std::nullopt;
  }
  return ObjectName{std::string(text.substr(0, slash)), std::string(text.substr(slash + 1))};
}

std::string Metadata(const Json& object, std::string_view field) {
  return TextAt(object, {"metadata", field});
}

ObjectName NameOf(const Json& object) {
  return {Metadata(object, "namespace"), Metadata(object, "name")};
}

std::string PathOf(const Resource& resource, const ObjectName& name, std::string_view subresource) {
  std::string path = resource.group.empty()
                         ? absl::StrCat("/api/", resource.version)
                         : absl::StrCat("/apis/", resource.group, "/", resource.version);
  if (!name.ns.empty()) absl::StrAppend(&path, "/namespaces/", UrlEscape(name.ns));
  absl::StrAppend(&path, "/", resource.plural);
  if (!name.name.empty()) absl::StrAppend(&path, "/", UrlEscape(name.name));
  if (!subresource.empty()) absl::StrAppend(&path, "/", subresource);
  return path;
}

}  // namespace capstan::kube
