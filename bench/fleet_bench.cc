// SPDX-License-Identifier: Apache-2.0
// What a rotation of the root takes in a whole fleet: one capstand (gRPC with TLS on loopback, its
// state in SQLite) and many agents (each with its keys, its channels, its certificates' drivers,
// its trust stream and its state directory) in one process. Only the Envoys are not real: each
// agent has a consumer that accepts what it is given. See README.md beside this file.
#include <benchmark/benchmark.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "agent/agent.h"
#include "authn/join_file.h"
#include "base/event_loop.h"
#include "base/log.h"
#include "base/status.h"
#include "rpc/server.h"
#include "server/built_in_ca.h"
#include "server/control_plane.h"
#include "store/sqlite_store.h"

namespace capstan {
namespace {

constexpr char kTrustDomain[] = "cluster.local";
constexpr int kCertificatesEach = 2;  // the workload's, and its agent's credential
// At the most crowded moment, when everybody's connections are replaced: both ends are in here.
constexpr int kDescriptorsEach = 10;
constexpr int kOtherDescriptors = 100;
// How many agents' tasks may run at once; in production each has a machine of its own.
constexpr int kLanes = 16;
// How many agents enrol at once. How a stampede ends is not what is measured.
constexpr int64_t kWave = 50;

struct Setup {
  std::vector<int64_t> agents = {100, 300, 1000};
  double per_second = 25;
};

absl::StatusOr<Setup> ReadSetup() {
  Setup setup;
  if (const char* text = std::getenv("CAPSTAN_FLEET_AGENTS"); text != nullptr) {
    setup.agents.clear();
    for (const absl::string_view part : absl::StrSplit(text, ',')) {
      int64_t agents = 0;
      if (!absl::SimpleAtoi(part, &agents) || agents < 1) {
        return absl::InvalidArgumentError(absl::StrCat(
            "CAPSTAN_FLEET_AGENTS: \"", text, "\" is no list of numbers such as 50 or 100,1000"));
      }
      setup.agents.push_back(agents);
    }
  }
  if (const char* text = std::getenv("CAPSTAN_FLEET_BUDGET"); text != nullptr) {
    if (!absl::SimpleAtod(text, &setup.per_second) || !(setup.per_second > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("CAPSTAN_FLEET_BUDGET: \"", text, "\" is no number above 0"));
    }
  }
  return setup;
}

absl::Status AllowDescriptors(int64_t agents) {
  const auto needed = static_cast<rlim_t>(agents * kDescriptorsEach + kOtherDescriptors);
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return ErrnoError(errno, "getrlimit");
  if (limit.rlim_cur >= needed) return absl::OkStatus();
  if (limit.rlim_max < needed) {
    return absl::FailedPreconditionError(
        absl::StrCat(agents, " agents need up to ", needed,
                     " open files, and this process may have no more than ", limit.rlim_max,
                     ": raise the hard limit (ulimit -Hn), or ask for fewer agents with "
                     "CAPSTAN_FLEET_AGENTS"));
  }
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return ErrnoError(errno, "setrlimit");
  return absl::OkStatus();
}

// main() blocked them: a run that is stopped ends in order, and leaves no files behind.
sigset_t StopSignals() {
  sigset_t stop;
  sigemptyset(&stop);
  for (const int signal : {SIGINT, SIGTERM}) sigaddset(&stop, signal);
  return stop;
}

// Until `reached`. DeadlineExceeded: not `within` this time, but what `lacks` says. Cancelled: by a
// signal.
absl::Status WaitFor(const std::function<bool()>& reached, absl::Duration within,
                     const std::function<std::string()>& lacks) {
  const absl::Duration end = RealClock().Monotonic() + within;
  const sigset_t stop = StopSignals();
  constexpr timespec kPause = {0, 100'000'000};
  while (!reached()) {
    if (sigtimedwait(&stop, nullptr, &kPause) > 0) return absl::CancelledError("stopped");
    if (RealClock().Monotonic() > end) {
      return absl::DeadlineExceededError(
          absl::StrCat("after ", absl::FormatDuration(within), ": ", lacks()));
    }
  }
  return absl::OkStatus();
}

class TemporaryFolder {
 public:
  TemporaryFolder() : path_((std::filesystem::temp_directory_path() / "fleet_XXXXXX").string()) {
    if (mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }  // empty: it could not be made

 private:
  std::string path_;
};

// When each version of the bundle was published, and when whose consumers had accepted it, as far
// as their reports have come in. Thread-safe.
class Timeline {
 public:
  void Published(int64_t sequence) {
    absl::MutexLock lock(&mutex_);
    std::optional<absl::Duration>& published = versions_[sequence].published;
    if (!published.has_value()) published = RealClock().Monotonic();
  }
  void Acknowledged(const std::string& instance, int64_t sequence) {
    absl::MutexLock lock(&mutex_);
    int64_t& newest = newest_[instance];
    for (; newest < sequence; ++newest) {
      Version& version = versions_[newest + 1];
      ++version.instances;
      version.last = RealClock().Monotonic();
    }
  }
  int64_t Instances(int64_t sequence) const {
    absl::MutexLock lock(&mutex_);
    const auto version = versions_.find(sequence);
    return version == versions_.end() ? 0 : version->second.instances;
  }
  // From the publication to the last acknowledgement so far.
  absl::Duration Spread(int64_t sequence) const {
    absl::MutexLock lock(&mutex_);
    const Version& version = versions_.at(sequence);
    return version.last - version.published.value_or(version.last);
  }

 private:
  struct Version {
    std::optional<absl::Duration> published;
    int64_t instances = 0;
    absl::Duration last;
  };
  mutable absl::Mutex mutex_;
  std::map<int64_t, Version> versions_ ABSL_GUARDED_BY(mutex_);  // by sequence
  std::map<std::string, int64_t> newest_ ABSL_GUARDED_BY(mutex_);
};

// capstand's own control plane; beside what it does it notes the time.
class TimedPlane final : public server::ControlPlane {
 public:
  using ControlPlane::ControlPlane;

  void Watch() {
    subscription_ = Subscribe([this] { timeline_.Published(trust()->version.sequence); });
  }
  const Timeline& timeline() const { return timeline_; }

  absl::Status Reported(const authn::Caller& caller, const std::string& instance,
                        int64_t generation, const fleet::v1::Report& report) override {
    CAPSTAN_RETURN_IF_ERROR(ControlPlane::Reported(caller, instance, generation, report));
    for (const fleet::v1::Consumer& consumer : report.consumers()) {
      if (!consumer.connected() || consumer.acknowledged_leaf_serial().empty()) continue;
      timeline_.Acknowledged(instance, consumer.acknowledged_bundle().sequence());
    }
    return absl::OkStatus();
  }

 private:
  Timeline timeline_;
  std::shared_ptr<void> subscription_;
};

// capstand as its daemon wires it, but for the operator's socket and HTTP.
class Capstand {
 public:
  static absl::StatusOr<std::unique_ptr<Capstand>> Start(const std::string& state_dir,
                                                         double per_second) {
    std::unique_ptr<Capstand> capstand(new Capstand);
    CAPSTAN_RETURN_IF_ERROR(capstand->Prepare(state_dir, per_second));
    return capstand;
  }
  ~Capstand() {
    if (server_ != nullptr) server_->Shutdown();
    background_.Stop();
  }
  TimedPlane& plane() { return *plane_; }
  const Timeline& timeline() const { return plane_->timeline(); }

 private:
  Capstand() = default;
  absl::Status Prepare(const std::string& state_dir, double per_second);

  Metrics metrics_;
  std::unique_ptr<store::SqliteStore> store_;
  EventLoop background_{RealClock()};
  std::unique_ptr<TimedPlane> plane_;
  std::unique_ptr<rpc::Server> server_;
};

absl::Status Capstand::Prepare(const std::string& state_dir, double per_second) {
  constexpr char kListen[] = "127.0.0.1:0";
  CAPSTAN_ASSIGN_OR_RETURN(store_, store::SqliteStore::Open(state_dir, SystemRandom()));
  CAPSTAN_ASSIGN_OR_RETURN(
      keystore::SealedKeys keys,
      keystore::SealedKeys::Open(state_dir + "/seal.key", keystore::SealedKeys::IfMissing::kCreate,
                                 SystemRandom()));
  CAPSTAN_ASSIGN_OR_RETURN(const spiffe::TrustDomain domain,
                           spiffe::TrustDomain::Parse(kTrustDomain));
  server::ControlPlaneOptions options{
      .trust_domain = domain,
      .keeper = {.serving_names = server::NamesFor(domain, kListen, kListen, {}),
                 .rotation = {.soak = absl::ZeroDuration()}},
      .listen_address = kListen,
      .advertise_address = kListen,
      .issue_per_second = per_second};
  plane_ = std::make_unique<TimedPlane>(std::move(options), *store_, std::move(keys), RealClock(),
                                        SystemRandom(), background_, metrics_);
  CAPSTAN_RETURN_IF_ERROR(plane_->Start());
  CAPSTAN_ASSIGN_OR_RETURN(
      const trust::CaSet first,
      server::MakeBuiltInCa(domain, x509::KeyType::kEcdsaP256, absl::Hours(87600), SystemRandom(),
                            RealClock().Now()));
  CAPSTAN_RETURN_IF_ERROR(plane_->Offer(first, {.source = "built-in"}).status());
  CAPSTAN_ASSIGN_OR_RETURN(server_, rpc::Server::Start({.listen = kListen}, *plane_, RealClock()));
  const std::string address = absl::StrCat("127.0.0.1:", server_->port());
  plane_->set_addresses(address, address);
  plane_->Watch();
  return absl::OkStatus();
}

// Accepts what it is given, whole, as soon as the agent's executor comes to it.
class AgreeingConsumer final : public agent::Delivery {
 public:
  AgreeingConsumer(Executor& executor, std::function<void()> changed)
      : changed_(std::move(changed)), accept_(executor) {
    report_.id = "agreeing";
    report_.connected = true;
  }
  void Publish(std::shared_ptr<const sds::Material> material) override {
    accept_.Set(absl::ZeroDuration(), [this, material = std::move(material)] {
      report_.acknowledged_bundle = material->bundle_version;
      report_.acknowledged_leaf_serial = material->leaf_serial;
      report_.acknowledged_at = RealClock().Now();
      changed_();
    });
  }
  fleet::v1::Consumer::Kind kind() const override { return fleet::v1::Consumer::ENVOY; }
  std::vector<sds::ConsumerReport> Consumers() override { return {report_}; }

 private:
  const std::function<void()> changed_;
  sds::ConsumerReport report_;
  Timer accept_;
};

// An agent as its program wires it, but for SDS and HTTP. Started and destroyed by a task of its
// executor.
class Member {
 public:
  static absl::StatusOr<std::unique_ptr<Member>> Make(const std::string& state_dir,
                                                      authn::JoinFile join, Executor& executor) {
    std::unique_ptr<Member> member(new Member(executor));
    CAPSTAN_ASSIGN_OR_RETURN(member->state_, agent::StateDirectory::Open(state_dir));
    CAPSTAN_ASSIGN_OR_RETURN(const std::string instance, member->state_->Instance(SystemRandom()));
    CAPSTAN_ASSIGN_OR_RETURN(
        agent::StartingPoint start,
        agent::FindStartingPoint(
            {.state_dir = state_dir, .join_path = "join.json", .join = std::move(join)},
            RealClock().Now()));
    member->agent_ = std::make_unique<agent::Agent>(
        agent::Agent::Options{.instance = instance}, std::move(start),
        agent::Agent::Environment{
            executor, RealClock(), member->metrics_, *member->state_, {&member->consumer_}});
    return member;
  }
  absl::Status Start() { return agent_->Start(); }

 private:
  explicit Member(Executor& executor)
      : consumer_(executor, [this] { agent_->OnConsumersChanged(); }) {}

  Metrics metrics_;
  std::unique_ptr<agent::StateDirectory> state_;
  AgreeingConsumer consumer_;
  std::unique_ptr<agent::Agent> agent_;
};

// The agents, spread over threads.
class Fleet {
 public:
  ~Fleet() {
    for (Lane& lane : lanes_) lane.loop.Post([&lane] { lane.members.clear(); });
    for (Lane& lane : lanes_) lane.loop.RunAndWait([] {});
  }
  // Starts so many more, each with a join token and a folder in `folder`.
  absl::Status Grow(TimedPlane& plane, const std::string& folder, int64_t agents);
  int64_t size() const { return size_; }

 private:
  struct Lane {
    EventLoop loop{RealClock()};
    std::vector<std::unique_ptr<Member>> members;
    size_t started = 0;   // of the members
    absl::Status failed;  // the first failure to start
  };
  void StartMembers(Lane& lane);

  std::vector<Lane> lanes_ = std::vector<Lane>(kLanes);
  int64_t size_ = 0;
};

absl::StatusOr<authn::JoinFile> NewJoinFile(TimedPlane& plane, int64_t number) {
  control::v1::CreateTokenRequest request;
  request.set_spiffe_id(absl::StrCat("spiffe://", kTrustDomain, "/ns/fleet/sa/w", number));
  request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(absl::Hours(1)));
  CAPSTAN_ASSIGN_OR_RETURN(control::v1::CreateTokenResponse made, plane.CreateToken(request));
  CAPSTAN_ASSIGN_OR_RETURN(spiffe::SpiffeId server,
                           spiffe::SpiffeId::Parse(made.server_spiffe_id()));
  CAPSTAN_ASSIGN_OR_RETURN(spiffe::SpiffeId id, spiffe::SpiffeId::Parse(request.spiffe_id()));
  const auto trust = plane.trust();
  return authn::JoinFile{.address = made.listen_address(),
                         .server_id = std::move(server),
                         .spiffe_id = std::move(id),
                         .token = Secret(made.token()),
                         .token_expires = absl::FromUnixSeconds(made.expires().seconds()),
                         .bundle_version = trust->version,
                         .bundle = trust->bundle};
}

absl::Status Fleet::Grow(TimedPlane& plane, const std::string& folder, int64_t agents) {
  for (int64_t i = 0; i < agents; ++i, ++size_) {
    Lane& lane = lanes_[static_cast<size_t>(size_) % lanes_.size()];
    CAPSTAN_ASSIGN_OR_RETURN(authn::JoinFile join, NewJoinFile(plane, size_));
    CAPSTAN_ASSIGN_OR_RETURN(
        std::unique_ptr<Member> member,
        Member::Make(absl::StrCat(folder, "/agent-", size_), std::move(join), lane.loop));
    lane.loop.RunAndWait([&] { lane.members.push_back(std::move(member)); });
  }
  for (Lane& lane : lanes_) lane.loop.Post([this, &lane] { StartMembers(lane); });
  absl::Status started;
  for (Lane& lane : lanes_) lane.loop.RunAndWait([&] { started.Update(lane.failed); });
  return started;
}

void Fleet::StartMembers(Lane& lane) {
  for (; lane.started < lane.members.size(); ++lane.started) {
    lane.failed.Update(lane.members[lane.started]->Start());
  }
}

struct Measured {
  absl::Duration enrolment;
  absl::Duration push;     // A+B published … the last report that its consumer accepted it
  absl::Duration removal;  // the same for B alone
  absl::Duration rotation;
};

// How long a thing may take that takes `ideal` at best, until it is held to have failed.
absl::Duration Patience(absl::Duration ideal) {
  return absl::Minutes(2) + 5 * ideal;
}

absl::Status WaitForEverybody(const Capstand& capstand, int64_t sequence, int64_t agents,
                              absl::Duration within) {
  const auto acknowledged = [&] { return capstand.timeline().Instances(sequence); };
  return WaitFor([&] { return acknowledged() == agents; }, within,
                 [&] {
                   return absl::StrCat(
                       acknowledged(), " of ", agents,
                       " agents reported that their consumer accepted the bundle of sequence ",
                       sequence);
                 });
}

// Joins them in waves.
absl::Status Enrol(Fleet& fleet, Capstand& capstand, const std::string& folder, int64_t agents,
                   absl::Duration within) {
  TimedPlane& plane = capstand.plane();
  while (fleet.size() < agents) {
    CAPSTAN_RETURN_IF_ERROR(fleet.Grow(plane, folder, std::min(kWave, agents - fleet.size())));
    CAPSTAN_RETURN_IF_ERROR(
        WaitForEverybody(capstand, plane.trust()->version.sequence, fleet.size(), within));
  }
  return absl::OkStatus();
}

// Nobody was passed over, and everybody shows a leaf of the new root.
absl::Status CheckOutcome(TimedPlane& plane, const server::RotationView& view, int64_t agents) {
  if (view.record.outcome != "done" || !view.exempt.empty()) {
    return absl::InternalError(absl::StrCat("the rotation ended as ", view.record.outcome, " with ",
                                            view.exempt.size(), " passed over"));
  }
  const control::v1::ListFleetResponse fleet = plane.ListFleet();
  const std::string issuer = plane.trust()->issuer.hex();
  const auto arrived = std::count_if(fleet.workloads().begin(), fleet.workloads().end(),
                                     [&](const control::v1::Workload& w) {
                                       return w.connected() && w.leaf().authority_id() == issuer &&
                                              w.credential().authority_id() == issuer;
                                     });
  if (plane.trust()->bundle.roots().size() == 1 && arrived == agents) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the rotation is done, but ", arrived, " of ", agents,
                                          " agents are connected with leaves of the new root"));
}

absl::StatusOr<server::RotationView> Rotate(TimedPlane& plane, absl::Duration within) {
  control::v1::StartRotationRequest request;
  request.set_generate(true);
  CAPSTAN_RETURN_IF_ERROR(plane.StartRotation(request).status());
  std::optional<server::RotationView> view;
  CAPSTAN_RETURN_IF_ERROR(WaitFor(
      [&] {
        view = plane.keeper().rotation();
        return view.has_value() && view->record.finished();
      },
      within, [&] { return absl::StrCat("the rotation waits: ", view->decision.gate.summary); }));
  return *std::move(view);
}

absl::StatusOr<Measured> Measure(int64_t agents, double per_second) {
  CAPSTAN_RETURN_IF_ERROR(AllowDescriptors(agents));
  const TemporaryFolder folder;
  if (folder.path().empty()) return absl::UnavailableError("no temporary folder can be made");
  const absl::Duration patience =
      Patience(absl::Seconds(static_cast<double>(kCertificatesEach * agents) / per_second));
  CAPSTAN_ASSIGN_OR_RETURN(const std::unique_ptr<Capstand> capstand,
                           Capstand::Start(folder.path() + "/capstand", per_second));
  TimedPlane& plane = capstand->plane();

  Fleet fleet;
  const absl::Duration began = RealClock().Monotonic();
  CAPSTAN_RETURN_IF_ERROR(Enrol(fleet, *capstand, folder.path(), agents, patience));
  const absl::Duration enrolled = RealClock().Monotonic();

  const int64_t first = plane.trust()->version.sequence;
  CAPSTAN_ASSIGN_OR_RETURN(const server::RotationView view, Rotate(plane, patience));
  const int64_t last = plane.trust()->version.sequence;
  CAPSTAN_RETURN_IF_ERROR(CheckOutcome(plane, view, agents));
  CAPSTAN_RETURN_IF_ERROR(WaitForEverybody(*capstand, last, agents, patience));
  return Measured{.enrolment = enrolled - began,
                  .push = capstand->timeline().Spread(first + 1),
                  .removal = capstand->timeline().Spread(last),
                  .rotation = view.record.finished_at - view.record.started_at};
}

// The last failure of a run.
absl::Status& Failure() {
  static absl::Status failure;
  return failure;
}

// The first run's, which the others are compared with.
struct Base {
  int64_t agents = 0;
  double push_seconds = 0;
};

void Rotation(benchmark::State& state, double per_second) {
  static Base base;
  const int64_t agents = state.range(0);
  for (auto _ : state) {
    const absl::StatusOr<Measured> measured =
        absl::IsCancelled(Failure()) ? Failure() : Measure(agents, per_second);
    if (!measured.ok()) {
      Failure() = measured.status();
      state.SkipWithError(measured.status().ToString().c_str());
      break;
    }
    const double push = absl::ToDoubleSeconds(measured->push);
    const double rotation = absl::ToDoubleSeconds(measured->rotation);
    const double ideal = static_cast<double>(kCertificatesEach * agents) / per_second;
    if (base.agents == 0) base = {agents, push};
    state.SetIterationTime(rotation);
    state.counters["agents"] = static_cast<double>(agents);
    state.counters["enrolment_s"] = absl::ToDoubleSeconds(measured->enrolment);
    state.counters["push_to_last_ack_s"] = push;
    state.counters["push_growth"] = push / base.push_seconds;
    state.counters["agents_growth"] =
        static_cast<double>(agents) / static_cast<double>(base.agents);
    state.counters["removal_to_last_ack_s"] = absl::ToDoubleSeconds(measured->removal);
    state.counters["rotation_s"] = rotation;
    state.counters["ideal_s"] = ideal;
    state.counters["ratio"] = rotation / ideal;
  }
}

void Register(const Setup& setup) {
  auto* rotation = benchmark::RegisterBenchmark(
      "Rotation", [&setup](benchmark::State& state) { Rotation(state, setup.per_second); });
  for (const int64_t agents : setup.agents) rotation->Arg(agents);
  rotation->Iterations(1)->UseManualTime()->Unit(benchmark::kSecond);
}

int Run(int argc, char** argv) {
  const sigset_t stop = StopSignals();
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  log::Configure(log::Format::kText, log::Level::kError);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const absl::StatusOr<Setup> setup = ReadSetup();
  if (!setup.ok()) {
    std::fprintf(stderr, "fleet_bench: %s\n", std::string(setup.status().message()).c_str());
    return 2;
  }
  Register(*setup);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return Failure().ok() ? 0 : 1;
}

}  // namespace
}  // namespace capstan

int main(int argc, char** argv) {
  return capstan::Run(argc, argv);
}
