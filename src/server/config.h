// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "authn/node_proxies.h"
#include "authn/service_accounts.h"
#include "base/config.h"
#include "base/log.h"
#include "cluster/cluster_trust_bundle.h"
#include "kube/access.h"
#include "kube/resource.h"
#include "rotation/machine.h"
#include "rotation/schedule.h"
#include "server/foreign_signers.h"
#include "spiffe/spiffe_id.h"
#include "x509/key.h"

namespace capstan::server {

// capstand's configuration, checked.
struct Config {
  std::string state_dir = "/var/lib/capstand";
  std::string cacerts;  // a directory, or "secret:NAMESPACE/NAME"; "": the built-in CA
  bool wait_for_cacerts = false;
  absl::Duration rescan_interval = absl::Seconds(5);
  // Where the API server is, for whatever needs one; "": the pod's own.
  std::string kubeconfig;
  std::string kube_context;          // "": the file's current one
  std::optional<kube::Access> kube;  // nullopt: nothing needs one
  // Callers with tokens of service accounts.
  bool service_accounts = false;
  bool slow_stock_agents = false;
  authn::TokenVerification token_verification = authn::TokenVerification::kReview;
  std::vector<std::string> token_audiences = {"istio-ca"};
  std::vector<authn::TokenIssuer> token_issuers;         // beside the clusters
  std::vector<std::string> cluster_id = {"Kubernetes"};  // of the cluster that `kube` is
  std::vector<authn::RemoteCluster> remote_clusters;
  std::vector<kube::Access> remote_access;  // of each
  std::string istiod;  // "HOST:PORT" of the istiod that takes the Secret of `cacerts`; "": none
  // Of them, those that ask in the name of pods on their node.
  std::vector<kube::ObjectName> trusted_node_accounts;
  bool read_stock_envoys = false;
  bool root_config_maps = false;
  absl::Duration config_map_propagation = absl::Seconds(90);
  std::optional<cluster::ClusterTrustBundleName> cluster_trust_bundle;  // nullopt: none is kept
  absl::Duration cluster_trust_bundle_propagation = absl::Minutes(6);
  std::string certificate_signer;  // signer name of the requests that are answered; "": none are
  std::optional<kube::ObjectName> lease;  // nullopt: this is the only capstand
  absl::Duration lease_duration = absl::Seconds(15);
  std::string listen = "0.0.0.0:15012";
  std::string advertise;  // "": derived from `listen`
  std::vector<std::string> serving_names;
  std::string http = "127.0.0.1:15014";
  std::string socket;    // "": STATE_DIR/capstand.sock
  std::string seal_key;  // "": STATE_DIR/seal.key
  std::string trust_domain = "cluster.local";
  absl::Duration default_ttl = absl::Hours(24);
  absl::Duration max_ttl = absl::Hours(2160);
  absl::Duration serving_ttl = absl::Hours(24);
  absl::Duration rejoin_grace = absl::ZeroDuration();  // zero: off
  absl::Duration built_in_ca_ttl = absl::Hours(87600);
  x509::KeyType built_in_ca_key_type = x509::KeyType::kEcdsaP256;
  int64_t max_workloads = 200'000;
  int64_t max_agents = 20'000;
  // How a change of the CA is walked.
  rotation::Policy rotation;
  // Which ones begin by themselves, and how long an intermediate that is made here lives.
  rotation::TimerPolicy timer;
  // For how long leaves of others are assumed under a root that is adopted; nullopt: max_ttl.
  std::optional<absl::Duration> foreign_leaf_ttl;
  std::vector<ForeignSigner> foreign_signers;
  absl::Duration retired_key_retention = absl::Hours(168);  // InfiniteDuration(): for ever
  double issue_per_second = 0;                              // 0: as many as the signer stands
  log::Format log_format = log::Format::kText;
  log::Level log_level = log::Level::kInfo;
};

struct LoadedConfig {
  Settings::Todo todo = Settings::Todo::kRun;
  Config config;
  std::string output;  // to print, where `todo` is not kRun
};

absl::StatusOr<LoadedConfig> LoadConfig(int argc, const char* const* argv,
                                        const Settings::Environment& environment);

}  // namespace capstan::server
