// SPDX-License-Identifier: Apache-2.0
#include "sim/agent_node.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/directive.h"
#include "agent/report.h"
#include "base/status.h"
#include "rpc/stream_retry.h"
#include "trust/history.h"

namespace capstan::sim {
namespace {

constexpr char kInstance[] = "i";
constexpr absl::Duration kRewrite = absl::Seconds(2);

}  // namespace

// The agent while it runs.
struct AgentNode::Process final : public lifecycle::CaClient {
  explicit Process(AgentNode& on)
      : node(on),
        trust(node.saved_trust_),
        credential(node.saved_credential_),
        registry(sds::Config{.id = node.id_}),
        credential_paper(node.workload_ * 2),
        workload_paper(node.workload_ * 2 + 1),
        credential_driver(OptionsFor("credential", lifecycle::Purpose::kCredential),
                          PortsFor(credential_paper, [this] { OnCredential(); })),
        workload_driver(OptionsFor("workload certificate", lifecycle::Purpose::kWorkload),
                        PortsFor(workload_paper, [this] { OnWorkload(); })),
        report_timer(node.executor_),
        retry_timer(node.executor_),
        history_timer(node.executor_),
        rewrite_timer(node.executor_),
        registry_timer(node.executor_) {}
  ~Process() override {
    if (stream != nullptr && stream->open) {
      // Its machine closes the socket.
      node.around_.world.After(absl::Milliseconds(10),
                               [control = &node.around_.control, gone = stream] {
                                 gone->ended = [](const absl::Status&) {};
                                 control->Close(gone, absl::UnavailableError("the agent is gone"));
                               });
      stream->ended = [](const absl::Status&) {};
      stream->update = [](const auto&) {};
    }
  }

  lifecycle::Driver::Options OptionsFor(const char* name, lifecycle::Purpose purpose) {
    return {.name = name,
            .purpose = purpose,
            .id = node.id_,
            .instance = kInstance,
            .ttl = absl::ZeroDuration(),
            .policy = {.longest_sleep = node.around_.options.longest_sleep}};
  }
  lifecycle::Driver::Ports PortsFor(PaperEnrolment& paper, std::function<void()> serve) {
    return {.executor = node.executor_,
            .clock = node.clock_,
            .ca = *this,
            .enrolment = paper,
            .serve = [serve = std::move(serve)](const lifecycle::Leaf&) { serve(); },
            .changed = [this] { ReportSoon(); },
            .attempted =
                [this](const std::string& result) {
                  if (result != "issued" && !connected) AskHistory();
                }};
  }

  void Start() {
    Publish();
    std::optional<lifecycle::Leaf> held;
    if (credential.has_value()) held = credential->leaf;
    credential_driver.Start(held, trust->bundle);
    AskHistory();
    if (credential.has_value() && !Disowned(credential->leaf) &&
        node.clock_.Now() < credential->leaf.not_after) {
      Connect();
      StartWorkload();
    }
  }

  bool Disowned(const lifecycle::Leaf& leaf) const {
    return !Holds(RootsOf(trust->bundle), RootOf(leaf.authority.hex()));
  }

  // lifecycle::CaClient, over the network.
  void CreateCertificate(const Request& request, Callback done) override {
    const bool for_agent = request.purpose == lifecycle::Purpose::kCredential;
    rpc::IssueRequest call{.csr = request.csr_pem,
                           .ttl = request.ttl,
                           .instance = kInstance,
                           .for_agent = for_agent,
                           .replaces = request.replaces};
    auto pending = std::make_shared<Callback>(std::move(done));
    const std::weak_ptr<char> here = alive;
    const auto finish = [this, here, pending](absl::StatusOr<std::vector<std::string>> answer) {
      if (here.expired() || *pending == nullptr) return;
      node.executor_.Post(
          [here, done = std::exchange(*pending, nullptr), answer = std::move(answer)] {
            if (!here.expired()) done(answer);
          });
    };
    node.executor_.After(request.timeout, [finish] {
      finish(absl::DeadlineExceededError("no answer came in time"));
    });
    Network& network = node.around_.network;
    const Shown shown = Show();
    node.around_.checker.Sent(call.csr);
    network.Send(
        Network::Way::kToControl, node.workload_,
        [this, shown, call, finish, control = &node.around_.control, &network] {
          control->Create(shown, call, [finish, workload = shown.workload, &network](auto answer) {
            network.Send(Network::Way::kToAgent, workload, [finish, answer] { finish(answer); });
          });
        });
  }

  Shown Show() const {
    Shown shown{node.workload_, node.id_, kInstance, RootsOf(trust->bundle), std::nullopt, ""};
    if (credential.has_value()) {
      shown.credential = credential;
    } else {
      shown.token = node.token_;
    }
    return shown;
  }

  void OnCredential() {
    credential = credential_paper.accepted();
    Save();
    Connect();
    StartWorkload();
    ReplaceDisowned();
  }
  void StartWorkload() {
    if (!workload_driver.started()) workload_driver.Start(std::nullopt, trust->bundle);
  }
  void OnWorkload() {
    node.leaves_.push_back(workload_paper.accepted().leaf);
    if (node.leaves_.size() > 4) node.leaves_.pop_front();
    Publish();
  }

  void Save() {
    const bool saved = node.Write([this] {
      node.saved_trust_ = trust;
      node.saved_credential_ = credential;
    });
    if (!saved) rewrite_timer.Set(kRewrite, [this] { Save(); });
    node.TellChecker();
  }

  void Publish() {
    auto material =
        std::make_shared<sds::Material>(sds::Material{.id = node.id_,
                                                      .bundle_version = trust->version,
                                                      .roots_pem = NameOf(RootsOf(trust->bundle)),
                                                      .crls_pem = ""});
    if (const auto& leaf = workload_driver.held()) {
      material->chain_pem = absl::StrCat("chain of ", leaf->serial);
      material->key_pem = Secret(absl::StrCat(kPaperKey, " of ", leaf->serial));
      material->leaf_serial = leaf->serial;
    }
    node.Perform(registry.Published(std::move(material), node.Now()));
    ReportSoon();
  }

  // The trust stream.
  void Connect() {
    if (stream != nullptr && stream->open) {
      auto old = std::exchange(stream, nullptr);
      old->ended = [](const absl::Status&) {};
      old->update = [](const auto&) {};
      node.around_.world.After(absl::Milliseconds(10), [control = &node.around_.control, old] {
        control->Close(old, absl::CancelledError("another stream takes over"));
      });
    }
    Lose();
    retry_timer.Cancel();
    stream = std::make_shared<ControlNode::Stream>(Show());
    const std::weak_ptr<char> here = alive;
    // Not by its address: another one may come to lie where the last one lay.
    const int64_t number = ++opened;
    stream->update = [this, here,
                      number](const std::shared_ptr<const fleet::v1::TrustUpdate>& update) {
      if (here.expired()) return;
      node.executor_.Post([this, here, number, update] {
        if (!here.expired() && opened == number) OnUpdate(update);
      });
    };
    stream->ended = [this, here, number](const absl::Status& why) {
      if (here.expired()) return;
      node.executor_.Post([this, here, number, why] {
        if (!here.expired() && opened == number) OnEnded(why);
      });
    };
    const bool arrives =
        node.around_.network.SendInOrder(Network::Way::kToControl, node.workload_, stream->last_up,
                                         [control = &node.around_.control, opening = stream] {
                                           if (opening->open) control->Open(opening);
                                         });
    // What is never answered is given up.
    node.executor_.After(absl::Seconds(arrives ? 30 : 20), [this, here, number] {
      if (here.expired() || opened != number || connected) return;
      node.around_.control.Close(stream, absl::UnavailableError("no answer"));
    });
  }
  void Lose() {
    if (std::exchange(connected, false)) lost_at = node.around_.world.now();
  }
  // But for a moment, as while a stream with another certificate takes over.
  bool StaysConnected() const {
    return connected || node.around_.world.now() - lost_at < absl::Minutes(1);
  }
  void OnEnded(const absl::Status& why) {
    stream->open = false;
    Lose();
    report_timer.Cancel();
    retry_timer.Set(rpc::StreamRetry(absl::StrCat(node.workload_), ++attempts),
                    [this] { Connect(); });
    if (absl::IsUnavailable(why) || absl::IsUnauthenticated(why)) AskHistory();
  }

  void OnUpdate(const std::shared_ptr<const fleet::v1::TrustUpdate>& update) {
    attempts = 0;
    if (!std::exchange(connected, true)) {
      history_waits = 0;
      history_timer.Cancel();
      credential_driver.OnReachable();
      workload_driver.OnReachable();
      SendReport();
    }
    const auto next = node.around_.control.Parse(update);
    if (next == nullptr || !lifecycle::CheckSuccessor(*trust, *next).ok()) return;
    if (*next != *trust) TakeTrust(next);
    const auto directive = agent::DirectiveOf(*update);
    if (!directive.ok()) return;
    credential_driver.OnDirective(*directive);
    workload_driver.OnDirective(*directive);
  }

  void TakeTrust(std::shared_ptr<const lifecycle::Trust> next) {
    const bool removed = !next->bundle.Includes(trust->bundle);
    trust = std::move(next);
    Save();
    Publish();
    if (removed && credential.has_value() && !ServerStays()) Connect();
    credential_driver.OnBundle(trust->bundle);
    workload_driver.OnBundle(trust->bundle);
    if (removed) ReplaceDisowned();
  }

  // What the stream's server showed still verifies.
  bool ServerStays() const {
    return connected && Holds(RootsOf(trust->bundle), stream->server_root);
  }

  void ReplaceDisowned() {
    if (credential.has_value() && Disowned(credential->leaf)) {
      credential_driver.OnDisowned();
    } else if (workload_driver.held() && Disowned(*workload_driver.held())) {
      workload_driver.OnDisowned();
    }
  }

  // Who slept through a rotation, as agent/catch_up.h.
  void AskHistory() {
    if (history_timer.pending()) return;
    const absl::Duration wait =
        history_waits == 0
            ? absl::ZeroDuration()
            : std::min(absl::Minutes(1), absl::Seconds(1 << std::min(history_waits, 6)));
    ++history_waits;
    history_timer.Set(wait, [this] {
      const std::weak_ptr<char> here = alive;
      Network& network = node.around_.network;
      network.Send(Network::Way::kToControl, node.workload_,
                   [this, here, held = trust->version, control = &node.around_.control, &network,
                    workload = node.workload_] {
                     network.Send(Network::Way::kToAgent, workload,
                                  [this, here, held, answer = control->History(held)] {
                                    if (here.expired()) return;
                                    node.executor_.Post([this, here, held, answer] {
                                      if (!here.expired()) OnHistory(held, answer);
                                    });
                                  });
                   });
    });
  }
  void OnHistory(const trust::BundleVersion& held,
                 const absl::StatusOr<std::vector<std::string>>& documents) {
    if (!documents.ok() || documents->empty() || trust->version != held) return;
    auto links = trust::Follow(trust->bundle, trust->version, *documents, node.id_.trust_domain());
    if (!links.ok()) return;
    lifecycle::Trust next = *trust;
    next.version = links->back().version;
    next.bundle = links->back().bundle;
    if (!lifecycle::CheckSuccessor(*trust, next).ok()) return;
    TakeTrust(std::make_shared<const lifecycle::Trust>(std::move(next)));
    history_waits = 0;
    AskHistory();
  }

  // Reports, as rpc/trust_client.h sends them.
  void ReportSoon() {
    if (!connected) return;
    const absl::Duration since = node.clock_.Monotonic() - last_report;
    report_timer.Set(std::max(absl::Milliseconds(200) - since, absl::ZeroDuration()),
                     [this] { SendReport(); });
  }
  void SendReport() {
    if (!connected) return;
    agent::Standing standing{.leaf = workload_driver.held(),
                             .credential = credential_driver.held(),
                             .bundle = node.saved_trust_->version,
                             .consumers = {},
                             .last_error = ""};
    for (sds::ConsumerReport& consumer : registry.Reports()) {
      standing.consumers.emplace_back(fleet::v1::Consumer::ENVOY, std::move(consumer));
    }
    fleet::v1::Report report = agent::ToReport(standing, node.clock_.Now());
    last_report = node.clock_.Monotonic();
    const bool alive_way = node.around_.network.SendInOrder(
        Network::Way::kToControl, node.workload_, stream->last_up,
        [control = &node.around_.control, to = stream, report = std::move(report)] {
          control->Report(to, report);
        });
    if (!alive_way) {
      node.around_.world.After(absl::Seconds(20), [control = &node.around_.control, to = stream] {
        control->Close(to, absl::UnavailableError("keepalive watchdog timeout"));
      });
    }
    if (node.around_.options.idle_heartbeats || node.around_.control.rotates()) {
      report_timer.Set(node.around_.options.heartbeat, [this] { SendReport(); });
    }
  }

  AgentNode& node;
  std::shared_ptr<const lifecycle::Trust> trust;
  std::optional<PaperLeaf> credential;
  sds::Registry registry;
  std::shared_ptr<ControlNode::Stream> stream;
  int64_t opened = 0;  // streams: the number of `stream`
  bool connected = false;
  absl::Duration lost_at = -absl::InfiniteDuration();
  int attempts = 0;
  int history_waits = 0;
  absl::Duration last_report = -absl::InfiniteDuration();
  PaperEnrolment credential_paper;
  PaperEnrolment workload_paper;
  lifecycle::Driver credential_driver;
  lifecycle::Driver workload_driver;
  Timer report_timer;
  Timer retry_timer;
  Timer history_timer;
  Timer rewrite_timer;
  Timer registry_timer;
  std::shared_ptr<char> alive = std::make_shared<char>();
};

AgentNode::AgentNode(int64_t workload, Surroundings around)
    : workload_(workload),
      id_(*spiffe::SpiffeId::Parse(
          absl::StrCat("spiffe://cluster.local/ns/n", workload % 10, "/sa/w", workload))),
      around_(around),
      clock_(around.world,
             Rng(around.options.seed, "agent drift", static_cast<uint64_t>(workload)).Chance(1, 2)
                 ? around.options.drift_ppm
                 : -around.options.drift_ppm),
      executor_(around.world, clock_) {}

AgentNode::~AgentNode() {
  executor_.Crash();
}

void AgentNode::Join(ControlNode::Joining joining) {
  joined_ = true;
  joined_at_ = around_.world.now();
  token_ = std::move(joining.token);
  saved_trust_ = std::make_shared<const lifecycle::Trust>(std::move(joining.trust));
  Boot();
  StartEnvoy();
}

bool AgentNode::LockedOut() {
  if (!alive_ || process_ == nullptr || executor_.asleep()) return false;
  if (around_.world.now() - joined_at_ < absl::Minutes(11)) return false;
  if (!process_->credential.has_value()) return true;
  const lifecycle::Leaf& leaf = process_->credential->leaf;
  const absl::Duration over = clock_.Now() - leaf.not_after;
  return over > around_.options.rejoin_grace ||
         (around_.options.rejoin_grace <= absl::ZeroDuration() && process_->Disowned(leaf));
}

void AgentNode::JoinAnew(ControlNode::Joining joining) {
  around_.world.Note("joins anew", workload_);
  Stop();
  joined_at_ = around_.world.now();
  token_ = std::move(joining.token);
  saved_credential_.reset();
  saved_trust_ = std::make_shared<const lifecycle::Trust>(std::move(joining.trust));
  Boot();
}

void AgentNode::Boot() {
  if (!alive_ || process_ != nullptr) return;
  around_.world.Note("agent starts", workload_);
  process_ = std::make_unique<Process>(*this);
  process_->Start();
  ConnectEnvoy();
  TellChecker();
}

// The process is gone, and with it the streams of its Envoy.
void AgentNode::Stop() {
  executor_.Crash();
  process_.reset();
  if (envoy_.has_value()) {
    for (auto& [index, slot] : envoy_->slots) slot.stream.reset();
  }
}

void AgentNode::Crash(absl::Duration down) {
  if (process_ == nullptr) return;
  around_.world.Note("agent crashes", workload_);
  around_.checker.Disturbed(workload_, around_.world.now() + down + absl::Seconds(30));
  Stop();
  TellChecker();
  around_.world.After(down, [this] { Boot(); });
}

void AgentNode::StartEnvoy() {
  if (!alive_ || envoy_.has_value()) return;
  envoy_.emplace(absl::StrCat("envoy", workload_),
                 sds::Peer{.pid = ++envoys_, .started = 1, .connection = 1});
  envoy_->AddSlot(sds::Front::kStateOfTheWorld, {"default"});
  envoy_->AddSlot(sds::Front::kStateOfTheWorld, {"ROOTCA"});
  ConnectEnvoy();
}

void AgentNode::RestartEnvoy(absl::Duration down) {
  if (!envoy_.has_value()) return;
  around_.world.Note("envoy restarts", workload_);
  const auto slots = envoy_->slots;
  envoy_.reset();
  LookAtEnvoy();
  if (process_ != nullptr) {
    for (const auto& [index, slot] : slots) {
      if (slot.stream) Perform(process_->registry.Closed(*slot.stream, Now()));
    }
    process_->ReportSoon();
  }
  around_.world.After(down, [this] { StartEnvoy(); });
}

void AgentNode::ConnectEnvoy() {
  if (!envoy_.has_value() || process_ == nullptr) return;
  for (auto& [index, slot] : envoy_->slots) {
    if (slot.stream) continue;
    envoy_->Connect(index, ++streams_);
    Perform(process_->registry.Opened(streams_, slot.front, envoy_->peer,
                                      absl::StrCat("t", streams_), Now()));
    Feed(index);
  }
}

// What the slot's process said goes to the registry, and what that answers back, until neither has
// anything to say.
void AgentNode::Feed(size_t index) {
  while (process_ != nullptr && envoy_.has_value()) {
    sds::FakeEnvoy::Slot& slot = envoy_->slots.at(index);
    if (!slot.stream) return;
    if (!slot.to_server.empty()) {
      const sds::Request request = std::move(slot.to_server.front());
      slot.to_server.pop_front();
      Perform(process_->registry.Requested(*slot.stream, request, Now()));
    } else if (!slot.to_client.empty()) {
      envoy_->refuses = around_.world.now() < refuses_until_;
      envoy_->Receive(index);
      LookAtEnvoy();
      process_->ReportSoon();
    } else {
      return;
    }
  }
}

void AgentNode::Perform(const sds::Actions& actions) {
  std::vector<size_t> touched;
  for (const sds::Actions::Send& send : actions.sends) {
    if (envoy_.has_value()) {
      for (auto& [index, slot] : envoy_->slots) {
        if (slot.stream != send.stream) continue;
        slot.to_client.push_back(send.response);
        touched.push_back(index);
      }
    }
    Perform(process_->registry.Written(send.stream, Now()));
  }
  for (const size_t index : touched) {
    executor_.Post([this, index] {
      if (envoy_.has_value() && envoy_->slots.contains(index)) Feed(index);
    });
  }
  if (const auto wake = process_->registry.wake_at()) {
    process_->registry_timer.Set(*wake - clock_.Monotonic(), [this] {
      Perform(process_->registry.Woken(Now()));
      process_->ReportSoon();
    });
  }
}

const lifecycle::Leaf* AgentNode::LeafOf(const std::string& serial) const {
  for (const lifecycle::Leaf& leaf : leaves_) {
    if (leaf.serial == serial) return &leaf;
  }
  return nullptr;
}

// What its Envoy really verifies by and shows, whatever was said about it.
void AgentNode::LookAtEnvoy() {
  std::optional<Checker::Live> live;
  const lifecycle::Leaf* leaf = nullptr;
  if (envoy_.has_value() && !envoy_->contexts.empty()) {
    const sds::FakeEnvoy::Context& context = envoy_->contexts.begin()->second;
    leaf = LeafOf(context.leaf);
    if (leaf != nullptr) {
      live = Checker::Live{ParseRoots(context.trust), RootOf(leaf->authority.hex())};
    }
  }
  const absl::Duration end = leaf == nullptr ? absl::ZeroDuration() : leaf->not_after - Epoch();
  if (leaf != nullptr && end <= around_.world.now()) live.reset();
  if (live.has_value() && leaf->serial != shows_) {
    shows_ = leaf->serial;
    if (expiry_ != 0) around_.world.Cancel(expiry_);
    expiry_ = around_.world.At(end, [this] {
      expiry_ = 0;
      if (!alive_ || !envoy_.has_value()) return;
      around_.checker.Proxy(workload_, std::nullopt);
      around_.checker.Lapsed(workload_);
    });
  }
  around_.checker.Proxy(workload_, live);
}

void AgentNode::TellChecker() {
  // An agent that is down comes back with what its disk holds.
  const auto& trust = process_ != nullptr ? process_->trust : saved_trust_;
  const auto& credential = process_ != nullptr ? process_->credential : saved_credential_;
  const bool counts = alive_ && credential.has_value();
  around_.checker.Agent(workload_, counts ? std::optional(RootsOf(trust->bundle)) : std::nullopt,
                        counts ? credential->leaf.not_after - Epoch() : absl::ZeroDuration());
}

bool AgentNode::Write(const std::function<void()>& write) {
  if (around_.world.now() < writes_fail_until_) return false;
  write();
  return true;
}

void AgentNode::RefuseUntil(absl::Duration until) {
  refuses_until_ = std::max(refuses_until_, until);
  around_.checker.Disturbed(workload_, until + absl::Minutes(2));
}

void AgentNode::FailWritesUntil(absl::Duration until) {
  writes_fail_until_ = std::max(writes_fail_until_, until);
}

void AgentNode::Die() {
  around_.world.Note("workload dies", workload_);
  alive_ = false;
  executor_.Crash();
  process_.reset();
  envoy_.reset();
  LookAtEnvoy();
  TellChecker();
}

void AgentNode::Report() {
  if (process_ != nullptr) process_->ReportSoon();
}

void AgentNode::Heal() {
  refuses_until_ = writes_fail_until_ = absl::ZeroDuration();
  clock_.Correct();
}

bool AgentNode::AtRest(Roots last, const trust::AuthorityId& issuer) const {
  if (!alive_ || !joined_) return true;
  if (process_ == nullptr || !process_->StaysConnected() || !envoy_.has_value()) return false;
  if (envoy_->contexts.empty() || !process_->workload_driver.held()) return false;
  const sds::FakeEnvoy::Context& context = envoy_->contexts.begin()->second;
  return context.trust == NameOf(last) && process_->workload_driver.held()->authority == issuer &&
         context.leaf == process_->workload_driver.held()->serial;
}

std::string AgentNode::Describe() const {
  if (process_ == nullptr) return "its agent is down";
  std::string text =
      absl::StrCat(process_->connected ? "connected" : "not connected", ", trusts ",
                   NameOf(RootsOf(process_->trust->bundle)), ", holds ",
                   process_->workload_driver.held()
                       ? NameOfAuthority(process_->workload_driver.held()->authority.hex())
                       : "no leaf");
  const std::string& failure = process_->workload_driver.last_failure();
  const std::string& other = process_->credential_driver.last_failure();
  if (!failure.empty()) absl::StrAppend(&text, "; its workload's: ", failure);
  if (!other.empty()) absl::StrAppend(&text, "; its own: ", other);
  if (envoy_.has_value() && !envoy_->contexts.empty()) {
    absl::StrAppend(&text, "; its Envoy trusts ", envoy_->contexts.begin()->second.trust);
  } else {
    absl::StrAppend(&text, "; its Envoy has nothing");
  }
  return text;
}

}  // namespace capstan::sim
