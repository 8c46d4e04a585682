// SPDX-License-Identifier: Apache-2.0
// The ConfigMaps of a real API server, written with no more than the role that docs/kubernetes.md
// asks for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "cluster/root_config_map_keeper.h"
#include "kube_fixture.h"
#include "rpc/fake_control_plane.h"

namespace capstan::server {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr kube::Resource kClusterRoles{"rbac.authorization.k8s.io", "v1", "clusterroles",
                                       "ClusterRole"};
constexpr kube::Resource kClusterRoleBindings{"rbac.authorization.k8s.io", "v1",
                                              "clusterrolebindings", "ClusterRoleBinding"};
const std::string kName(cluster::kRootConfigMap);

rotation::Gate GateFor(const trust::BundleVersion& bundle) {
  return {.kind = rotation::GateKind::kTrust, .bundle = bundle};
}

class RootConfigMapsTest : public kube::KubeFixture {
 protected:
  RootConfigMapsTest() { Allow(); }
  ~RootConfigMapsTest() override {
    keeper_.reset();
    client_.Delete(kClusterRoleBindings, {"", ns_}).IgnoreError();
    client_.Delete(kClusterRoles, {"", ns_}).IgnoreError();
  }

  // A service account that may do what the page says, and nothing else.
  void Allow() {
    const auto create = [&](const kube::Resource& resource, const kube::ObjectName& name,
                            Json object) {
      object["metadata"]["name"] = name.name;
      const auto made = client_.Create(resource, name, object);
      ASSERT_TRUE(made.ok()) << made.status();
    };
    create(kube::kServiceAccounts, {ns_, "capstand"}, Json::object());
    create(kClusterRoles, {"", ns_},
           {{"rules",
             {{{"apiGroups", {""}}, {"resources", {"namespaces"}}, {"verbs", {"list", "watch"}}},
              {{"apiGroups", {""}},
               {"resources", {"configmaps"}},
               {"resourceNames", {kName}},
               {"verbs", {"list", "watch", "patch"}}},
              {{"apiGroups", {""}}, {"resources", {"configmaps"}}, {"verbs", {"create"}}}}}});
    create(
        kClusterRoleBindings, {"", ns_},
        {{"roleRef",
          {{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "ClusterRole"}, {"name", ns_}}},
         {"subjects", {{{"kind", "ServiceAccount"}, {"name", "capstand"}, {"namespace", ns_}}}}});
  }
  kube::Access Weak(kube::Access access) {
    access.certificate = access.key = kube::Material();
    access.token = kube::Material::OfBytes(
        std::string(TokenOf("capstand", "https://kubernetes.default.svc.cluster.local").Reveal()));
    return access;
  }
  void Start(kube::Client::Options options = Fast()) {
    keeper_.reset();
    weak_ = std::make_unique<kube::Client>(Weak(client_.access()), RealClock(), options);
    StartWith(*weak_);
  }
  void StartWith(kube::Client& client) {
    metrics_ = std::make_unique<Metrics>();
    keeper_ = std::make_unique<cluster::RootConfigMapKeeper>(client, plane_, RealClock(), *metrics_,
                                                             absl::Seconds(90));
  }
  // Whether all there is holds the bundle within a while.
  bool Current(absl::Duration within = absl::Seconds(20)) {
    return Soon(
        [&] {
          return keeper_
              ->Lacking(GateFor(plane_.trust()->version), RealClock().Monotonic() + absl::Hours(1))
              .empty();
        },
        within);
  }
  static bool Soon(const std::function<bool()>& holds, absl::Duration within = absl::Seconds(10)) {
    const absl::Duration until = RealClock().Monotonic() + within;
    while (!holds()) {
      if (RealClock().Monotonic() > until) return false;
      absl::SleepFor(absl::Milliseconds(10));
    }
    return true;
  }
  absl::StatusOr<Json> Map(const std::string& ns) {
    return client_.Get(kube::kConfigMaps, {ns, kName});
  }
  std::string PemIn(const std::string& ns) {
    const absl::StatusOr<Json> map = Map(ns);
    return map.ok() ? (*map)["data"]["root-cert.pem"].get<std::string>() : "";
  }
  bool Holds(const std::string& ns, absl::Duration within = absl::Seconds(10)) {
    return Soon([&] { return PemIn(ns) == plane_.trust()->bundle.ToPem(); }, within);
  }
  std::map<std::string, std::string> Versions() {
    std::map<std::string, std::string> versions;
    const auto listed =
        client_.List(kube::kConfigMaps, {"", "", "metadata.name=" + kName}, [&](const Json& map) {
          versions[kube::NameOf(map).ns] = kube::Metadata(map, "resourceVersion");
        });
    EXPECT_TRUE(listed.ok()) << listed.status();
    return versions;
  }
  // Of those that are still there: other tests' namespaces are on their way out.
  void ExpectUntouched(const std::map<std::string, std::string>& before) {
    for (const auto& [ns, version] : Versions()) {
      if (before.contains(ns)) {
        EXPECT_EQ(version, before.at(ns)) << ns;
      }
    }
  }
  void Create(const std::string& ns) {
    const auto made = client_.Create(kube::kNamespaces, {}, {{"metadata", {{"name", ns}}}});
    EXPECT_TRUE(made.ok() || absl::IsAlreadyExists(made.status())) << made.status();
  }

  const rpc::testing::TestCa a_{absl::Now(), "root", false};
  const rpc::testing::TestCa b_{absl::Now(), "root", false};
  const rpc::testing::TestCa c_{absl::Now(), "root", false};
  rpc::testing::FakeControlPlane plane_{RealClock(), a_};
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<kube::Client> weak_;
  std::unique_ptr<cluster::RootConfigMapKeeper> keeper_;
};

TEST_F(RootConfigMapsTest, IsInEveryNamespaceButThoseThatIstioLeavesOut) {
  for (const char* ns : {"kube-public", "kube-node-lease", "local-path-storage"}) Create(ns);
  Start();
  ASSERT_TRUE(Current());
  const auto versions = Versions();
  for (const std::string& ns : {std::string("default"), std::string("kube-system"), ns_}) {
    EXPECT_TRUE(versions.contains(ns)) << ns;
    EXPECT_EQ(PemIn(ns), a_.bundle().ToPem());
    EXPECT_EQ((*Map(ns))["metadata"]["labels"]["istio.io/config"], "true");
  }
  for (const char* ns : {"kube-public", "kube-node-lease", "local-path-storage"}) {
    EXPECT_FALSE(versions.contains(ns)) << ns;
  }
  EXPECT_THAT(metrics_->Text(), HasSubstr("capstan_root_config_maps{state=\"behind\"} 0"));
}

TEST_F(RootConfigMapsTest, ComesWithANewNamespaceAndFollowsTheBundle) {
  Start();
  ASSERT_TRUE(Current());
  const absl::Duration began = RealClock().Monotonic();
  const std::string ns = MakeNamespace();
  EXPECT_TRUE(Holds(ns, absl::Seconds(1)));
  std::cout << "a new namespace has it after " << RealClock().Monotonic() - began << "\n";
  const trust::BundleVersion first = plane_.trust()->version;
  EXPECT_TRUE(Soon([&] {
    for (const auto& holder : keeper_->Lacking(GateFor(first), RealClock().Monotonic())) {
      if (holder.name == "config-map:" + ns) return false;
    }
    return true;
  })) << "nobody there has another";

  plane_.SetTrust(trust::Bundle::Of({a_.root(), b_.root()}));
  EXPECT_TRUE(Holds(ns));
  ASSERT_TRUE(Current());
  const auto lacking = keeper_->Lacking(GateFor(plane_.trust()->version), RealClock().Monotonic());
  EXPECT_GE(lacking.size(), 4u);
  EXPECT_THAT(lacking.front().why, HasSubstr("that kubelet takes to bring it to its pods"));
  client_.Delete(kube::kNamespaces, {"", ns}).IgnoreError();
}

TEST_F(RootConfigMapsTest, IsRepairedAndTheRestOfItStays) {
  const auto made =
      client_.Create(kube::kConfigMaps, {ns_, ""},
                     {{"metadata", {{"name", kName}, {"labels", {{"team", "mesh"}}}}},
                      {"data", {{"root-cert.pem", "theirs"}, {"notes.txt", "ours"}}}});
  ASSERT_TRUE(made.ok()) << made.status();
  Start();
  EXPECT_TRUE(Holds(ns_));
  const Json map = *Map(ns_);
  EXPECT_EQ(map["data"]["notes.txt"], "ours");
  EXPECT_EQ(map["metadata"]["labels"]["team"], "mesh");
  EXPECT_EQ(map["metadata"]["labels"]["istio.io/config"], "true");

  const std::string ns = MakeNamespace();
  EXPECT_TRUE(Holds(ns));
  ASSERT_TRUE(client_.Delete(kube::kConfigMaps, {ns, kName}).ok());
  EXPECT_TRUE(Holds(ns)) << "after a delete";
  ASSERT_TRUE(client_
                  .Patch(kube::kConfigMaps, {ns_, kName},
                         {{"data", {{"root-cert.pem", "edited"}, {"more", "theirs"}}}})
                  .ok());
  EXPECT_TRUE(Holds(ns_)) << "after an edit";
  EXPECT_EQ((*Map(ns_))["data"]["more"], "theirs");
  client_.Delete(kube::kNamespaces, {"", ns}).IgnoreError();
}

TEST_F(RootConfigMapsTest, ANamespaceOnItsWayOutIsLeftAlone) {
  Start();
  const auto made = client_.Create(
      kube::kNamespaces, {},
      {{"metadata", {{"generateName", "t-"}, {"finalizers", {"capstan.example/hold"}}}}});
  ASSERT_TRUE(made.ok()) << made.status();
  const std::string ns = kube::NameOf(*made).name;
  EXPECT_TRUE(Holds(ns));
  ASSERT_TRUE(client_.Delete(kube::kNamespaces, {"", ns}).ok());
  EXPECT_TRUE(Soon([&] {
    const auto object = client_.Get(kube::kNamespaces, {"", ns});
    return object.ok() && !kube::Metadata(*object, "deletionTimestamp").empty();
  }));
  const absl::Status deleted = client_.Delete(kube::kConfigMaps, {ns, kName});
  EXPECT_TRUE(deleted.ok() || absl::IsNotFound(deleted)) << deleted;
  plane_.SetTrust(b_.bundle());
  EXPECT_TRUE(Holds(ns_));
  EXPECT_TRUE(Current()) << "it holds no gate";
  EXPECT_TRUE(absl::IsNotFound(Map(ns).status()));
  EXPECT_THAT(metrics_->Text(), HasSubstr("capstan_root_config_maps{state=\"failing\"} 0"));
  (void)client_.Patch(kube::kNamespaces, {"", ns}, {{"metadata", {{"finalizers", nullptr}}}});
}

TEST_F(RootConfigMapsTest, ARestartRewritesNothing) {
  Start();
  ASSERT_TRUE(Current());
  const auto before = Versions();
  Start();
  ASSERT_TRUE(Current());
  ExpectUntouched(before);
  plane_.SetTrust(a_.bundle());  // another version of the same content
  ASSERT_TRUE(Current());
  ExpectUntouched(before);
}

TEST_F(RootConfigMapsTest, WhoMayNotWriteSaysSoAndGoesOn) {
  Start();
  ASSERT_TRUE(Current());
  ASSERT_TRUE(client_.Patch(kube::kConfigMaps, {ns_, kName}, {{"immutable", true}}).ok());
  const std::string other = MakeNamespace();
  plane_.SetTrust(b_.bundle());
  EXPECT_TRUE(Holds(other));
  EXPECT_TRUE(Soon([&] {
    const auto lacking = keeper_->Lacking(GateFor(plane_.trust()->version),
                                          RealClock().Monotonic() + absl::Hours(1));
    return lacking.size() == 1 && lacking[0].name == "config-map:" + ns_ &&
           absl::StrContains(lacking[0].why, "immutable");
  }));
  ASSERT_TRUE(client_.Delete(kube::kConfigMaps, {ns_, kName}).ok());
  EXPECT_TRUE(Holds(ns_, absl::Seconds(2)));
  client_.Delete(kube::kNamespaces, {"", other}).IgnoreError();
}

TEST_F(RootConfigMapsTest, AServerThatCannotBeReachedHoldsTheGate) {
  auto relay = std::make_unique<kube::Relay>(ServerPort());
  kube::Client through(Weak(Through(*relay)), RealClock(), Fast());
  StartWith(through);
  ASSERT_TRUE(Current());
  relay.reset();
  EXPECT_TRUE(Soon([&] {
    const auto lacking = keeper_->Lacking(GateFor(plane_.trust()->version),
                                          RealClock().Monotonic() + absl::Hours(1));
    return lacking.size() == 1 && lacking[0].name == "config-maps" &&
           absl::StrContains(lacking[0].why, "cannot be followed: ");
  }));
  keeper_.reset();
}

// Every write to any of them, as another watch sees it.
class Writes {
 public:
  Writes(kube::Client& client)
      : watch_(client, RealClock(), kube::kConfigMaps, {"", "", "metadata.name=" + kName},
               {[this](const Json& map) {
                  absl::MutexLock lock(&mutex_);
                  if (synced_) {
                    all_.push_back({RealClock().Monotonic(), kube::NameOf(map).ns,
                                    map["data"]["root-cert.pem"].get<std::string>()});
                  }
                },
                [](const kube::ObjectName&) {},
                [this] {
                  absl::MutexLock lock(&mutex_);
                  synced_ = true;
                },
                [](const absl::Status&) {}}) {}
  struct Write {
    absl::Duration at;
    std::string ns;
    std::string pem;
  };
  bool synced() {
    absl::MutexLock lock(&mutex_);
    return synced_;
  }
  std::vector<Write> Take() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(all_, {});
  }

 private:
  absl::Mutex mutex_;
  std::vector<Write> all_;
  bool synced_ = false;
  kube::Watch watch_;
};

// Never more than `burst` and then `per_second`, within what a watch may bunch together.
void ExpectPaced(const std::vector<Writes::Write>& writes, double burst, double per_second) {
  double most = 0;
  for (size_t i = 0; i < writes.size(); ++i) {
    const double allowed =
        burst + per_second * absl::ToDoubleSeconds(writes[i].at - writes.front().at);
    most = std::max(most, static_cast<double>(i + 1) - allowed);
  }
  EXPECT_LE(most, 10);
  std::cout << writes.size() << " writes in " << writes.back().at - writes.front().at
            << ", at most " << most << " more than allowed\n";
}

TEST_F(RootConfigMapsTest, ManyNamespacesChangeAtThePaceOfTheClientAndSkipWhatIsSuperseded) {
  constexpr int kMany = 300;
  kube::Client::Options paced;
  paced.per_second = 50;
  paced.burst = 20;
  std::vector<std::string> made;
  for (int i = 0; i < kMany; ++i) made.push_back(MakeNamespace());
  Writes writes(client_);
  ASSERT_TRUE(Soon([&] { return writes.synced(); }));
  Start(paced);
  ASSERT_TRUE(Current(absl::Seconds(60)));
  const std::vector<Writes::Write> first = writes.Take();
  EXPECT_GE(first.size(), static_cast<size_t>(kMany));
  ExpectPaced(first, paced.burst, paced.per_second);

  plane_.SetTrust(b_.bundle());
  absl::SleepFor(absl::Seconds(2));
  // Whoever has none does not wait behind 300 others.
  const std::string late = MakeNamespace();
  EXPECT_TRUE(Holds(late, absl::Seconds(1)));
  plane_.SetTrust(c_.bundle());
  const absl::Duration superseded = RealClock().Monotonic();
  ASSERT_TRUE(Current(absl::Seconds(60)));
  const std::vector<Writes::Write> second = writes.Take();
  ExpectPaced(second, paced.burst, paced.per_second);
  size_t of_b = 0, of_c = 0, too_late = 0;
  std::set<std::pair<std::string, std::string>> once;
  for (const Writes::Write& write : second) {
    EXPECT_TRUE(once.emplace(write.ns, write.pem).second) << "twice to " << write.ns;
    ++(write.pem == b_.bundle().ToPem() ? of_b : of_c);
    if (write.pem == b_.bundle().ToPem() && write.at > superseded + absl::Milliseconds(200)) {
      ++too_late;
    }
  }
  std::cout << of_b << " of the bundle that was superseded, " << of_c << " of the last one\n";
  EXPECT_EQ(too_late, 0u);
  EXPECT_LE(of_b, 200u);
  EXPECT_GE(of_c, static_cast<size_t>(kMany));
  keeper_.reset();
  for (const std::string& ns : made) client_.Delete(kube::kNamespaces, {"", ns}).IgnoreError();
}

}  // namespace
}  // namespace capstan::server
