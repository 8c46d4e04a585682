// SPDX-License-Identifier: Apache-2.0
#include "kube/access.h"

#include <yaml-cpp/yaml.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status.h"

namespace capstan::kube {
namespace {

// One kubeconfig file, parsed.
class Kubeconfig {
 public:
  Kubeconfig(const std::string& path, const YAML::Node& root) : path_(path), root_(root) {}

  absl::StatusOr<Access> Context(std::string name) const {
    if (name.empty()) {
      CAPSTAN_ASSIGN_OR_RETURN(name, Text(root_, "current-context"));
      if (name.empty()) return Wrong("current-context is not set; name a context");
    }
    CAPSTAN_ASSIGN_OR_RETURN(YAML::Node context, Named("contexts", "context", name));
    CAPSTAN_ASSIGN_OR_RETURN(std::string cluster_name, Text(context, "cluster"));
    CAPSTAN_ASSIGN_OR_RETURN(std::string user_name, Text(context, "user"));
    CAPSTAN_ASSIGN_OR_RETURN(YAML::Node cluster, Named("clusters", "cluster", cluster_name));
    Access access;
    CAPSTAN_RETURN_IF_ERROR(TakeCluster(cluster, cluster_name, access));
    if (!user_name.empty()) {
      CAPSTAN_ASSIGN_OR_RETURN(YAML::Node user, Named("users", "user", user_name));
      CAPSTAN_RETURN_IF_ERROR(TakeUser(user, user_name, access));
    }
    CAPSTAN_ASSIGN_OR_RETURN(std::string ns, Text(context, "namespace"));
    if (!ns.empty()) access.default_namespace = ns;
    return access;
  }

 private:
  absl::Status TakeCluster(const YAML::Node& cluster, const std::string& name,
                           Access& access) const {
    CAPSTAN_ASSIGN_OR_RETURN(access.server, Text(cluster, "server"));
    if (!absl::StartsWith(access.server, "https://")) {
      return Wrong(absl::StrCat("cluster \"", name, "\": server \"", access.server,
                                "\" is no https:// URL"));
    }
    if (access.server.back() == '/') access.server.pop_back();
    if (cluster["insecure-skip-tls-verify"] && cluster["insecure-skip-tls-verify"].as<bool>()) {
      return Wrong(absl::StrCat("cluster \"", name,
                                "\": insecure-skip-tls-verify is not supported: tokens would go to "
                                "whoever answers; give certificate-authority"));
    }
    CAPSTAN_RETURN_IF_ERROR(Refuse(cluster, {"proxy-url"}, absl::StrCat("cluster \"", name, "\"")));
    CAPSTAN_ASSIGN_OR_RETURN(access.tls_server_name, Text(cluster, "tls-server-name"));
    CAPSTAN_ASSIGN_OR_RETURN(access.ca, MaterialOf(cluster, "certificate-authority"));
    return absl::OkStatus();
  }

  absl::Status TakeUser(const YAML::Node& user, const std::string& name, Access& access) const {
    CAPSTAN_RETURN_IF_ERROR(Refuse(user, {"exec", "auth-provider", "username", "password", "as"},
                                   absl::StrCat("user \"", name, "\"")));
    CAPSTAN_ASSIGN_OR_RETURN(access.certificate, MaterialOf(user, "client-certificate"));
    CAPSTAN_ASSIGN_OR_RETURN(access.key, MaterialOf(user, "client-key"));
    if (access.certificate.given() != access.key.given()) {
      return Wrong(
          absl::StrCat("user \"", name, "\": client-certificate and client-key go together"));
    }
    CAPSTAN_ASSIGN_OR_RETURN(std::string file, Text(user, "tokenFile"));
    CAPSTAN_ASSIGN_OR_RETURN(std::string token, Text(user, "token"));
    if (!file.empty()) {
      access.token = Material::InFile(Resolve(file));
    } else if (!token.empty()) {
      access.token = Material::OfBytes(token);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<YAML::Node> Named(const char* list, const char* member,
                                   const std::string& name) const {
    const YAML::Node entries = root_[list];
    if (entries && !entries.IsSequence()) return Wrong(absl::StrCat(list, " is no list"));
    for (const YAML::Node& entry : entries) {
      if (!entry.IsMap() || !entry["name"] || entry["name"].as<std::string>() != name) continue;
      if (entry[member] && entry[member].IsMap()) return entry[member];
    }
    return Wrong(absl::StrCat("there is no ", member, " named \"", name, "\" in its ", list));
  }

  absl::StatusOr<std::string> Text(const YAML::Node& map, const char* key) const {
    const YAML::Node value = map[key];
    if (!value || value.IsNull()) return "";
    if (!value.IsScalar()) return Wrong(absl::StrCat(key, " is no text"));
    return value.as<std::string>();
  }

  // KEY-data in base64, or the file that KEY names.
  absl::StatusOr<Material> MaterialOf(const YAML::Node& map, const std::string& key) const {
    const std::string data_key = absl::StrCat(key, "-data");
    CAPSTAN_ASSIGN_OR_RETURN(std::string data, Text(map, data_key.c_str()));
    CAPSTAN_ASSIGN_OR_RETURN(std::string file, Text(map, key.c_str()));
    if (data.empty()) return file.empty() ? Material() : Material::InFile(Resolve(file));
    std::string bytes;
    if (!absl::Base64Unescape(data, &bytes)) return Wrong(absl::StrCat(data_key, " is no base64"));
    return Material::OfBytes(std::move(bytes));
  }

  absl::Status Refuse(const YAML::Node& map, std::initializer_list<const char*> keys,
                      const std::string& where) const {
    for (const char* key : keys) {
      if (!map[key]) continue;
      return Wrong(absl::StrCat(where, ": ", key,
                                " is not supported; use a client certificate, a token or tokenFile "
                                "(kubectl create token makes one)"));
    }
    return absl::OkStatus();
  }

  std::string Resolve(const std::string& file) const {
    return (std::filesystem::path(path_).parent_path() / file).lexically_normal().string();
  }

  absl::Status Wrong(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat("kubeconfig ", path_, ": ", what));
  }

  const std::string path_;
  const YAML::Node root_;
};

}  // namespace

Material Material::OfBytes(std::string bytes) {
  Material material;
  material.bytes_ = Secret(std::move(bytes));
  return material;
}

Material Material::InFile(std::string path) {
  Material material;
  material.path_ = std::move(path);
  return material;
}

absl::StatusOr<Secret> Material::Read() const {
  if (path_.empty()) return bytes_;
  CAPSTAN_ASSIGN_OR_RETURN(std::string bytes, ReadFile(path_, 1 << 20));
  return Secret(std::move(bytes));
}

absl::StatusOr<Access> ReadKubeconfig(const std::string& path, const std::string& context) {
  CAPSTAN_ASSIGN_OR_RETURN(std::string text, ReadFile(path, 1 << 20));
  try {
    const YAML::Node root = YAML::Load(text);
    if (!root.IsMap()) {
      return absl::InvalidArgumentError(absl::StrCat("kubeconfig ", path, ": it is no YAML map"));
    }
    return Kubeconfig(path, root).Context(context);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("kubeconfig ", path, ":", error.mark.line + 1, ": ", error.msg));
  }
}

absl::StatusOr<Access> InCluster(const Settings::Environment& environment,
                                 const std::string& folder) {
  const std::string host = environment("KUBERNETES_SERVICE_HOST").value_or("");
  const std::string port = environment("KUBERNETES_SERVICE_PORT").value_or("443");
  if (host.empty() || !FileExists(absl::StrCat(folder, "/token"))) {
    return absl::FailedPreconditionError(absl::StrCat(
        "this is no pod with a service account (KUBERNETES_SERVICE_HOST is ",
        host.empty() ? "not set" : "set", "; ", folder, "/token): name a kubeconfig file"));
  }
  Access access;
  const bool ipv6 = absl::StrContains(host, ':');
  access.server = absl::StrCat("https://", ipv6 ? "[" : "", host, ipv6 ? "]" : "", ":", port);
  access.ca = Material::InFile(absl::StrCat(folder, "/ca.crt"));
  access.token = Material::InFile(absl::StrCat(folder, "/token"));
  if (absl::StatusOr<std::string> ns = ReadFile(absl::StrCat(folder, "/namespace"), 256); ns.ok()) {
    access.default_namespace = std::string(absl::StripAsciiWhitespace(*ns));
  }
  return access;
}

}  // namespace capstan::kube
