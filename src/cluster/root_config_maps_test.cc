// SPDX-License-Identifier: Apache-2.0
#include "cluster/root_config_maps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
// After GoogleTest, which it needs but does not include.
#include <rapidcheck/gtest.h>

#include <deque>
#include <functional>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/retry_after.h"
#include "base/strings.h"
#include "cluster/root_config_map_keeper.h"

namespace capstan::cluster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Watched = RootConfigMaps::Watched;
using News = RootConfigMaps::News;

constexpr absl::Duration kPropagation = absl::Seconds(90);

trust::BundleVersion V(int64_t sequence) {
  return {"lineage", sequence};
}

// istiod writes them: whether each has the bundle is seen, and nothing is ever written.
TEST(RootConfigMapsOfIstiod, AreLookedAtOnly) {
  RootConfigMaps maps(absl::Seconds(90), RootConfigMaps::Writer::kIstiod);
  absl::Duration now = absl::Seconds(1000);
  maps.NamespaceSeen("app");
  maps.MapSeen("app", {"1", RootConfigMaps::DigestOf("A"), false}, now);
  EXPECT_FALSE(maps.Synced(Watched::kNamespaces));
  EXPECT_TRUE(maps.Synced(Watched::kMaps));
  maps.Want(V(1), "A", now);
  EXPECT_EQ(maps.Count().current, 1) << "whatever its label";
  maps.Want(V(2), "A+B", now);
  EXPECT_FALSE(maps.Take(now).write.has_value());
  ASSERT_THAT(maps.Lacking(V(2), now), SizeIs(1));
  EXPECT_THAT(maps.Lacking(V(2), now).front().why, HasSubstr("istiod has not written it"));
  maps.MapSeen("app", {"2", RootConfigMaps::DigestOf("A+B"), false}, now);
  ASSERT_THAT(maps.Lacking(V(2), now), SizeIs(1)) << "not in the pods yet";
  now += absl::Seconds(90);
  EXPECT_THAT(maps.Lacking(V(2), now), IsEmpty());
}

class RootConfigMapsTest : public ::testing::Test {
 protected:
  void Sync() {
    EXPECT_FALSE(maps_.Synced(Watched::kNamespaces));
    EXPECT_TRUE(maps_.Synced(Watched::kMaps));
  }
  void Holds(const std::string& ns, const std::string& pem, const std::string& version = "1",
             bool labelled = true) {
    maps_.MapSeen(ns, {version, RootConfigMaps::DigestOf(pem), labelled}, now_);
  }
  void Want(int64_t sequence, const std::string& pem) { maps_.Want(V(sequence), pem, now_); }
  // "ns" or "ns@version", and what; "" for none.
  std::string Take() {
    const RootConfigMaps::Next next = maps_.Take(now_);
    if (!next.write.has_value()) {
      return next.at == absl::InfiniteDuration()
                 ? ""
                 : absl::StrCat("in ", absl::FormatDuration(next.at - now_));
    }
    return absl::StrCat(
        next.write->ns,
        next.write->resource_version.empty() ? "" : absl::StrCat("@", next.write->resource_version),
        "=", next.write->pem,
        next.write->repairs.empty() ? "" : absl::StrCat(": ", next.write->repairs));
  }
  std::vector<std::string> Lacking(int64_t sequence) {
    std::vector<std::string> names;
    for (const rotation::Holder& holder : maps_.Lacking(V(sequence), now_)) {
      EXPECT_EQ(holder.kind, rotation::Holder::Kind::kBootstrap);
      names.push_back(holder.name);
      why_ = holder.why;
    }
    return names;
  }
  News Fail(const std::string& ns, const absl::Status& why) { return maps_.Failed(ns, why, now_); }

  RootConfigMaps maps_{kPropagation};
  absl::Duration now_ = absl::Hours(1);
  std::string why_;
};

TEST_F(RootConfigMapsTest, NothingIsWrittenBeforeEverythingIsKnown) {
  Want(1, "A");
  maps_.NamespaceSeen("a");
  EXPECT_EQ(Take(), "");
  EXPECT_THAT(Lacking(1), ElementsAre("config-maps"));
  EXPECT_THAT(why_, HasSubstr("are not known yet: the API server has not told of all of them"));
  maps_.Trouble(Watched::kMaps, "no route");
  EXPECT_THAT(Lacking(1), ElementsAre("config-maps"));
  EXPECT_THAT(why_, HasSubstr("are not known yet: no route"));
  Sync();
  EXPECT_EQ(Take(), "a=A");
  EXPECT_EQ(Take(), "") << "it is under way";
}

TEST_F(RootConfigMapsTest, NamespacesWithoutOneGoFirstAndWhatIsRightIsLeftAlone) {
  for (const char* ns : {"a", "b", "c", "d"}) maps_.NamespaceSeen(ns);
  Holds("a", "old", "7");
  Holds("b", "A");
  Holds("d", "A", "9", /*labelled=*/false);
  Holds("left-out", "old");
  Sync();
  EXPECT_EQ(Take(), "") << "there is no bundle yet";
  Want(3, "A");
  EXPECT_EQ(maps_.Count().current, 1);
  EXPECT_EQ(maps_.Count().behind, 3);
  EXPECT_EQ(Take(), "c=A");
  EXPECT_EQ(Take(), "a@7=A");
  EXPECT_EQ(Take(), "d@9=A");
  EXPECT_EQ(Take(), "");
}

TEST_F(RootConfigMapsTest, WhatWasWrittenCountsWhenTheWatchBringsIt) {
  maps_.NamespaceSeen("a");
  Holds("a", "old", "7");
  Sync();
  Want(3, "A");
  EXPECT_EQ(Take(), "a@7=A");
  maps_.Written("a", now_);
  EXPECT_EQ(Take(), "in 10s") << "the watch is waited for";
  EXPECT_THAT(Lacking(3), ElementsAre("config-map:a"));
  EXPECT_THAT(why_, HasSubstr("in a does not hold bundle 3 yet: it is being written"));
  EXPECT_EQ(maps_.TakeDone(now_), std::nullopt);
  now_ += absl::Seconds(2);
  Holds("a", "A", "8");
  EXPECT_EQ(Take(), "");
  const auto done = maps_.TakeDone(now_);
  ASSERT_TRUE(done.has_value());
  EXPECT_EQ(done->bundle.sequence, 3);
  EXPECT_EQ(done->maps, 1);
  EXPECT_EQ(done->took, absl::Seconds(2));
  EXPECT_EQ(maps_.TakeDone(now_), std::nullopt) << "said once";

  now_ += absl::Seconds(12);
  EXPECT_THAT(Lacking(3), ElementsAre("config-map:a"));
  EXPECT_THAT(why_, HasSubstr("has held bundle 3 for 10s of the 1m30s that kubelet takes"));
  now_ += absl::Seconds(78);
  EXPECT_THAT(Lacking(3), IsEmpty());
  EXPECT_THAT(Lacking(4), ElementsAre("config-maps")) << "it has not heard of that yet";
  EXPECT_THAT(why_, HasSubstr("are not written for bundle 4 yet"));
  maps_.NamespaceGone("a");
  EXPECT_THAT(Lacking(3), IsEmpty());
}

// The event of the write may come before its answer.
TEST_F(RootConfigMapsTest, TheWatchMayBeFasterThanTheAnswer) {
  maps_.NamespaceSeen("a");
  Sync();
  Want(1, "A");
  EXPECT_EQ(Take(), "a=A");
  Holds("a", "A", "8");
  maps_.MapGone("a", now_);
  maps_.Written("a", now_);
  EXPECT_EQ(Take(), "a=A: it was deleted");
}

TEST_F(RootConfigMapsTest, WhatIsSupersededIsNeverWritten) {
  for (const char* ns : {"a", "b"}) {
    maps_.NamespaceSeen(ns);
    Holds(ns, "A");
  }
  Sync();
  Want(1, "A");
  Want(2, "A+B");
  EXPECT_EQ(Take(), "a@1=A+B");
  Want(3, "A+C");
  EXPECT_EQ(Take(), "b@1=A+C");
  maps_.Written("a", now_);
  Holds("a", "A+B", "2");
  EXPECT_EQ(Take(), "a@2=A+C");
  Want(4, "A");
  Holds("a", "A+C", "3");
  maps_.Written("a", now_);
  EXPECT_EQ(Take(), "a@3=A");
}

TEST_F(RootConfigMapsTest, ContentThatIsWantedAgainWasThereAllTheWhile) {
  maps_.NamespaceSeen("a");
  Holds("a", "A");
  Sync();
  Want(1, "A");
  now_ += kPropagation;
  EXPECT_THAT(Lacking(1), IsEmpty());
  Want(2, "A+B");
  EXPECT_THAT(Lacking(2), ElementsAre("config-map:a"));
  Want(3, "A");
  EXPECT_THAT(Lacking(3), IsEmpty());
}

TEST_F(RootConfigMapsTest, InANewNamespaceNobodyHasSeenAnotherContent) {
  Sync();
  Want(1, "A");
  maps_.NamespaceSeen("new");
  EXPECT_THAT(Lacking(1), ElementsAre("config-map:new"));
  EXPECT_EQ(Take(), "new=A");
  Holds("new", "A");
  maps_.Written("new", now_);
  EXPECT_THAT(Lacking(1), IsEmpty());
  Holds("new", "edited", "2");
  Holds("new", "A", "3");
  EXPECT_THAT(Lacking(1), ElementsAre("config-map:new")) << "by now somebody has";

  maps_.Trouble(Watched::kMaps, "cut off");
  maps_.NamespaceSeen("other");
  Holds("other", "A");
  maps_.Synced(Watched::kMaps);
  EXPECT_THAT(Lacking(1), ElementsAre("config-map:new", "config-map:other"))
      << "nobody looked when it was made";
}

TEST_F(RootConfigMapsTest, WhileItCannotBeFollowedTheGateIsHeld) {
  maps_.NamespaceSeen("a");
  Holds("a", "A");
  Sync();
  Want(1, "A");
  now_ += kPropagation;
  maps_.Trouble(Watched::kNamespaces, "no route");
  EXPECT_THAT(Lacking(1), ElementsAre("config-maps"));
  EXPECT_THAT(why_, HasSubstr("cannot be followed: no route"));
  EXPECT_FALSE(maps_.Synced(Watched::kNamespaces)) << "not the first time";
  EXPECT_THAT(Lacking(1), IsEmpty());
}

TEST_F(RootConfigMapsTest, RepairsAtOnceAndThenMoreAndMoreSlowly) {
  maps_.NamespaceSeen("a");
  Holds("a", "A", "1");
  Sync();
  Want(1, "A");
  Holds("a", "edited", "2");
  EXPECT_EQ(Take(), "a@2=A: its root-cert.pem was changed");
  const auto repaired = [&](int version) {
    Holds("a", "A", absl::StrCat(version));
    maps_.Written("a", now_);
  };
  repaired(3);
  now_ += absl::Minutes(2);
  Holds("a", "A", "4", /*labelled=*/false);
  EXPECT_EQ(Take(), "a@4=A: its label was changed");
  repaired(5);
  std::vector<std::string> waits;
  for (int version = 6; version < 24; version += 2) {
    Holds("a", "theirs", absl::StrCat(version));
    waits.push_back(Take());
    now_ = maps_.Take(now_).at;
    EXPECT_TRUE(maps_.Take(now_).write.has_value());
    repaired(version + 1);
  }
  EXPECT_THAT(waits, ElementsAre("in 1s", "in 2s", "in 4s", "in 8s", "in 16s", "in 32s", "in 1m",
                                 "in 1m", "in 1m"));
  Holds("a", "theirs", "30");
  now_ += absl::Minutes(1);
  EXPECT_THAT(Take(), HasSubstr("another program writes it too"));
  repaired(31);
  maps_.MapGone("a", now_);
  Want(2, "B");
  now_ += absl::Minutes(1);
  EXPECT_EQ(Take(), "a=B") << "what is wanted anew repairs nothing";
}

TEST_F(RootConfigMapsTest, OneNamespaceThatFailsKeepsNoOtherWaiting) {
  for (const char* ns : {"a", "b"}) maps_.NamespaceSeen(ns);
  Sync();
  Want(1, "A");
  EXPECT_EQ(Take(), "a=A");
  EXPECT_EQ(Fail("a", absl::PermissionDeniedError("no role")), News::kNamespaceFails);
  EXPECT_EQ(maps_.Count().failing, 1);
  EXPECT_EQ(Take(), "b=A");
  Holds("b", "A");
  maps_.Written("b", now_);
  EXPECT_EQ(Take(), "in 1s");
  EXPECT_THAT(Lacking(1), ElementsAre("config-map:a", "config-map:b"));
  EXPECT_THAT(maps_.Lacking(V(1), now_)[0].why,
              HasSubstr("in a does not hold bundle 1 yet: no role"));
  for (const char* wait : {"in 2s", "in 4s", "in 8s", "in 16s", "in 32s", "in 1m4s", "in 2m"}) {
    now_ = maps_.Take(now_).at;
    EXPECT_EQ(Take(), "a=A");
    EXPECT_EQ(Fail("a", absl::InvalidArgumentError("immutable")), News::kNothing) << "said before";
    EXPECT_EQ(Take(), wait);
  }
  Holds("a", "A");
  EXPECT_EQ(maps_.Count().failing, 0);
  EXPECT_EQ(Take(), "");
}

TEST_F(RootConfigMapsTest, AServerThatFailsIsLeftAloneForAWhile) {
  for (const char* ns : {"a", "b"}) maps_.NamespaceSeen(ns);
  Sync();
  Want(1, "A");
  EXPECT_EQ(Take(), "a=A");
  EXPECT_EQ(Fail("a", absl::UnavailableError("no route")), News::kServerFails);
  EXPECT_EQ(Take(), "in 1s") << "for every namespace";
  EXPECT_EQ(maps_.Count().behind, 2);
  Lacking(1);
  EXPECT_THAT(why_, HasSubstr("in b does not hold bundle 1 yet: no route"));
  now_ += absl::Seconds(1);
  EXPECT_EQ(Take(), "a=A");
  EXPECT_EQ(Fail("a", WithRetryAfter(absl::ResourceExhaustedError("slowly"), absl::Seconds(7))),
            News::kNothing);
  EXPECT_EQ(Take(), "in 7s");
  now_ += absl::Seconds(7);
  EXPECT_EQ(Take(), "a=A");
  maps_.Written("a", now_);
  EXPECT_EQ(Take(), "b=A");
  EXPECT_EQ(Fail("b", absl::DeadlineExceededError("slow")), News::kServerFails) << "anew";
}

TEST_F(RootConfigMapsTest, WhoWasFirstIsLookedAtAgain) {
  maps_.NamespaceSeen("a");
  Holds("a", "old", "1");
  Sync();
  Want(1, "A");
  EXPECT_EQ(Take(), "a@1=A");
  EXPECT_EQ(Fail("a", absl::AbortedError("conflict")), News::kNothing);
  EXPECT_EQ(maps_.Count().failing, 0);
  EXPECT_EQ(Take(), "in 10s") << "what the watch brings";
  Holds("a", "other", "2");
  EXPECT_EQ(Take(), "a@2=A");
  Holds("a", "another", "3");
  EXPECT_EQ(Fail("a", absl::AbortedError("conflict")), News::kNothing);
  EXPECT_EQ(Take(), "in 1s") << "not in a tight loop";
  now_ += absl::Seconds(1);
  EXPECT_EQ(Take(), "a@3=A");
  EXPECT_EQ(Fail("a", absl::PermissionDeniedError(
                          "unable to create new content in namespace a because it is being "
                          "terminated")),
            News::kNothing);
  maps_.NamespaceGone("a");
  maps_.MapGone("a", now_);
  EXPECT_EQ(Take(), "");
  EXPECT_EQ(Fail("a", absl::PermissionDeniedError("no role")), News::kNothing) << "it has gone";
}

TEST_F(RootConfigMapsTest, ANamespaceThatIsMadeAnewWaitsForTheWriteThatIsUnderWay) {
  maps_.NamespaceSeen("a");
  Sync();
  Want(1, "A");
  EXPECT_EQ(Take(), "a=A");
  maps_.NamespaceGone("a");
  maps_.NamespaceSeen("a");
  EXPECT_EQ(Take(), "");
  EXPECT_EQ(Fail("a", absl::NotFoundError("there is no such namespace")), News::kNothing);
  EXPECT_EQ(Take(), "a=A");
}

TEST(RootConfigMapKeeper, KnowsWhereOneIsWanted) {
  const auto wants = [](const char* name, Json more = Json::object()) {
    more["metadata"]["name"] = name;
    return WantsRootConfigMap(more);
  };
  EXPECT_TRUE(wants("default"));
  EXPECT_TRUE(wants("kube-system", {{"status", {{"phase", "Active"}}}}));
  for (const char* name : {"kube-public", "kube-node-lease", "local-path-storage"}) {
    EXPECT_FALSE(wants(name)) << name;
  }
  EXPECT_FALSE(wants("a", {{"metadata", {{"deletionTimestamp", "2026-01-01T00:00:00Z"}}}}));
  EXPECT_FALSE(wants("a", {{"status", {{"phase", "Terminating"}}}}));
}

TEST(RootConfigMapKeeper, ReadsAConfigMap) {
  const Json map = {
      {"metadata", {{"resourceVersion", "5"}, {"labels", {{"istio.io/config", "true"}}}}},
      {"data", {{"root-cert.pem", "A"}, {"more", "x"}}}};
  RootConfigMaps::Map seen = RootConfigMapOf(map, RootConfigMaps::Writer::kUs);
  EXPECT_EQ(seen.resource_version, "5");
  EXPECT_EQ(seen.digest, RootConfigMaps::DigestOf("A"));
  EXPECT_TRUE(seen.labelled);
  seen = RootConfigMapOf({{"metadata", {{"labels", {{"istio.io/config", "false"}}}}}},
                         RootConfigMaps::Writer::kUs);
  EXPECT_EQ(seen.digest, RootConfigMaps::DigestOf(""));
  EXPECT_FALSE(seen.labelled);
}

// ── Anything, in any order ───────────────────────────────────────────────────────────────────────

// An API server, two watches that bring what happened there when they like, and writes that are
// under way for as long as they like.
class World {
 public:
  void Step() {
    static const auto& kSteps = *new std::vector<void (World::*)()>{
        &World::MakeNamespace, &World::DropNamespace, &World::EditMap, &World::DropMap,
        &World::Publish,       &World::TellNamespace, &World::TellMap, &World::TellNamespace,
        &World::TellMap,       &World::Take,          &World::Take,    &World::Finish,
        &World::Finish,        &World::Wait,          &World::Disturb, &World::Sync};
    (this->*kSteps[*rc::gen::inRange<size_t>(0, kSteps.size())])();
    Check();
  }

  // From here on nobody interferes: everything becomes right, and nothing is written any more.
  void Settle() {
    machine_.Synced(Watched::kNamespaces);
    machine_.Synced(Watched::kMaps);
    synced_ = {true, true};
    troubled_ = false;
    if (sequence_ == 0) Publish();
    quiet_ = true;
    for (int i = 0; i < 300; ++i) {
      while (!namespace_events_.empty()) TellNamespace();
      while (!map_events_.empty()) TellMap();
      while (!under_way_.empty()) Finish();
      const RootConfigMaps::Next next = machine_.Take(now_);
      if (next.write.has_value()) {
        Begin(*next.write);
      } else if (next.at < absl::InfiniteDuration()) {
        now_ = next.at;
      } else {
        break;
      }
    }
    RC_ASSERT(!machine_.Take(now_).write.has_value());
    for (const auto& [ns, object] : namespaces_) {
      RC_ASSERT(object.has_value() && object->content == wanted_);
    }
    RC_ASSERT(machine_.Count().current == static_cast<int64_t>(namespaces_.size()));
    now_ += kPropagation;
    Check();
    RC_ASSERT(machine_.Lacking(V(sequence_), now_).empty());
  }

 private:
  struct Object {
    int version;
    std::string content;
  };
  // What the watches have brought of a namespace.
  struct View {
    bool there = false;
    bool watched_from_its_beginning = false;
    std::optional<Object> object;
    absl::Duration since;
    bool no_other_before = false;
  };

  std::string AnyNs() { return *rc::gen::element<std::string>("a", "b", "c"); }

  void MakeNamespace() {
    const std::string ns = AnyNs();
    if (!namespaces_.emplace(ns, std::nullopt).second) return;
    namespace_events_.push_back({ns, true});
  }
  void DropNamespace() {
    const std::string ns = AnyNs();
    if (!namespaces_.contains(ns)) return;
    namespace_events_.push_back({ns, false});
    if (namespaces_[ns].has_value()) map_events_.push_back({ns, std::nullopt});
    namespaces_.erase(ns);
  }
  void Put(const std::string& ns, const std::string& content) {
    namespaces_[ns] = Object{++version_, content};
    map_events_.push_back({ns, namespaces_[ns]});
  }
  void EditMap() {
    const std::string ns = AnyNs();
    if (namespaces_.contains(ns)) Put(ns, *rc::gen::element<std::string>("x", "A", "B"));
  }
  void DropMap() {
    const std::string ns = AnyNs();
    if (!namespaces_.contains(ns) || !namespaces_[ns].has_value()) return;
    namespaces_[ns].reset();
    map_events_.push_back({ns, std::nullopt});
  }
  void Publish() {
    wanted_ = *rc::gen::element<std::string>("A", "B", "C");
    machine_.Want(V(++sequence_), wanted_, now_);
  }
  void TellNamespace() {
    if (namespace_events_.empty()) return;
    const auto [ns, there] = namespace_events_.front();
    namespace_events_.pop_front();
    View& view = views_[ns];
    if (there) {
      machine_.NamespaceSeen(ns);
      view.there = true;
      view.watched_from_its_beginning =
          synced_[0] && synced_[1] && !troubled_ && !view.object.has_value();
    } else {
      machine_.NamespaceGone(ns);
      view.there = view.watched_from_its_beginning = view.no_other_before = false;
    }
  }
  void TellMap() {
    if (map_events_.empty()) return;
    const auto [ns, object] = map_events_.front();
    map_events_.pop_front();
    View& view = views_[ns];
    if (!object.has_value()) {
      machine_.MapGone(ns, now_);
      view.object.reset();
      view.watched_from_its_beginning = view.no_other_before = false;
      return;
    }
    machine_.MapSeen(
        ns, {absl::StrCat(object->version), RootConfigMaps::DigestOf(object->content), true}, now_);
    if (!view.object.has_value()) {
      view.since = now_;
      view.no_other_before = view.watched_from_its_beginning;
    } else if (view.object->content != object->content) {
      view.since = now_;
      view.no_other_before = false;
    }
    view.object = object;
  }
  void Take() {
    if (const RootConfigMaps::Next next = machine_.Take(now_); next.write.has_value()) {
      Begin(*next.write);
    } else {
      RC_ASSERT(next.at > now_);
    }
  }
  void Begin(const RootConfigMaps::Write& write) {
    const View& view = views_[write.ns];
    RC_ASSERT(synced_[0] && synced_[1]);
    RC_ASSERT(view.there);
    RC_ASSERT(write.pem == wanted_);
    RC_ASSERT(!view.object.has_value() || view.object->content != wanted_);
    RC_ASSERT(write.resource_version ==
              (view.object.has_value() ? absl::StrCat(view.object->version) : ""));
    for (const RootConfigMaps::Write& other : under_way_) RC_ASSERT(other.ns != write.ns);
    under_way_.push_back(write);
  }
  void Finish() {
    if (under_way_.empty()) return;
    const RootConfigMaps::Write write = under_way_.front();
    under_way_.pop_front();
    const int luck = quiet_ ? 9 : *rc::gen::inRange(0, 10);
    absl::Status status;
    if (luck == 0) status = absl::UnavailableError("cut off before");
    if (luck == 1) status = absl::PermissionDeniedError("no role");
    if (status.ok()) status = Apply(write);
    if (luck == 2 && status.ok()) status = absl::DeadlineExceededError("cut off after");
    if (status.ok()) {
      machine_.Written(write.ns, now_);
    } else {
      machine_.Failed(write.ns, status, now_);
    }
  }
  absl::Status Apply(const RootConfigMaps::Write& write) {
    const auto ns = namespaces_.find(write.ns);
    if (ns == namespaces_.end()) return absl::NotFoundError("namespace");
    if (write.resource_version.empty()) {
      if (ns->second.has_value()) return absl::AlreadyExistsError("map");
    } else if (!ns->second.has_value()) {
      return absl::NotFoundError("map");
    } else if (absl::StrCat(ns->second->version) != write.resource_version) {
      return absl::AbortedError("conflict");
    }
    Put(write.ns, write.pem);
    return absl::OkStatus();
  }
  void Wait() { now_ += absl::Seconds(*rc::gen::inRange(0, 120)); }
  void Disturb() {
    troubled_ = true;
    machine_.Trouble(Watched::kMaps, "cut off");
  }
  void Sync() {
    if (*rc::gen::arbitrary<bool>()) {
      machine_.Synced(Watched::kMaps);
      synced_[1] = true;
      troubled_ = false;
    } else {
      machine_.Synced(Watched::kNamespaces);
      synced_[0] = true;
    }
  }

  void Check() {
    std::set<std::string> lacking;
    const bool all = !synced_[0] || !synced_[1];
    if (all || troubled_ || sequence_ == 0) lacking.insert("config-maps");
    for (const auto& [ns, view] : views_) {
      if (all || !view.there || sequence_ == 0) continue;
      const bool holds = view.object.has_value() && view.object->content == wanted_;
      if (!holds || !(view.no_other_before || now_ - view.since >= kPropagation)) {
        lacking.insert("config-map:" + ns);
      }
    }
    std::set<std::string> told;
    for (const rotation::Holder& holder :
         machine_.Lacking(V(std::max<int64_t>(sequence_, 1)), now_))
      told.insert(holder.name);
    RC_ASSERT(told == lacking);
  }

  RootConfigMaps machine_{kPropagation};
  absl::Duration now_ = absl::Hours(1);
  std::map<std::string, std::optional<Object>> namespaces_;
  std::deque<std::pair<std::string, bool>> namespace_events_;
  std::deque<std::pair<std::string, std::optional<Object>>> map_events_;
  std::map<std::string, View> views_;
  std::deque<RootConfigMaps::Write> under_way_;
  int version_ = 0;
  int64_t sequence_ = 0;
  std::string wanted_;
  std::array<bool, 2> synced_ = {};
  bool troubled_ = false;
  bool quiet_ = false;
};

RC_GTEST_PROP(RootConfigMapsProperty, WhatIsToldIsWhatIsAndEverythingBecomesRight, ()) {
  World world;
  for (int i = *rc::gen::inRange(0, 150); i > 0; --i) world.Step();
  world.Settle();
}

}  // namespace
}  // namespace capstan::cluster
