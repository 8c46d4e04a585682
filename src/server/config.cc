// SPDX-License-Identifier: Apache-2.0
#include "server/config.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"
#include "server/ca_secret.h"
#include "server/host.h"

namespace capstan::server {
namespace {

// "": none. Those of kubernetes.io are the API server's own.
absl::Status CheckSignerName(std::string_view name) {
  if (name.empty()) return absl::OkStatus();
  const std::optional<kube::ObjectName> parts = kube::ParseObjectName(name);
  if (!parts.has_value() || name.find_first_of(" ,=") != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", name, "\" is no signer name: write DOMAIN/NAME, such as capstan.dev/workload"));
  }
  if (parts->ns == "kubernetes.io" || absl::EndsWith(parts->ns, ".kubernetes.io")) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", name, "\" is one of Kubernetes' own signers: take a domain of yours"));
  }
  return absl::OkStatus();
}

std::string NameOf(const std::optional<cluster::ClusterTrustBundleName>& bundle) {
  return bundle.has_value() ? bundle->name() : "";
}

void AddAddress(Settings& settings, std::string name, std::string help, std::string* target) {
  settings.Custom(
      std::move(name), std::move(help), "HOST:PORT",
      [target](std::string_view text) -> absl::Status {
        if (!text.empty()) CAPSTAN_RETURN_IF_ERROR(PortOf(text).status());
        *target = std::string(text);
        return absl::OkStatus();
      },
      [target] { return *target; });
}

void AddState(Settings& settings, Config& config) {
  settings.Text("state-dir", "folder of the state: database, seal key, operator's socket",
                &config.state_dir);
  settings.Text("seal-key",
                "file with the key that CA keys are sealed under; STATE_DIR/seal.key unless set",
                &config.seal_key);
}

void AddKubernetes(Settings& settings, Config& config) {
  settings.Text(
      "kubeconfig",
      "how to reach the Kubernetes API server, where a setting needs one; none: as the pod "
      "that this is",
      &config.kubeconfig);
  settings.Text("kube-context", "context of the kubeconfig file; none: its current one",
                &config.kube_context);
  AddAddress(
      settings, "istiod",
      "where an istiod is reached that takes its CA from the Secret of cacerts and stays the "
      "agents' discoveryAddress: the Secret shows it what is in force; none: there is none",
      &config.istiod);
  settings.Bool("root-config-maps",
                "keep the ConfigMap istio-ca-root-cert of every namespace at the trust bundle",
                &config.root_config_maps);
  settings.Duration("config-map-propagation",
                    "how long kubelet may take to bring a ConfigMap that changed to its pods: "
                    "before that, no new root is relied upon",
                    &config.config_map_propagation, absl::ZeroDuration());
  settings.Custom(
      "cluster-trust-bundle",
      "keep the ClusterTrustBundle of this name at the trust bundle, such as "
      "istio.io:istiod-ca:root-cert, which Istio's agents look for; none: none is kept",
      "NAME",
      [&config](std::string_view text) -> absl::Status {
        config.cluster_trust_bundle.reset();
        if (text.empty()) return absl::OkStatus();
        CAPSTAN_ASSIGN_OR_RETURN(auto name, cluster::ClusterTrustBundleName::Parse(text));
        CAPSTAN_RETURN_IF_ERROR(CheckSignerName(name.signer()));
        config.cluster_trust_bundle = std::move(name);
        return absl::OkStatus();
      },
      [&config] { return NameOf(config.cluster_trust_bundle); });
  settings.Duration("cluster-trust-bundle-propagation",
                    "how long kubelet may take to bring a ClusterTrustBundle that changed to its "
                    "pods: before that, no new root is relied upon",
                    &config.cluster_trust_bundle_propagation, absl::ZeroDuration());
  settings.Custom(
      "certificate-signer",
      "answer approved CertificateSigningRequests of this signer name, such as "
      "capstan.dev/workload; none: no request is answered",
      "DOMAIN/NAME",
      [&config](std::string_view text) -> absl::Status {
        CAPSTAN_RETURN_IF_ERROR(CheckSignerName(text));
        config.certificate_signer = std::string(text);
        return absl::OkStatus();
      },
      [&config] { return config.certificate_signer; });
  settings.Custom(
      "lease",
      "of several capstands with this setting, the one that has this Lease serves, and the others "
      "stand by; none: this is the only one",
      "NAMESPACE/NAME",
      [&config](std::string_view text) -> absl::Status {
        config.lease.reset();
        if (text.empty()) return absl::OkStatus();
        config.lease = kube::ParseObjectName(text);
        if (config.lease.has_value()) return absl::OkStatus();
        return absl::InvalidArgumentError(
            absl::StrCat("\"", text, "\" names no Lease: write NAMESPACE/NAME"));
      },
      [&config] { return config.lease.has_value() ? kube::ToString(*config.lease) : ""; });
  settings.Duration("lease-duration",
                    "after how long without a renewal another capstand takes the lease; it is "
                    "renewed every 2/15 of that, and given up after 2/3 without success",
                    &config.lease_duration, absl::Seconds(3));
}

void AddServiceAccounts(Settings& settings, Config& config) {
  settings.Bool("service-accounts",
                "whether callers with tokens of Kubernetes service accounts get certificates, as "
                "stock Istio agents ask for them",
                &config.service_accounts);
  settings.Custom(
      "token-verification",
      "how such tokens are judged: the API server is asked about each (review), or gives its keys "
      "(offline), which know of no pod that was deleted",
      "review|offline",
      [&config](std::string_view text) -> absl::Status {
        CAPSTAN_ASSIGN_OR_RETURN(config.token_verification, authn::ParseTokenVerification(text));
        return absl::OkStatus();
      },
      [&config] { return std::string(authn::TokenVerificationName(config.token_verification)); });
  settings.CustomList(
      "token-issuers",
      "other issuers (OpenID Connect) whose tokens for service accounts are taken, such as "
      "\"https://issuer.example audience=istio-ca\"; may be given more than once",
      "ISSUER [audience=NAME] [jwks=FILE|URL] [ca=FILE]",
      [&config](std::string_view text) -> absl::Status {
        CAPSTAN_ASSIGN_OR_RETURN(config.token_issuers, authn::ParseTokenIssuers(text));
        return absl::OkStatus();
      },
      [&config] { return ToString(config.token_issuers); });
  settings.Bool("read-stock-envoys",
                "whether the Envoys of stock agents are read and probed, in pods with the label "
                "capstan.dev/envoy",
                &config.read_stock_envoys);
  settings.List("token-audiences", "audiences of which such a token must have one",
                &config.token_audiences);
  settings.List("cluster-id",
                "names of the cluster whose API server capstand reaches, as callers give them",
                &config.cluster_id);
  settings.Custom(
      "stock-agents",
      "how a rotation reaches stock agents that take their roots from capstand: each change is "
      "told them in its slot, and each makes them ask for a certificate (paced); or roots come "
      "with the "
      "certificates that they ask for by themselves, and only a new issuer makes them ask (slow)",
      "paced|slow",
      [&config](std::string_view text) -> absl::Status {
        if (text != "paced" && text != "slow") {
          return absl::InvalidArgumentError(
              absl::StrCat("\"", text, "\" is neither paced nor slow"));
        }
        config.slow_stock_agents = text == "slow";
        return absl::OkStatus();
      },
      [&config] { return config.slow_stock_agents ? "slow" : "paced"; });
  settings.CustomList(
      "remote-clusters",
      "other clusters whose service accounts are callers, and how to reach their API servers; may "
      "be given more than once",
      "NAME=KUBECONFIG[#CONTEXT]",
      [&config](std::string_view text) -> absl::Status {
        CAPSTAN_ASSIGN_OR_RETURN(config.remote_clusters, authn::ParseRemoteClusters(text));
        return absl::OkStatus();
      },
      [&config] { return ToString(config.remote_clusters); });
  settings.CustomList(
      "trusted-node-accounts",
      "service accounts of node proxies, such as istio-system/ztunnel, which get certificates in "
      "the name of pods on their node; may be given more than once",
      "NAMESPACE/ACCOUNT",
      [&config](std::string_view text) -> absl::Status {
        CAPSTAN_ASSIGN_OR_RETURN(config.trusted_node_accounts, authn::ParseAccounts(text));
        return absl::OkStatus();
      },
      [&config] { return authn::ToString(config.trusted_node_accounts); });
}

void AddCa(Settings& settings, Config& config) {
  settings.Text(
      "cacerts",
      "plug-in CA to follow: a directory, or a Secret as secret:NAMESPACE/NAME (Istio's layout or "
      "tls.crt, tls.key, ca.crt); none: a built-in self-signed CA",
      &config.cacerts);
  settings.Bool("wait-for-cacerts",
                "at a first start, wait for a usable plug-in CA instead of giving up",
                &config.wait_for_cacerts);
  settings.Duration("rescan-interval", "how often the CA directory is looked at without any event",
                    &config.rescan_interval, absl::Milliseconds(100));
  settings.Custom(
      "trust-domain", "the trust domain of every identity signed for", "NAME",
      [&config](std::string_view text) -> absl::Status {
        CAPSTAN_RETURN_IF_ERROR(spiffe::TrustDomain::Parse(text).status());
        config.trust_domain = std::string(text);
        return absl::OkStatus();
      },
      [&config] { return config.trust_domain; });
  settings.Duration("default-ttl", "life of a leaf whose request names none", &config.default_ttl,
                    absl::Seconds(1));
  settings.Duration("max-ttl", "longest life of a leaf", &config.max_ttl, absl::Seconds(1));
  settings.Duration("serving-ttl", "life of the control plane's own certificate",
                    &config.serving_ttl, absl::Seconds(2));
  settings.Duration(
      "rejoin-grace",
      "how long after its end an agent's certificate, or one whose root has left, may "
      "still ask for its successor; 0: not at all",
      &config.rejoin_grace, absl::ZeroDuration());
  settings.Duration("built-in-ca-ttl", "life of the built-in CA", &config.built_in_ca_ttl,
                    absl::Minutes(1));
  settings.Custom(
      "built-in-ca-key-type",
      "key of the built-in CA: rsa-2048, rsa-3072, rsa-4096, ecdsa-p256 or ecdsa-p384", "TYPE",
      [&config](std::string_view text) -> absl::Status {
        CAPSTAN_ASSIGN_OR_RETURN(config.built_in_ca_key_type, x509::ParseKeyType(text));
        return absl::OkStatus();
      },
      [&config] { return std::string(x509::KeyTypeName(config.built_in_ca_key_type)); });
}

void AddNetwork(Settings& settings, Config& config) {
  AddAddress(settings, "listen", "where agents and workloads are served (gRPC, TLS)",
             &config.listen);
  AddAddress(settings, "advertise", "where agents are told to find it; --listen unless set",
             &config.advertise);
  settings.List("serving-names",
                "more DNS names and IP addresses for the control plane's own certificate",
                &config.serving_names);
  AddAddress(settings, "http", "where /metrics, /healthz and /readyz are served; \"\": nowhere",
             &config.http);
  settings.Text("socket", "the operator's Unix socket; STATE_DIR/capstand.sock unless set",
                &config.socket);
  settings.Integer("max-workloads", "bound on the population that is kept", &config.max_workloads,
                   1, 10'000'000);
  settings.Custom(
      "issue-per-second",
      "certificates that are signed in a second at most; 0: as many as the signer stands", "NUMBER",
      [&config](std::string_view text) -> absl::Status {
        double rate = 0;
        if (!absl::SimpleAtod(text, &rate) || !(rate >= 0) || rate > 1'000'000) {
          return absl::InvalidArgumentError(
              absl::StrCat("\"", text, "\" is not a number from 0 to 1000000"));
        }
        config.issue_per_second = rate;
        return absl::OkStatus();
      },
      [&config] { return absl::StrCat(config.issue_per_second); });
  settings.Integer("max-agents", "bound on trust streams at once", &config.max_agents, 1,
                   1'000'000);
}

const absl::Duration* Value(const absl::Duration* duration) {
  return duration;
}
const absl::Duration* Value(const std::optional<absl::Duration>* duration) {
  return &**duration;
}

// A duration, or `word` for `absent`.
template <typename Target>
void AddDurationOr(Settings& settings, const std::string& name, const std::string& help,
                   const std::string& word, Target absent, Target* target) {
  settings.Custom(
      name, help, absl::StrCat("DURATION|", word),
      [word, absent, target](std::string_view text) -> absl::Status {
        if (text == word) {
          *target = absent;
          return absl::OkStatus();
        }
        absl::Duration duration;
        if (!absl::ParseDuration(text, &duration) || duration < absl::ZeroDuration()) {
          return absl::InvalidArgumentError(
              absl::StrCat("\"", text, "\" is neither a duration such as 24h nor ", word));
        }
        *target = duration;
        return absl::OkStatus();
      },
      [word, absent, target] {
        return *target == absent ? word : absl::FormatDuration(*Value(target));
      });
}

void AddRotation(Settings& settings, Config& config) {
  settings.Custom(
      "reload",
      "how a change of the CA is applied: gated, each step when everybody is ready for it; or "
      "immediate, as istiod does",
      "gated|immediate",
      [&config](std::string_view text) -> absl::Status {
        if (text != "gated" && text != "immediate") {
          return absl::InvalidArgumentError(
              absl::StrCat("\"", text, "\" is neither gated nor immediate"));
        }
        config.rotation.immediate = text == "immediate";
        return absl::OkStatus();
      },
      [&config] { return config.rotation.immediate ? "immediate" : "gated"; });
  settings.Duration("rotation-soak", "how long a gate's conditions must have held before it opens",
                    &config.rotation.soak, absl::ZeroDuration());
  settings.Duration("rotation-soak-stock-agents",
                    "the least of that while anybody counts by a stock agent's word alone: its "
                    "Envoy may follow half a minute later",
                    &config.rotation.soak_stock_agents, absl::ZeroDuration());
  AddDurationOr(
      settings, "rotation-absent",
      "how long a rotation waits for workloads that are not connected, from the beginning "
      "of a phase; wait: until their last leaf expires",
      "wait", absl::InfiniteDuration(), &config.rotation.absent_deadline);
  settings.Bool("rotation-require-proven",
                "a rotation also waits for consumers that no handshake can reach",
                &config.rotation.require_proven);
  AddDurationOr(settings, "foreign-leaf-ttl",
                "for how long others' leaves are assumed to be out there when an existing CA is "
                "adopted; 0s: it never signed elsewhere",
                "max-ttl", std::optional<absl::Duration>(), &config.foreign_leaf_ttl);
  settings.CustomList(
      "foreign-signers",
      "who else signs under a root that capstand trusts: it keeps that root from leaving until it "
      "is excluded by name, or no longer in this list; may be given more than once",
      "NAME=FINGERPRINT",
      [&config](std::string_view text) -> absl::Status {
        CAPSTAN_ASSIGN_OR_RETURN(config.foreign_signers, ParseForeignSigners(text));
        return absl::OkStatus();
      },
      [&config] { return ToString(config.foreign_signers); });
  AddDurationOr(settings, "retired-key-retention",
                "how long the key of a retired authority is kept, sealed; keep: for ever", "keep",
                absl::InfiniteDuration(), &config.retired_key_retention);
}

// A part of a life; 0: never.
void AddFraction(Settings& settings, const std::string& name, const std::string& help,
                 double* target) {
  settings.Custom(
      name, help, "FRACTION",
      [target](std::string_view text) -> absl::Status {
        double part = 0;
        if (!absl::SimpleAtod(text, &part) || !(part >= 0) || part >= 1) {
          return absl::InvalidArgumentError(
              absl::StrCat("\"", text, "\" is not a part of a life: from 0 (never) to below 1"));
        }
        *target = part;
        return absl::OkStatus();
      },
      [target] { return absl::StrCat(*target); });
}

void AddTimer(Settings& settings, Config& config) {
  rotation::TimerPolicy& timer = config.timer;
  settings.Custom(
      "rotation-timer",
      "what becomes of a CA that is due by rotate-root-at or rotate-intermediate-at: it is "
      "replaced (rotate), only announced, or nothing (off)",
      "off|announce|rotate",
      [&timer](std::string_view text) -> absl::Status {
        CAPSTAN_ASSIGN_OR_RETURN(timer.mode, rotation::ParseTimerMode(text));
        return absl::OkStatus();
      },
      [&timer] { return std::string(rotation::TimerModeName(timer.mode)); });
  AddFraction(settings, "rotate-root-at",
              "the part of its life after which the root is due for replacement, such as 0.66; 0: "
              "never",
              &timer.root_at);
  AddFraction(settings, "rotate-intermediate-at",
              "the part of its life after which an intermediate is due for replacement, such as "
              "0.5; 0: never",
              &timer.intermediate_at);
  settings.CustomList(
      "maintenance-window",
      "when a rotation by the timer may begin, such as \"Sat,Sun 02:00-06:00 UTC\"; may be given "
      "more than once; none: at any time",
      "WINDOW",
      [&timer](std::string_view text) -> absl::Status {
        CAPSTAN_ASSIGN_OR_RETURN(timer.windows, rotation::ParseMaintenanceWindows(text));
        return absl::OkStatus();
      },
      [&timer] { return rotation::ToString(timer.windows); });
  AddDurationOr(settings, "intermediate-ttl",
                "life of an intermediate that is made here; root: as long as its root", "root",
                absl::InfiniteDuration(), &timer.intermediate_ttl);
}

void AddLog(Settings& settings, Config& config) {
  settings.Custom(
      "log-format", "text or json", "FORMAT",
      [&config](std::string_view text) -> absl::Status {
        CAPSTAN_ASSIGN_OR_RETURN(config.log_format, log::ParseFormat(text));
        return absl::OkStatus();
      },
      [&config] { return config.log_format == log::Format::kJson ? "json" : "text"; });
  settings.Custom(
      "log-level", "debug, info, warn or error", "LEVEL",
      [&config](std::string_view text) -> absl::Status {
        CAPSTAN_ASSIGN_OR_RETURN(config.log_level, log::ParseLevel(text));
        return absl::OkStatus();
      },
      [&config] {
        static constexpr const char* kNames[] = {"debug", "info", "warn", "error"};
        return kNames[static_cast<int>(config.log_level)];
      });
}

// What the values say together, and what follows from them.
absl::Status Complete(const Settings& settings, Config& config) {
  if (config.state_dir.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(settings.Origin("state-dir"), ": state-dir is empty"));
  }
  if (config.listen.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(settings.Origin("listen"), ": listen is empty"));
  }
  if (config.default_ttl > config.max_ttl) {
    return absl::InvalidArgumentError(absl::StrCat(
        settings.IsSet("default-ttl") ? settings.Origin("default-ttl") : settings.Origin("max-ttl"),
        ": default-ttl (", absl::FormatDuration(config.default_ttl), ") is longer than max-ttl (",
        absl::FormatDuration(config.max_ttl), ")"));
  }
  if (config.wait_for_cacerts && config.cacerts.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(settings.Origin("wait-for-cacerts"),
                     ": wait-for-cacerts waits for nothing without cacerts"));
  }
  if (config.timer.intermediate_at > 0 && config.cacerts.empty() &&
      config.timer.intermediate_ttl == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat(settings.Origin("rotate-intermediate-at"),
                     ": rotate-intermediate-at needs intermediate-ttl: intermediates that end with "
                     "their root are never replaced before it"));
  }
  if (config.timer.intermediate_ttl < absl::Seconds(1)) {
    return absl::InvalidArgumentError(
        absl::StrCat(settings.Origin("intermediate-ttl"), ": intermediate-ttl is shorter than 1s"));
  }
  if (config.socket.empty()) config.socket = absl::StrCat(config.state_dir, "/capstand.sock");
  if (config.seal_key.empty()) config.seal_key = absl::StrCat(config.state_dir, "/seal.key");
  return absl::OkStatus();
}

absl::Status Wrong(const Settings& settings, const std::string& name, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(settings.Origin(name), ": ", name, " ", why));
}

// What an istiod beside us asks of the other settings.
absl::Status CheckIstiod(const Settings& settings, const Config& config) {
  if (config.istiod.empty()) return absl::OkStatus();
  CAPSTAN_ASSIGN_OR_RETURN(const auto secret, SecretNamed(config.cacerts));
  if (!secret.has_value()) {
    return Wrong(settings, "istiod",
                 "needs cacerts to be the Secret that istiod takes (secret:NAMESPACE/NAME)");
  }
  if (config.root_config_maps) {
    return Wrong(settings, "root-config-maps",
                 "is istiod's to do where there is one: leave it out");
  }
  return absl::OkStatus();
}

// What the settings about service accounts say together.
absl::Status CheckServiceAccounts(const Settings& settings, const Config& config) {
  if (config.token_audiences.empty()) {
    return Wrong(settings, "token-audiences", "is empty: tokens meant for anybody would be taken");
  }
  if (config.cluster_id.empty()) return Wrong(settings, "cluster-id", "is empty");
  if (!config.service_accounts && !config.remote_clusters.empty()) {
    return Wrong(settings, "remote-clusters", "is for nothing without service-accounts");
  }
  if (!config.service_accounts && !config.trusted_node_accounts.empty()) {
    return Wrong(settings, "trusted-node-accounts", "is for nothing without service-accounts");
  }
  std::set<std::string> names(config.cluster_id.begin(), config.cluster_id.end());
  for (const authn::RemoteCluster& cluster : config.remote_clusters) {
    if (!names.insert(cluster.name).second) {
      return Wrong(settings, "remote-clusters",
                   absl::StrCat("names cluster \"", cluster.name, "\", which is named already"));
    }
  }
  return absl::OkStatus();
}

// The settings, with their values, that need an API server.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> NeedsOf(const Config& config) {
  std::vector<std::pair<std::string, std::string>> needs;
  CAPSTAN_ASSIGN_OR_RETURN(const auto secret, SecretNamed(config.cacerts));
  if (secret.has_value()) needs.emplace_back("cacerts", config.cacerts);
  if (config.service_accounts) needs.emplace_back("service-accounts", "true");
  if (config.root_config_maps) needs.emplace_back("root-config-maps", "true");
  if (config.read_stock_envoys) needs.emplace_back("read-stock-envoys", "true");
  if (config.cluster_trust_bundle.has_value()) {
    needs.emplace_back("cluster-trust-bundle", NameOf(config.cluster_trust_bundle));
  }
  if (!config.certificate_signer.empty()) {
    needs.emplace_back("certificate-signer", config.certificate_signer);
  }
  if (config.lease.has_value()) needs.emplace_back("lease", kube::ToString(*config.lease));
  return needs;
}

// How to reach the API servers, where anything needs one.
absl::Status FindKubernetes(const Settings& settings, const Settings::Environment& environment,
                            Config& config) {
  CAPSTAN_ASSIGN_OR_RETURN(const auto needs, NeedsOf(config));
  if (needs.empty()) return absl::OkStatus();
  const absl::StatusOr<kube::Access> access =
      config.kubeconfig.empty() ? kube::InCluster(environment)
                                : kube::ReadKubeconfig(config.kubeconfig, config.kube_context);
  if (!access.ok()) {
    const auto& [name, value] = needs.front();
    return Annotate(access.status(), absl::StrCat(settings.Origin(name), ": ", name, " ", value,
                                                  " needs a Kubernetes API server (--kubeconfig)"));
  }
  config.kube = *access;
  for (const authn::RemoteCluster& cluster : config.remote_clusters) {
    absl::StatusOr<kube::Access> remote = kube::ReadKubeconfig(cluster.kubeconfig, cluster.context);
    if (!remote.ok()) {
      return Annotate(remote.status(),
                      absl::StrCat(settings.Origin("remote-clusters"), ": ", cluster.name));
    }
    config.remote_access.push_back(*std::move(remote));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LoadedConfig> LoadConfig(int argc, const char* const* argv,
                                        const Settings::Environment& environment) {
  LoadedConfig loaded;
  Settings settings("capstand",
                    "Capstan's control plane: signs workload certificates, distributes trust, and "
                    "replaces its CA without anybody noticing.");
  AddState(settings, loaded.config);
  AddCa(settings, loaded.config);
  AddKubernetes(settings, loaded.config);
  AddServiceAccounts(settings, loaded.config);
  AddRotation(settings, loaded.config);
  AddTimer(settings, loaded.config);
  AddNetwork(settings, loaded.config);
  AddLog(settings, loaded.config);
  CAPSTAN_ASSIGN_OR_RETURN(loaded.todo, settings.Load(argc, argv, environment));
  loaded.output = settings.output();
  if (loaded.todo == Settings::Todo::kExit) return loaded;
  CAPSTAN_RETURN_IF_ERROR(Complete(settings, loaded.config));
  CAPSTAN_RETURN_IF_ERROR(CheckIstiod(settings, loaded.config));
  CAPSTAN_RETURN_IF_ERROR(CheckServiceAccounts(settings, loaded.config));
  if (loaded.todo == Settings::Todo::kPrintConfig) {
    loaded.output = settings.ToYaml();
    return loaded;
  }
  CAPSTAN_RETURN_IF_ERROR(FindKubernetes(settings, environment, loaded.config));
  return loaded;
}

}  // namespace capstan::server
