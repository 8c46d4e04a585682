// SPDX-License-Identifier: Apache-2.0
// The Kubernetes client and a real API server, which `kubelite up` has started: KUBECONFIG says
// where.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/strings.h"
#include "kube/client.h"
#include "kube/token_review.h"
#include "kube/watch.h"

namespace capstan::kube {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Json ConfigMap(const std::string& name, const std::string& value) {
  return {{"apiVersion", "v1"},
          {"kind", "ConfigMap"},
          {"metadata", {{"name", name}}},
          {"data", {{"key", value}}}};
}

// Forwards connections to another port, until it is told to forget about that.
class Relay {
 public:
  explicit Relay(int to) : to_(to), listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = Loopback(0);
    socklen_t length = sizeof(address);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(listen(listener_, 16), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Run(); });
  }
  ~Relay() {
    stop_ = true;
    thread_.join();
    for (const auto& [a, b] : pairs_) close(a), close(b);
    close(listener_);
  }
  int port() const { return port_; }
  int accepted() const { return accepted_; }
  // What is open stays open and nothing passes any more; new connections work.
  void Freeze() { freeze_ = true; }
  void Cut() { cut_ = true; }

 private:
  static sockaddr_in Loopback(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
  }
  static bool Pass(int from, int to) {
    char bytes[16384];
    const ssize_t got = recv(from, bytes, sizeof(bytes), 0);
    return got > 0 && send(to, bytes, static_cast<size_t>(got), MSG_NOSIGNAL) == got;
  }
  void Accept() {
    const int in = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    const int out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(to_);
    EXPECT_EQ(connect(out, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    pairs_.emplace_back(in, out);
    ++accepted_;
  }
  void Run() {
    std::set<int> frozen;
    while (!stop_) {
      if (freeze_.exchange(false)) {
        for (const auto& [a, b] : pairs_) frozen.insert({a, b});
      }
      std::vector<pollfd> fds = {{listener_, POLLIN, 0}};
      std::erase_if(pairs_, [&, cut = cut_.exchange(false)](const auto& pair) {
        if (cut) close(pair.first), close(pair.second);
        return cut;
      });
      for (const auto& [a, b] : pairs_) {
        if (frozen.contains(a)) continue;
        fds.push_back({a, POLLIN, 0});
        fds.push_back({b, POLLIN, 0});
      }
      if (poll(fds.data(), fds.size(), 20) <= 0) continue;
      for (size_t i = 1; i + 1 < fds.size(); i += 2) {
        const int a = fds[i].fd, b = fds[i + 1].fd;
        if ((fds[i].revents == 0 || Pass(a, b)) && (fds[i + 1].revents == 0 || Pass(b, a))) {
          continue;
        }
        close(a), close(b);
        std::erase(pairs_, std::pair(a, b));
      }
      if (fds[0].revents != 0) Accept();
    }
  }

  const int to_;
  const int listener_;
  int port_ = 0;
  std::vector<std::pair<int, int>> pairs_;
  std::atomic<int> accepted_ = 0;
  std::atomic<bool> stop_ = false, freeze_ = false, cut_ = false;
  std::thread thread_;
};

// What a watch told, to be waited for.
class Journal {
 public:
  Watch::Handler handler() {
    return {[this](const Json& object) {
              Say(absl::StrCat("seen ", NameOf(object).name, "=", object["data"].value("key", "")));
            },
            [this](const ObjectName& name) { Say(absl::StrCat("gone ", name.name)); },
            [this] { Say("synced"); },
            [this](const absl::Status& why) {
              absl::MutexLock lock(&mutex_);
              troubles_.push_back(why);
            }};
  }
  std::vector<std::string> Told(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return told_.size() >= count; };
    mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(30));
    return told_;
  }
  std::vector<absl::Status> troubles() {
    absl::MutexLock lock(&mutex_);
    return troubles_;
  }

 private:
  void Say(std::string what) {
    absl::MutexLock lock(&mutex_);
    told_.push_back(std::move(what));
  }
  absl::Mutex mutex_;
  std::vector<std::string> told_;
  std::vector<absl::Status> troubles_;
};

class KubeApiTest : public ::testing::Test {
 protected:
  KubeApiTest() : client_(MustRead(), RealClock(), Fast()), ns_(MakeNamespace()) {}
  ~KubeApiTest() override { client_.Delete(kNamespaces, {"", ns_}).IgnoreError(); }

  static Access MustRead() {
    const char* path = std::getenv("KUBECONFIG");
    auto access = ReadKubeconfig(path == nullptr ? "" : path);
    EXPECT_TRUE(access.ok()) << access.status();
    return access.value_or(Access());
  }
  static Client::Options Fast() {
    Client::Options options;
    options.per_second = 10'000;
    options.burst = 1000;
    return options;
  }
  std::string MakeNamespace() {
    const auto made = client_.Create(kNamespaces, {}, {{"metadata", {{"generateName", "t-"}}}});
    EXPECT_TRUE(made.ok()) << made.status();
    return made.ok() ? NameOf(*made).name : "";
  }
  // The same server behind a relay.
  Access Through(const Relay& relay) const {
    Access access = client_.access();
    access.server = absl::StrCat("https://127.0.0.1:", relay.port());
    return access;
  }
  int ServerPort() const {
    const std::string& server = client_.access().server;
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(server.substr(server.rfind(':') + 1), &port));
    return port;
  }
  Selection Here() const { return {ns_, "", "metadata.name!=kube-root-ca.crt"}; }
  void Put(const std::string& name, const std::string& value) {
    const auto put =
        client_.Apply(kConfigMaps, {ns_, name}, ConfigMap(name, value), "test", Client::Force::kNo);
    ASSERT_TRUE(put.ok()) << put.status();
  }
  Secret TokenOf(const std::string& account, const std::string& audience,
                 const Json& bound_to = nullptr) {
    Json request = {{"spec", {{"audiences", {audience}}, {"expirationSeconds", 600}}}};
    if (!bound_to.is_null()) request["spec"]["boundObjectRef"] = bound_to;
    const auto made = client_.Create(kServiceAccounts, {ns_, account}, request, "token");
    EXPECT_TRUE(made.ok()) << made.status();
    return Secret(made.ok() ? (*made)["status"]["token"].get<std::string>() : "");
  }

  Client client_;
  const std::string ns_;
};

TEST_F(KubeApiTest, WritesWithPreconditions) {
  const ObjectName name{ns_, "a"};
  auto made = client_.Create(kConfigMaps, {ns_, ""}, ConfigMap("a", "1"));
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(client_.Create(kConfigMaps, {ns_, ""}, ConfigMap("a", "1")).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(client_.Get(kConfigMaps, {ns_, "b"}).status().code(), absl::StatusCode::kNotFound);

  Json next = *made;
  next["data"]["key"] = "2";
  ASSERT_TRUE(client_.Replace(kConfigMaps, name, next).ok());
  EXPECT_EQ(client_.Replace(kConfigMaps, name, next).status().code(), absl::StatusCode::kAborted)
      << "made from an old version";

  const Json stale = {{"metadata", {{"resourceVersion", Metadata(*made, "resourceVersion")}}},
                      {"data", {{"key", "3"}}}};
  EXPECT_EQ(client_.Patch(kConfigMaps, name, stale).status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(client_.Patch(kConfigMaps, name, {{"data", {{"key", "3"}}}}).ok());
  EXPECT_EQ((*client_.Get(kConfigMaps, name))["data"]["key"], "3");

  EXPECT_EQ(client_.Delete(kConfigMaps, name, {.uid = "another"}).code(),
            absl::StatusCode::kAborted);
  EXPECT_TRUE(client_.Delete(kConfigMaps, name, {.uid = Metadata(*made, "uid")}).ok());
  EXPECT_EQ(client_.Delete(kConfigMaps, name).code(), absl::StatusCode::kNotFound);

  const absl::Status refused =
      client_.Create(kConfigMaps, {ns_, ""}, ConfigMap("No Name", "1")).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("422 Invalid"));
}

TEST_F(KubeApiTest, AppliesWhatIsItsOwn) {
  const ObjectName name{ns_, "a"};
  const auto apply = [&](const char* manager, const char* value, Client::Force force) {
    return client_.Apply(kConfigMaps, name, ConfigMap("a", value), manager, force).status();
  };
  ASSERT_TRUE(apply("one", "1", Client::Force::kNo).ok());
  EXPECT_EQ(apply("two", "2", Client::Force::kNo).code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(apply("two", "2", Client::Force::kYes).ok());
  EXPECT_EQ((*client_.Get(kConfigMaps, name))["data"]["key"], "2");
}

TEST_F(KubeApiTest, ListsPageByPage) {
  Client::Options small = Fast();
  small.page = 3;
  Client paging(client_.access(), RealClock(), small);
  for (int i = 0; i < 10; ++i) Put(absl::StrCat("c", i), "x");
  std::set<std::string> names;
  const auto version = paging.List(kConfigMaps, Here(), [&](Json object) {
    EXPECT_TRUE(names.insert(NameOf(object).name).second);
  });
  ASSERT_TRUE(version.ok()) << version.status();
  EXPECT_EQ(names.size(), 10U);
  EXPECT_FALSE(version->empty());
}

TEST_F(KubeApiTest, AWatchTellsWhatIsThereAndWhatChanges) {
  Put("a", "1");
  Journal journal;
  const Watch watch(client_, RealClock(), kConfigMaps, Here(), journal.handler());
  journal.Told(2);
  Put("a", "2");
  ASSERT_TRUE(client_.Delete(kConfigMaps, {ns_, "a"}).ok());
  Put("a", "3");
  EXPECT_THAT(journal.Told(5), ElementsAre("seen a=1", "synced", "seen a=2", "gone a", "seen a=3"));
}

TEST_F(KubeApiTest, AWatchGoesOnAfterACutAndLosesNothing) {
  Relay relay(ServerPort());
  Client through(Through(relay), RealClock(), Fast());
  Put("a", "1");
  Journal journal;
  const Watch watch(through, RealClock(), kConfigMaps, Here(), journal.handler());
  journal.Told(2);
  relay.Cut();
  Put("a", "2");
  EXPECT_THAT(journal.Told(3), ElementsAre("seen a=1", "synced", "seen a=2"));
}

// The connection stands and nothing comes: nobody else would notice.
TEST_F(KubeApiTest, AWatchNoticesAHalfDeadConnection) {
  Relay relay(ServerPort());
  Client through(Through(relay), RealClock(), Fast());
  Put("a", "1");
  Journal journal;
  Watch::Options options;
  options.silence = absl::Seconds(1);
  const Watch watch(through, RealClock(), kConfigMaps, Here(), journal.handler(), options);
  journal.Told(2);
  relay.Freeze();
  Put("a", "2");
  EXPECT_THAT(journal.Told(3), ElementsAre("seen a=1", "synced", "seen a=2"));
  EXPECT_GE(relay.accepted(), 2);
}

TEST_F(KubeApiTest, AWatchOutlivesItsRegularEnd) {
  Put("a", "1");
  Journal journal;
  Watch::Options options;
  options.length = absl::Seconds(1);
  const Watch watch(client_, RealClock(), kConfigMaps, Here(), journal.handler(), options);
  journal.Told(2);
  for (const char* value : {"2", "3", "4"}) {
    std::this_thread::sleep_for(std::chrono::milliseconds(900));
    Put("a", value);
  }
  EXPECT_THAT(journal.Told(5),
              ElementsAre("seen a=1", "synced", "seen a=2", "seen a=3", "seen a=4"));
  EXPECT_TRUE(journal.troubles().empty()) << journal.troubles().front();
}

TEST_F(KubeApiTest, ReviewsTokens) {
  ASSERT_TRUE(client_.Create(kServiceAccounts, {ns_, ""}, {{"metadata", {{"name", "w"}}}}).ok());
  const Json pod = {
      {"metadata", {{"name", "p"}}},
      {"spec",
       {{"serviceAccountName", "w"}, {"containers", {{{"name", "c"}, {"image", "none"}}}}}}};
  const auto made = client_.Create(kPods, {ns_, ""}, pod);
  ASSERT_TRUE(made.ok()) << made.status();

  const Secret token = TokenOf(
      "w", "istio-ca",
      {{"apiVersion", "v1"}, {"kind", "Pod"}, {"name", "p"}, {"uid", Metadata(*made, "uid")}});
  const auto account = ReviewToken(client_, token, {"istio-ca"});
  ASSERT_TRUE(account.ok()) << account.status();
  EXPECT_EQ(account->ns, ns_);
  EXPECT_EQ(account->name, "w");
  EXPECT_EQ(account->pod_name, "p");
  EXPECT_EQ(account->pod_uid, Metadata(*made, "uid"));

  const auto refused = [&](const Secret& shown) {
    const absl::Status status = ReviewToken(client_, shown, {"istio-ca"}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(refused(TokenOf("w", "vault")), HasSubstr("does not accept the token"));
  EXPECT_THAT(refused(Secret("no.token.atall")), HasSubstr("does not accept the token"));
  std::string tampered(token.Reveal());
  tampered[tampered.size() / 2] ^= 1;
  refused(Secret(tampered));
}

TEST_F(KubeApiTest, TellsWhatItMayNotDo) {
  ASSERT_TRUE(client_.Create(kServiceAccounts, {ns_, ""}, {{"metadata", {{"name", "w"}}}}).ok());
  Access access = client_.access();
  access.certificate = access.key = Material();
  access.token = Material::OfBytes(
      std::string(TokenOf("w", "https://kubernetes.default.svc.cluster.local").Reveal()));
  Client weak(access, RealClock(), Fast());
  const absl::Status refused = weak.Get(kSecrets, {ns_, "cacerts"}).status();
  EXPECT_TRUE(absl::IsPermissionDenied(refused) || absl::IsUnauthenticated(refused)) << refused;

  access.token = Material::OfBytes("wrong");
  Client nobody(access, RealClock(), Fast());
  EXPECT_EQ(nobody.Get(kSecrets, {ns_, "cacerts"}).status().code(),
            absl::StatusCode::kUnauthenticated);

  access.ca = Material();
  Client distrusting(access, RealClock(), Fast());
  const absl::Status distrusted = distrusting.Get(kSecrets, {ns_, "cacerts"}).status();
  EXPECT_EQ(distrusted.code(), absl::StatusCode::kUnauthenticated) << distrusted;
  EXPECT_THAT(std::string(distrusted.message()), HasSubstr("certificate"));
}

TEST_F(KubeApiTest, HoldsItselfBack) {
  Client::Options slow;
  slow.per_second = 20;
  slow.burst = 1;
  Client client(client_.access(), RealClock(), slow);
  const absl::Duration began = RealClock().Monotonic();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(client.Get(kNamespaces, {"", ns_}).ok());
  EXPECT_GE(RealClock().Monotonic() - began, absl::Milliseconds(195));
}

}  // namespace
}  // namespace capstan::kube
