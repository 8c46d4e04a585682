// SPDX-License-Identifier: Apache-2.0
// The Kubernetes client and a real API server, which `kubelite up` has started: KUBECONFIG says
// where.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/strings.h"
#include "kube/client.h"
#include "kube/token_review.h"
#include "kube/watch.h"
#include "kube_fixture.h"

namespace capstan::kube {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

Json ConfigMap(const std::string& name, const std::string& value) {
  return {{"apiVersion", "v1"},
          {"kind", "ConfigMap"},
          {"metadata", {{"name", name}}},
          {"data", {{"key", value}}}};
}

class KubeApiTest : public KubeFixture {
 protected:
  Selection Here() const { return {ns_, "", "metadata.name!=kube-root-ca.crt"}; }
  void Put(const std::string& name, const std::string& value) {
    const auto put =
        client_.Apply(kConfigMaps, {ns_, name}, ConfigMap(name, value), "test", Client::Force::kNo);
    ASSERT_TRUE(put.ok()) << put.status();
  }
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
  Put("a", "2");
  journal.Told(3);  // so it is the watch that is cut
  relay.Cut();
  Put("a", "3");
  EXPECT_THAT(journal.Told(5), ElementsAre("seen a=1", "synced", "seen a=2", "seen a=3", "synced"));
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
  Put("a", "2");
  journal.Told(3);  // so it is the watch that is half-dead
  relay.Freeze();
  Put("a", "3");
  EXPECT_THAT(journal.Told(5), ElementsAre("seen a=1", "synced", "seen a=2", "seen a=3", "synced"));
  EXPECT_GE(relay.accepted(), 2);
}

// Longer than any single request may take.
TEST_F(KubeApiTest, AWatchMayBeQuiet) {
  Client::Options options = Fast();
  options.timeout = absl::Milliseconds(300);
  Client impatient(client_.access(), RealClock(), options);
  Journal journal;
  const Watch watch(impatient, RealClock(), kConfigMaps, Here(), journal.handler());
  journal.Told(1);
  std::this_thread::sleep_for(std::chrono::seconds(1));
  Put("a", "1");
  EXPECT_THAT(journal.Told(2), ElementsAre("synced", "seen a=1"));
  EXPECT_TRUE(journal.troubles().empty()) << journal.troubles().front();
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

TEST_F(KubeApiTest, TellsItsTime) {
  const auto theirs = client_.Now();
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  EXPECT_LT(absl::AbsDuration(*theirs - RealClock().Now()), absl::Seconds(5)) << "the same machine";
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
