// SPDX-License-Identifier: Apache-2.0
#include "server/daemon.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/http_server.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/random.h"
#include "base/status.h"
#include "base/version.h"
#include "cluster/api_server_clock.h"
#include "cluster/certificate_signer.h"
#include "cluster/cluster_trust_bundle_keeper.h"
#include "cluster/leadership.h"
#include "cluster/root_config_map_keeper.h"
#include "keystore/sealed_keys.h"
#include "kube/client.h"
#include "rpc/server.h"
#include "server/built_in_ca.h"
#include "server/ca_directory.h"
#include "server/ca_secret.h"
#include "server/control_plane.h"
#include "server/directory_watcher.h"
#include "server/host.h"
#include "server/istiod_keeper.h"
#include "server/stock_envoys.h"
#include "server/story.h"
#include "store/sqlite_store.h"

namespace capstan::server {
namespace {

absl::StatusOr<keystore::SealedKeys> OpenKeys(const Config& config, store::Store& store,
                                              Random& random) {
  CAPSTAN_ASSIGN_OR_RETURN(store::State state, store.Load());
  const bool sealed =
      std::any_of(state.authorities.begin(), state.authorities.end(),
                  [](const store::AuthorityRecord& a) { return !a.sealed_key.empty(); });
  using keystore::SealedKeys;
  return SealedKeys::Open(config.seal_key,
                          sealed ? SealedKeys::IfMissing::kFail : SealedKeys::IfMissing::kCreate,
                          random);
}

// Null: their tokens are not taken.
std::shared_ptr<authn::ServiceAccounts> ServiceAccountsOf(const Config& config,
                                                          const spiffe::TrustDomain& trust_domain,
                                                          Clock& clock, Metrics& metrics) {
  if (!config.service_accounts && config.token_issuers.empty()) return nullptr;
  std::vector<authn::ServiceAccounts::Cluster> clusters;
  const auto add = [&](const kube::Access& access, std::vector<std::string> names) {
    clusters.push_back(authn::ClusterAt(access, std::move(names), config.token_audiences,
                                        config.token_verification, clock, metrics));
  };
  if (config.service_accounts) add(*config.kube, config.cluster_id);
  for (size_t i = 0; i < config.remote_clusters.size(); ++i) {
    add(config.remote_access[i], {config.remote_clusters[i].name});
  }
  return std::make_shared<authn::ServiceAccounts>(
      trust_domain, std::move(clusters),
      authn::IssuersOf(config.token_issuers, config.token_audiences, clock, metrics));
}

// Null: nobody asks in the name of others.
std::shared_ptr<authn::NodeProxies> NodeProxiesOf(const Config& config,
                                                  const spiffe::TrustDomain& trust_domain,
                                                  Clock& clock, Metrics& metrics) {
  if (config.trusted_node_accounts.empty()) return nullptr;
  authn::NodeProxies::Clusters clusters;
  const auto follow = [&](const std::string& name, const kube::Access& access) {
    clusters.emplace(name, std::make_unique<authn::NodePodWatch>(name, access, clock));
  };
  follow(config.cluster_id.front(), *config.kube);
  for (size_t i = 0; i < config.remote_clusters.size(); ++i) {
    follow(config.remote_clusters[i].name, config.remote_access[i]);
  }
  return std::make_shared<authn::NodeProxies>(trust_domain, config.trusted_node_accounts,
                                              std::move(clusters), metrics);
}

ControlPlaneOptions OptionsOf(const Config& config, const spiffe::TrustDomain& trust_domain,
                              std::shared_ptr<CaSource> source) {
  const std::string& advertise = config.advertise.empty() ? config.listen : config.advertise;
  issuance::Policy policy;
  policy.default_ttl = config.default_ttl;
  policy.max_ttl = config.max_ttl;
  fleet::Limits limits;
  limits.workloads = static_cast<size_t>(config.max_workloads);
  return ControlPlaneOptions{
      trust_domain,
      TrustKeeperOptions{
          policy, NamesFor(trust_domain, config.listen, advertise, config.serving_names),
          config.serving_ttl, config.rotation, config.foreign_leaf_ttl.value_or(config.max_ttl),
          config.foreign_signers, config.retired_key_retention, config.timer.intermediate_at > 0},
      config.listen,
      advertise,
      std::move(source),
      limits,
      config.built_in_ca_key_type,
      config.built_in_ca_ttl,
      config.issue_per_second,
      config.rejoin_grace,
      config.timer};
}

// One look at the CA source, from reading to the keeper; the source's state is remembered on the
// way.
absl::StatusOr<Outcome> OfferFiles(ControlPlane& plane, const CaSource& source,
                                   const absl::StatusOr<trust::CaFiles>& files, absl::Time now) {
  if (!files.ok()) {
    plane.SourceFailed(files.status());
    return files.status();
  }
  absl::StatusOr<trust::CaSet> set = trust::ParseCaSet(*files, now, plane.parse_options());
  if (absl::IsNotFound(set.status()) || absl::IsFailedPrecondition(set.status())) {
    plane.SourceIncomplete(set.status());
    return set.status();
  }
  if (!set.ok()) {
    plane.SourceFailed(set.status());
    return set.status();
  }
  return plane.Offer(*set, {.source = source.kind()});
}

std::string HostName() {
  std::array<char, 256> name = {};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

// Whoever has lost the lease does nothing more, not even in good order: what it would write down is
// another one's by now. The record of the population is what it is after a crash.
[[noreturn]] void EndAsLoser(const std::string& why) {
  log::Error("this capstand leads no longer", {{"why", why}, {"effect", "capstand ends"}});
  std::_Exit(kLostLease);
}

// The signals that stop the program or make it reload, as a file to wait on.
class Signals {
 public:
  Signals() {
    sigset_t set;
    sigemptyset(&set);
    for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
    fd_ = signalfd(-1, &set, SFD_CLOEXEC);
  }
  ~Signals() { close(fd_); }
  // The next one, or 0 after `timeout`.
  int Wait(absl::Duration timeout) {
    pollfd fd = {fd_, POLLIN, 0};
    const int milliseconds = timeout == absl::InfiniteDuration()
                                 ? -1
                                 : static_cast<int>(absl::ToInt64Milliseconds(timeout));
    signalfd_siginfo info;
    if (poll(&fd, 1, milliseconds) <= 0 || read(fd_, &info, sizeof(info)) != sizeof(info)) return 0;
    return static_cast<int>(info.ssi_signo);
  }

 private:
  int fd_;
};

class Daemon {
 public:
  explicit Daemon(const Config& config) : config_(config) {}
  absl::Status Run();

 private:
  // False: a signal came instead.
  absl::StatusOr<bool> Lead();
  absl::Status OpenStore();
  absl::StatusOr<bool> WaitForStore();
  absl::Status Prepare();
  void MakeSource();
  void KeepPlaces();
  void KeepConfigMaps();
  void SignRequests();
  void ReadStockEnvoys();
  void Follow();
  absl::Status FirstCa();
  HttpResponse Readiness() const;
  absl::Status StartHttp();
  // False: a signal came instead, as for the next.
  bool Pause();
  bool WaitForCa();
  absl::Status StartServer();
  void WaitForTheEnd();
  void Shutdown();
  void Reload();

  const Config& config_;
  Clock& clock_ = RealClock();
  Random& random_ = SystemRandom();
  Signals signals_;
  Metrics metrics_;
  // In the order in which they are torn down, last first.
  std::unique_ptr<kube::Client> lease_client_;
  std::unique_ptr<cluster::Leadership> leadership_;  // null: this is the only capstand
  std::unique_ptr<store::SqliteStore> store_;
  std::unique_ptr<kube::Client> kube_;  // null: nothing needs an API server
  std::unique_ptr<cluster::ApiServerClock> api_server_clock_;
  std::shared_ptr<CaSource> source_;  // null: the CA is built in
  CaSecret* secret_ = nullptr;        // source_, where that is a Secret
  std::unique_ptr<EventLoop> background_;
  std::shared_ptr<authn::ServiceAccounts> service_accounts_;  // null: their tokens are not taken
  std::shared_ptr<authn::NodeProxies> node_proxies_;          // null: there are none
  std::unique_ptr<ControlPlane> plane_;
  std::unique_ptr<cluster::RootConfigMapKeeper> root_config_maps_;  // null: they are not looked at
  std::unique_ptr<cluster::ClusterTrustBundleKeeper> cluster_trust_bundle_;  // null: none is kept
  std::unique_ptr<StockEnvoys> stock_envoys_;           // null: they are not looked at
  std::unique_ptr<IstiodKeeper> istiod_;                // null: there is none beside us
  std::unique_ptr<cluster::CertificateSigner> signer_;  // null: no requests are signed
  std::unique_ptr<CaFollower> follower_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<HttpServer> http_;
  std::atomic<bool> serving_ = false;
  std::atomic<const ControlPlane*> shown_ = nullptr;  // plane_, once it is ready for questions
  mutable absl::Mutex mutex_;
  std::string waiting_ ABSL_GUARDED_BY(mutex_);  // what for, before there is a control plane
};

bool Daemon::Pause() {
  const int signal = signals_.Wait(absl::Milliseconds(100));
  if (signal == SIGHUP) Reload();
  return signal != SIGTERM && signal != SIGINT;
}

// Until this capstand is the one that serves.
absl::StatusOr<bool> Daemon::Lead() {
  if (!config_.lease.has_value()) return true;
  cluster::Election::Options options{
      .identity = absl::StrCat(HostName(), "_", absl::BytesToHexString(random_.Bytes(8))),
      .duration = config_.lease_duration,
      .deadline = config_.lease_duration * 2 / 3,
      .retry = config_.lease_duration * 2 / 15};
  kube::Client::Options client;
  client.timeout = options.deadline / 2;
  lease_client_ = std::make_unique<kube::Client>(*config_.kube, clock_, client);
  leadership_ = std::make_unique<cluster::Leadership>(
      *lease_client_, *config_.lease, std::move(options), clock_, metrics_, EndAsLoser);
  while (!leadership_->Check().ok()) {
    if (!Pause()) return false;
    absl::MutexLock lock(&mutex_);
    waiting_ = absl::StrCat("standby: ", leadership_->why());
  }
  absl::MutexLock lock(&mutex_);
  waiting_.clear();
  return true;
}

absl::Status Daemon::OpenStore() {
  store::Database::Fence fence;
  if (leadership_ != nullptr) fence = [this] { return leadership_->Check(); };
  CAPSTAN_ASSIGN_OR_RETURN(store_,
                           store::SqliteStore::Open(config_.state_dir, random_, std::move(fence)));
  return absl::OkStatus();
}

// Whoever had the lease before may not have noticed that it is lost: while it is halted, it keeps
// the lock of a state directory that both see.
absl::StatusOr<bool> Daemon::WaitForStore() {
  absl::Status opened = OpenStore();
  if (leadership_ != nullptr && absl::IsUnavailable(opened)) {
    log::Warn("this capstand has the lease and waits for the state", {{"why", opened.message()}});
    absl::MutexLock lock(&mutex_);
    waiting_ = absl::StrCat("it has the lease, and waits for the state: ", opened.message());
  }
  while (leadership_ != nullptr && absl::IsUnavailable(opened)) {
    if (!Pause()) return false;
    opened = OpenStore();
  }
  CAPSTAN_RETURN_IF_ERROR(opened);
  return true;
}

absl::Status Daemon::Prepare() {
  CAPSTAN_ASSIGN_OR_RETURN(spiffe::TrustDomain trust_domain,
                           spiffe::TrustDomain::Parse(config_.trust_domain));
  CAPSTAN_ASSIGN_OR_RETURN(keystore::SealedKeys keys, OpenKeys(config_, *store_, random_));
  background_ = std::make_unique<EventLoop>(clock_);
  MakeSource();
  service_accounts_ = ServiceAccountsOf(config_, trust_domain, clock_, metrics_);
  ControlPlaneOptions options = OptionsOf(config_, trust_domain, source_);
  options.slow_stock_agents = config_.slow_stock_agents;
  options.service_accounts = service_accounts_;
  node_proxies_ = NodeProxiesOf(config_, trust_domain, clock_, metrics_);
  options.node_proxies = node_proxies_;
  if (leadership_ != nullptr) options.may_sign = [this] { return leadership_->Check(); };
  plane_ = std::make_unique<ControlPlane>(std::move(options), *store_, std::move(keys), clock_,
                                          random_, *background_, metrics_);
  if (kube_ != nullptr) {
    api_server_clock_ = std::make_unique<cluster::ApiServerClock>(*kube_, clock_);
    plane_->set_clock_witness([this] { return api_server_clock_->offset(); });
  }
  KeepPlaces();
  CAPSTAN_RETURN_IF_ERROR(plane_->Start());
  shown_ = plane_.get();
  if (plane_->has_ca()) {
    log::Info("the CA is the state's, whatever the CA source holds by now");
    return absl::OkStatus();
  }
  return FirstCa();
}

void Daemon::MakeSource() {
  if (config_.kube.has_value()) {
    kube::Client::Options options;
    if (leadership_ != nullptr) options.may_write = [this] { return leadership_->Check(); };
    kube_ = std::make_unique<kube::Client>(*config_.kube, clock_, options);
  }
  if (config_.cacerts.empty()) return;
  if (auto secret = SecretNamed(config_.cacerts); secret.ok() && secret->has_value()) {
    const auto shows = config_.istiod.empty() ? CaSecret::Shows::kWish : CaSecret::Shows::kInForce;
    auto followed = std::make_shared<CaSecret>(*kube_, **secret, clock_, shows);
    secret_ = followed.get();
    source_ = std::move(followed);
  } else {
    source_ = std::make_shared<CaDirectory>(config_.cacerts);
  }
}

void Daemon::KeepPlaces() {
  KeepConfigMaps();
  if (!config_.cluster_trust_bundle.has_value()) return;
  cluster_trust_bundle_ = std::make_unique<cluster::ClusterTrustBundleKeeper>(
      *kube_, *plane_, clock_, metrics_, *config_.cluster_trust_bundle,
      config_.cluster_trust_bundle_propagation);
  plane_->AddPlaces(*cluster_trust_bundle_);
}

void Daemon::KeepConfigMaps() {
  const bool istiods = !config_.istiod.empty();
  if (!config_.root_config_maps && !istiods) return;
  root_config_maps_ = std::make_unique<cluster::RootConfigMapKeeper>(
      *kube_, *plane_, clock_, metrics_, config_.config_map_propagation,
      istiods ? cluster::RootConfigMaps::Writer::kIstiod : cluster::RootConfigMaps::Writer::kUs);
  plane_->AddPlaces(*root_config_maps_);
  if (!istiods) return;
  istiod_ = std::make_unique<IstiodKeeper>(
      *kube_, *secret_, *plane_, clock_,
      IstiodKeeper::Options{config_.istiod, config_.config_map_propagation});
  plane_->AddPlaces(*istiod_);
}

void Daemon::SignRequests() {
  if (config_.certificate_signer.empty()) return;
  const auto trust_domain = spiffe::TrustDomain::Parse(config_.trust_domain);
  signer_ = std::make_unique<cluster::CertificateSigner>(
      *kube_, *plane_, clock_, metrics_,
      cluster::CertificateSigner::Options{config_.certificate_signer, *trust_domain,
                                          config_.max_ttl});
}

void Daemon::ReadStockEnvoys() {
  if (!config_.read_stock_envoys) return;
  const auto trust_domain = spiffe::TrustDomain::Parse(config_.trust_domain);
  stock_envoys_ = std::make_unique<StockEnvoys>(
      *kube_, *plane_, clock_, metrics_, StockEnvoys::Options{.trust_domain = *trust_domain});
}

void Daemon::Follow() {
  if (source_ == nullptr) return;
  const CaFollower::Offer offer = [this](const absl::StatusOr<trust::CaFiles>& files) {
    return OfferFiles(*plane_, *source_, files, clock_.Now());
  };
  if (secret_ != nullptr) {
    follower_ = std::make_unique<SecretFollower>(*kube_, *secret_, clock_, offer,
                                                 [this] { plane_->SourceFine(); });
  } else {
    Settler::Options settle;
    settle.rescan = config_.rescan_interval;
    follower_ = std::make_unique<DirectoryWatcher>(config_.cacerts, settle, clock_, offer);
  }
  plane_->set_reload([this] { return follower_->ReloadNow(); });
}

// A state without a CA: the source's, or one out of nothing where none is configured. Never one
// out of nothing because the directory is wrong.
absl::Status Daemon::FirstCa() {
  if (config_.cacerts.empty()) {
    CAPSTAN_ASSIGN_OR_RETURN(spiffe::TrustDomain trust_domain,
                             spiffe::TrustDomain::Parse(config_.trust_domain));
    CAPSTAN_ASSIGN_OR_RETURN(trust::CaSet set,
                             MakeBuiltInCa(trust_domain, config_.built_in_ca_key_type,
                                           config_.built_in_ca_ttl, random_, clock_.Now()));
    story::BuiltInCa(set.authority);
    return plane_->Offer(set, {.source = "built-in"}).status();
  }
  log::Info("Use local CA certificate", {{"cacerts", config_.cacerts}});
  absl::StatusOr<Outcome> outcome = OfferFiles(*plane_, *source_, source_->Read(), clock_.Now());
  if (outcome.ok() || config_.wait_for_cacerts) return absl::OkStatus();
  return Annotate(
      outcome.status(),
      absl::StrCat("the CA of ", config_.cacerts,
                   " cannot be used and there is no earlier CA (mend it, or start with "
                   "--wait-for-cacerts; without --cacerts a self-signed CA would be made)"));
}

HttpResponse Daemon::Readiness() const {
  const auto answer = [](int status, auto... text) {
    return HttpResponse{status, "text/plain; charset=utf-8", absl::StrCat(text..., "\n")};
  };
  const ControlPlane* plane = shown_.load();
  if (plane == nullptr) {
    absl::MutexLock lock(&mutex_);
    return answer(503, waiting_.empty() ? "starting" : waiting_);
  }
  if (!serving_.load()) {
    return answer(503, plane->has_ca() ? "starting or stopping" : "there is no CA yet");
  }
  // Ready all the same: who is connected gets trust, and that is the way out.
  const std::string stopped = plane->issuance_error();
  return stopped.empty() ? answer(200, "ok")
                         : answer(200, "ok, but no certificate is issued: ", stopped);
}

absl::Status Daemon::StartHttp() {
  if (config_.http.empty()) return absl::OkStatus();
  std::map<std::string, HttpServer::Handler> handlers;
  handlers["/metrics"] = [this] {
    return HttpResponse{200, "text/plain; version=0.0.4; charset=utf-8", metrics_.Text()};
  };
  handlers["/healthz"] = [] { return HttpResponse{200, "text/plain; charset=utf-8", "ok\n"}; };
  handlers["/readyz"] = [this] { return Readiness(); };
  CAPSTAN_ASSIGN_OR_RETURN(http_, HttpServer::Start(config_.http, handlers));
  log::Info("HTTP listens", {{"port", http_->port()}});
  return absl::OkStatus();
}

bool Daemon::WaitForCa() {
  while (!plane_->has_ca()) {
    if (!Pause()) return false;
  }
  return true;
}

absl::Status Daemon::StartServer() {
  rpc::ServerOptions options;
  options.listen = config_.listen;
  options.operator_socket = config_.socket;
  options.max_trust_streams = static_cast<size_t>(config_.max_agents);
  CAPSTAN_ASSIGN_OR_RETURN(server_, rpc::Server::Start(options, *plane_, clock_));
  // Port 0 asked for a free one: say which it became.
  const std::string host = HostOf(config_.listen);
  const std::string shown = absl::StrContains(host, ':') ? absl::StrCat("[", host, "]") : host;
  const std::string listen = absl::StrCat(shown, ":", server_->port());
  const bool any = host == "0.0.0.0" || host == "::";
  plane_->set_addresses(listen, !config_.advertise.empty() ? config_.advertise
                                : any ? absl::StrCat("localhost:", server_->port())
                                      : listen);
  serving_ = true;
  log::Info("Capstand CA has started", {{"listen", listen}, {"socket", config_.socket}});
  return absl::OkStatus();
}

void Daemon::Reload() {
  if (follower_ == nullptr) {
    log::Info("SIGHUP: no CA is followed, there is nothing to reload");
    return;
  }
  absl::StatusOr<Outcome> outcome = follower_->ReloadNow();
  if (!outcome.ok()) {
    log::Warn("SIGHUP: nothing was taken over", {{"why", outcome.status().message()}});
  } else if (!outcome->changed) {
    log::Info("SIGHUP: the CA source holds what is in force already");
  }
}

void Daemon::WaitForTheEnd() {
  while (true) {
    int signal = signals_.Wait(absl::InfiniteDuration());
    if (signal == SIGHUP) Reload();
    if (signal == SIGTERM || signal == SIGINT) {
      log::Info("capstand stops", {{"signal", signal == SIGTERM ? "SIGTERM" : "SIGINT"}});
      return;
    }
  }
}

void Daemon::Shutdown() {
  serving_ = false;
  signer_.reset();
  // First: the server waits for every call to be answered.
  if (service_accounts_ != nullptr) service_accounts_->Stop();
  if (node_proxies_ != nullptr) node_proxies_->Stop();
  if (server_ != nullptr) server_->Shutdown();
  follower_.reset();
  http_.reset();
  if (background_ != nullptr) background_->Stop();
  server_.reset();
  stock_envoys_.reset();
  istiod_.reset();
  cluster_trust_bundle_.reset();
  root_config_maps_.reset();
  if (plane_ == nullptr) return;
  if (absl::Status flushed = plane_->Flush(); !flushed.ok()) {
    log::Error("the population could not be written down; the next start takes it for lost",
               {{"why", flushed.message()}});
  }
}

absl::Status Daemon::Run() {
  log::Info("capstand starts",
            {{"version", kVersion},
             {"trust_domain", config_.trust_domain},
             {"state_dir", config_.state_dir},
             {"cacerts", config_.cacerts.empty() ? "built-in" : config_.cacerts}});
  absl::Status status = [&]() -> absl::Status {
    CAPSTAN_RETURN_IF_ERROR(StartHttp());
    CAPSTAN_ASSIGN_OR_RETURN(const bool leads, Lead());
    if (!leads) return absl::OkStatus();
    CAPSTAN_ASSIGN_OR_RETURN(const bool opened, WaitForStore());
    if (!opened) return absl::OkStatus();
    CAPSTAN_RETURN_IF_ERROR(Prepare());
    Follow();
    if (!WaitForCa()) return absl::OkStatus();
    CAPSTAN_RETURN_IF_ERROR(StartServer());
    SignRequests();
    ReadStockEnvoys();
    WaitForTheEnd();
    return absl::OkStatus();
  }();
  Shutdown();
  return status;
}

}  // namespace

absl::Status RunDaemon(const Config& config) {
  return Daemon(config).Run();
}

}  // namespace capstan::server
