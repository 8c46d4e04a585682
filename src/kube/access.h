// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "base/config.h"
#include "base/secret.h"

namespace capstan::kube {

// A token, a key or certificates in PEM: the bytes, or a file that is read anew at each use,
// because others replace it (kubelet rotates a pod's token every hour).
class Material {
 public:
  Material() = default;
  static Material OfBytes(std::string bytes);
  static Material InFile(std::string path);

  bool given() const { return !path_.empty() || !bytes_.empty(); }
  // Empty where nothing is given. The errors of ReadFile().
  absl::StatusOr<Secret> Read() const;

 private:
  std::string path_;
  Secret bytes_;
};

// Where an API server is, and who we are there.
struct Access {
  std::string server;           // "https://10.96.0.1:443"
  std::string tls_server_name;  // "": the host of `server`
  Material ca;                  // what its certificate chains to
  Material certificate;         // ours, with `key`; or
  Material key;
  Material token;
  std::string default_namespace = "default";
};

// A context of a kubeconfig file; "": its current one. Paths in it are relative to its folder.
// InvalidArgument, with the file and the field: what is missing or malformed, and what is not
// supported here (exec and auth-provider plug-ins, passwords, skipping the server's verification).
absl::StatusOr<Access> ReadKubeconfig(const std::string& path, const std::string& context = "");

// What a pod's service account gives: `folder` holds token, ca.crt and namespace.
// FailedPrecondition: this is not a pod, or one without a service account's token.
absl::StatusOr<Access> InCluster(
    const Settings::Environment& environment,
    const std::string& folder = "/var/run/secrets/kubernetes.io/serviceaccount");

}  // namespace capstan::kube
