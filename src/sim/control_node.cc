// SPDX-License-Identifier: Apache-2.0
#include "sim/control_node.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "server/join_tokens.h"

namespace capstan::sim {
namespace {

// A key under which the authorities' keys are sealed: one file for the process.
const std::string& SealKeyPath() {
  static const std::string& path = *new std::string([] {
    char folder[] = "/tmp/capstan-sim-XXXXXX";
    if (mkdtemp(folder) == nullptr) std::abort();
    const std::string made = absl::StrCat(folder, "/seal-key");
    (void)keystore::SealedKeys::Open(made, keystore::SealedKeys::IfMissing::kCreate,
                                     SystemRandom());
    static std::string& remove = *new std::string(made);
    std::atexit([] {
      unlink(remove.c_str());
      rmdir(remove.substr(0, remove.rfind('/')).c_str());
    });
    return made;
  }());
  return path;
}

server::ControlPlaneOptions OptionsFor(const Options& options) {
  const spiffe::TrustDomain domain = *spiffe::TrustDomain::Parse("cluster.local");
  server::TrustKeeperOptions keeper{
      .serving_names = server::NamesFor(domain, "127.0.0.1:15012", "127.0.0.1:15012", {}),
      .rotation = {.soak = options.soak, .absent_deadline = options.absent_deadline}};
  keeper.policy.max_ttl = options.leaf_ttl;
  keeper.policy.default_ttl = options.leaf_ttl;
  server::ControlPlaneOptions made{domain,  keeper, "127.0.0.1:15012", "127.0.0.1:15012",
                                   nullptr, {}};
  made.issue_per_second = options.issue_per_second;
  made.rejoin_grace = options.rejoin_grace;
  made.housekeep_every = options.housekeep_every;
  return made;
}

}  // namespace

std::optional<int64_t> WorkloadNamed(const std::string& holder) {
  const size_t begin = holder.rfind("/sa/w");
  int64_t workload = 0;
  if (begin == std::string::npos ||
      !absl::SimpleAtoi(holder.substr(begin + 5, holder.find('#') - begin - 5), &workload)) {
    return std::nullopt;
  }
  return workload;
}

ControlMaker RealControl() {
  return {nullptr,
          [](server::ControlPlaneOptions options, store::Store& store, keystore::SealedKeys keys,
             Clock& clock, Random& random, Executor& background, Metrics& metrics) {
            return std::make_unique<server::ControlPlane>(
                std::move(options), store, std::move(keys), clock, random, background, metrics);
          }};
}

ControlNode::ControlNode(World& world, Network& network, Checker& checker, const Options& options,
                         ControlMaker maker)
    : world_(world),
      network_(network),
      checker_(checker),
      options_(options),
      maker_(std::move(maker)),
      clock_(world, Rng(options.seed, "control drift").Chance(1, 2) ? options.drift_ppm
                                                                    : -options.drift_ppm),
      executor_(world, clock_),
      random_(options.seed),
      disk_("simulated"),
      seal_key_(SealKeyPath()) {}

ControlNode::~ControlNode() {
  executor_.Crash();
  subscription_.reset();
}

void ControlNode::Boot() {
  if (up()) return;
  faulty_ = std::make_unique<store::FaultyStore>(disk_);
  if (maker_.store != nullptr) changed_store_ = maker_.store(*faulty_);
  metrics_ = std::make_unique<Metrics>();
  plane_ = maker_.plane(OptionsFor(options_), store(),
                        *keystore::SealedKeys::Open(
                            seal_key_, keystore::SealedKeys::IfMissing::kFail, SystemRandom()),
                        clock_, random_, executor_, *metrics_);
  subscription_ = plane_->Subscribe([this] { Changed(); });
  world_.Note("control starts", restarts_);
  if (absl::Status started = plane_->Start(); !started.ok()) return Crash(absl::Seconds(5));
  WatchDisk();
}

void ControlNode::WatchDisk() {
  DieIfDiskDid();
  if (up()) executor_.After(options_.housekeep_every, [this] { WatchDisk(); });
}

void ControlNode::Crash(absl::Duration down) {
  if (!up()) return;
  ++restarts_;
  world_.Note("control crashes", restarts_);
  checker_.ControlRestarted();
  checker_.DisturbedAll(world_.now() + down + absl::Seconds(30));
  executor_.Crash();
  subscription_.reset();
  plane_.reset();
  metrics_.reset();
  changed_store_.reset();
  faulty_.reset();
  pushing_ = false;
  for (auto& [workload, stream] : std::exchange(streams_, {})) {
    if (!std::exchange(stream->open, false)) continue;
    world_.After(absl::Milliseconds(10), [stream = stream] {
      stream->ended(absl::UnavailableError("the connection was reset"));
    });
  }
  world_.After(down, [this] { Boot(); });
}

// A store that died takes its machine with it, after the task that saw it.
void ControlNode::DieIfDiskDid() {
  if (faulty_ != nullptr && faulty_->dead()) Crash(absl::Seconds(5));
}

void ControlNode::ArmDisk(store::FaultyStore::Fault fault, int nth) {
  if (up()) faulty_->Arm(fault, nth);
}

void ControlNode::Slow(absl::Duration by, absl::Duration until) {
  slow_by_ = by;
  slow_until_ = until;
}

void ControlNode::Refuse(absl::Duration until) {
  refuse_until_ = until;
}

void ControlNode::Heal() {
  slow_until_ = refuse_until_ = absl::ZeroDuration();
  if (up()) faulty_->Arm(store::FaultyStore::Fault::kNone, 0);
}

// Runs inside the keeper's step: looks, and schedules.
void ControlNode::Changed() {
  Look();
  if (std::exchange(pushing_, true)) return;
  executor_.Post([this] {
    pushing_ = false;
    Push();
  });
}

void ControlNode::Look() {
  const auto trust = plane_->trust();
  if (trust == nullptr) return;
  const absl::StatusOr<store::State> durable = disk_.Load();
  for (const store::ExemptionRecord& record : durable->exemptions) {
    if (const auto workload = WorkloadNamed(record.name)) checker_.Exempt(*workload);
  }
  checker_.Published(*trust, durable->trust);
  if (!durable->trust.serving_authority.empty()) {
    const int root = RootOf(durable->trust.serving_authority);
    if (root != std::exchange(serving_root_, root)) checker_.Serving(root);
  }
}

void ControlNode::Push() {
  if (!up()) return;
  const auto trust = plane_->trust();
  const auto streams = streams_;
  for (const auto& [workload, stream] : streams) {
    // As production's: the stream goes with the root that vouches for its certificate.
    const int root = RootOf(stream->shown.credential->leaf.authority.hex());
    if (!Holds(RootsOf(trust->bundle), root)) {
      Close(stream, absl::UnauthenticatedError("its root has left the bundle"));
    } else {
      SendUpdate(stream);
    }
  }
}

void ControlNode::SendUpdate(const std::shared_ptr<Stream>& stream) {
  auto update = plane_->UpdateFor(stream->shown.id);
  if (update == nullptr || update == stream->sent) return;
  stream->sent = update;
  const bool alive = network_.SendInOrder(Network::Way::kToAgent, stream->shown.workload,
                                          stream->last_down, [stream, update = std::move(update)] {
                                            if (stream->open) stream->update(update);
                                          });
  // Keepalive notices.
  if (!alive) {
    world_.After(absl::Seconds(20), [this, stream] {
      Close(stream, absl::UnavailableError("keepalive watchdog timeout"));
    });
  }
}

absl::StatusOr<authn::Caller> ControlNode::Authenticate(const Shown& shown, bool for_agent) {
  authn::Caller caller{.id = shown.id};
  if (!shown.credential.has_value()) {
    return server::AuthenticateToken(store(), Secret(shown.token), clock_.Now());
  }
  const lifecycle::Leaf& leaf = shown.credential->leaf;
  const absl::Time now = clock_.Now();
  const int root = RootOf(leaf.authority.hex());
  const bool trusted = Holds(RootsOf(plane_->trust()->bundle), root);
  if (trusted && leaf.not_before <= now && now < leaf.not_after) return caller;
  const bool lapsed = now >= leaf.not_after || !trusted;
  if (for_agent && lapsed && now < leaf.not_after + options_.rejoin_grace) {
    caller.proof = authn::Caller::Proof::kLapsedCertificate;
    return caller;
  }
  return absl::UnauthenticatedError("the client certificate does not verify");
}

absl::StatusOr<std::vector<std::string>> ControlNode::Issue(const Shown& shown,
                                                            const rpc::IssueRequest& request) {
  CAPSTAN_ASSIGN_OR_RETURN(const authn::Caller caller, Authenticate(shown, request.for_agent));
  const PaperCsr csr = ParsePaperCsr(request.csr);
  const absl::Time now = clock_.Now();
  const bool joins = caller.proof == authn::Caller::Proof::kJoinToken;
  if (joins) {
    absl::StatusOr<std::vector<std::string>> repeated =
        server::RepeatedAnswer(store(), caller.token_hash, request.csr, now);
    if (repeated.ok() || !absl::IsNotFound(repeated.status())) return repeated;
  }
  CAPSTAN_ASSIGN_OR_RETURN(const server::Grant grant, plane_->GrantFor(caller, request, now));
  ++granted_;
  checker_.Granted();
  const PaperLeaf leaf{
      .leaf = {absl::BytesToHexString(random_.Bytes(16)), grant.signing->issuer->authority().id,
               grant.plan.not_before, grant.plan.not_after},
      .holder = csr.holder,
      .key = csr.key};
  const fleet::Leaf known{leaf.leaf.serial, leaf.leaf.authority.hex(), leaf.leaf.not_before,
                          leaf.leaf.not_after};
  std::vector<std::string> answer = {ToText(leaf)};
  if (joins) {
    const store::PopulationRecord record{.spiffe_id = shown.id.ToString(),
                                         .instance = request.instance,
                                         .purpose = "agent",
                                         .serial = known.serial,
                                         .authority = known.authority,
                                         .not_before = known.not_before,
                                         .not_after = known.not_after,
                                         .last_seen = now,
                                         .consumers = {}};
    CAPSTAN_RETURN_IF_ERROR(
        store().ConsumeToken({caller.token_hash, request.csr, now, answer, record}));
  }
  CAPSTAN_RETURN_IF_ERROR(plane_->Remember(caller, request, known, now));
  return answer;
}

void ControlNode::Create(const Shown& shown, const rpc::IssueRequest& request, Answer answer) {
  if (!up()) return answer(absl::UnavailableError("connection refused"));
  const absl::Duration wait = world_.now() < slow_until_ ? slow_by_ : absl::ZeroDuration();
  executor_.After(wait, [this, shown, request, answer = std::move(answer)] {
    if (world_.now() < refuse_until_) return answer(absl::UnavailableError("overloaded"));
    if (serving_root_ < 0 || !Holds(shown.trusts, serving_root_)) {
      return answer(absl::UnavailableError("the server's certificate does not verify"));
    }
    absl::StatusOr<std::vector<std::string>> issued = Issue(shown, request);
    if (faulty_->dead()) return DieIfDiskDid();  // nobody answers any more
    answer(std::move(issued));
  });
}

void ControlNode::Open(const std::shared_ptr<Stream>& stream) {
  const auto refuse = [this, stream](const absl::Status& why) {
    stream->open = false;
    network_.Send(Network::Way::kToAgent, stream->shown.workload,
                  [stream, why] { stream->ended(why); });
  };
  if (!up()) return refuse(absl::UnavailableError("connection refused"));
  executor_.Post([this, stream, refuse] {
    if (!stream->open) return;
    if (serving_root_ < 0 || !Holds(stream->shown.trusts, serving_root_)) {
      return refuse(absl::UnavailableError("the server's certificate does not verify"));
    }
    absl::StatusOr<authn::Caller> caller = Authenticate(stream->shown, false);
    if (!caller.ok()) return refuse(caller.status());
    fleet::v1::Hello hello;
    hello.set_instance(stream->shown.instance);
    absl::StatusOr<int64_t> generation = plane_->Connected(*caller, hello);
    if (!generation.ok()) return refuse(generation.status());
    stream->caller = *caller;
    stream->server_root = serving_root_;
    stream->generation = *generation;
    streams_[stream->shown.workload] = stream;
    SendUpdate(stream);
    const absl::Time end = stream->shown.credential->leaf.not_after;
    executor_.After(end - clock_.Now(), [this, stream] {
      Close(stream, absl::UnauthenticatedError("its certificate has expired"));
    });
  });
}

void ControlNode::Report(const std::shared_ptr<Stream>& stream, const fleet::v1::Report& report) {
  if (!up() || !stream->open) return;
  executor_.Post([this, stream, report] {
    if (!stream->open) return;
    (void)plane_->Reported(stream->caller, stream->shown.instance, stream->generation, report);
    DieIfDiskDid();
  });
}

void ControlNode::Close(const std::shared_ptr<Stream>& stream, const absl::Status& why) {
  if (!std::exchange(stream->open, false)) return;
  const auto found = streams_.find(stream->shown.workload);
  if (found != streams_.end() && found->second == stream) streams_.erase(found);
  if (up() && stream->generation != 0) {
    plane_->Disconnected(stream->caller, stream->shown.instance, stream->generation);
  }
  world_.After(absl::Milliseconds(1), [stream, why] { stream->ended(why); });
}

absl::StatusOr<std::vector<std::string>> ControlNode::History(const trust::BundleVersion& held) {
  if (!up() || executor_.asleep()) return absl::UnavailableError("connection refused");
  return plane_->TrustHistory(held);
}

std::optional<ControlNode::Joining> ControlNode::Join(const spiffe::SpiffeId& id) {
  if (!up() || executor_.asleep() || !plane_->has_ca()) return std::nullopt;
  control::v1::CreateTokenRequest request;
  request.set_spiffe_id(id.ToString());
  request.mutable_ttl()->set_seconds(600);
  absl::StatusOr<control::v1::CreateTokenResponse> made = plane_->CreateToken(request);
  DieIfDiskDid();
  if (!made.ok()) return std::nullopt;
  Joining joining{.token = made->token()};
  joining.trust.version = {made->bundle_version().lineage(), made->bundle_version().sequence()};
  joining.trust.bundle = *trust::Bundle::ParsePem(made->roots_pem());
  return joining;
}

std::shared_ptr<const lifecycle::Trust> ControlNode::Parse(
    const std::shared_ptr<const fleet::v1::TrustUpdate>& update) {
  if (update == parsed_update_) return parsed_;
  checker_.Sent(update->SerializeAsString());
  const auto& bundle = update->bundle();
  auto parsed = lifecycle::AcceptTrust(
      {}, {.version = {bundle.version().lineage(), bundle.version().sequence()},
           .roots_pem = bundle.roots_pem(),
           .crl_number = update->crls().number(),
           .crls_pem = update->crls().pem()});
  parsed_update_ = update;
  parsed_ = parsed.ok() ? std::make_shared<const lifecycle::Trust>(*std::move(parsed)) : nullptr;
  if (parsed_ == nullptr) checker_.Fail("empty", "an update with no usable bundle was sent");
  return parsed_;
}

}  // namespace capstan::sim
