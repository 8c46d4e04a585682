// SPDX-License-Identifier: Apache-2.0
// A server that says what it was told to, and no more; tests/integration/kube_api_test.cc follows a
// real one.
#include "kube/watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "base/http_server.h"
#include "base/strings.h"

namespace capstan::kube {
namespace {

using ::testing::ElementsAre;

std::string Object(std::string_view name, std::string_view uid, int version) {
  return absl::StrCat(R"({"metadata":{"namespace":"n","name":")", name, R"(","uid":")", uid,
                      R"(","resourceVersion":")", version, R"("}})");
}
std::string List(int version, const std::vector<std::string>& items) {
  return absl::StrCat(R"({"metadata":{"resourceVersion":")", version, R"("},"items":[)",
                      absl::StrJoin(items, ","), "]}");
}
std::string Event(std::string_view type, std::string_view object) {
  return absl::StrCat(R"({"type":")", type, R"(","object":)", object, "}\n");
}

class WatchTest : public ::testing::Test {
 protected:
  // Lists and watches are answered one after another from `answers`; then nothing is there.
  void Follow(std::deque<HttpResponse> answers) {
    answers_ = std::move(answers);
    auto server = HttpServer::Start("127.0.0.1:0", {{"/api/v1/configmaps", [this] {
                                                       absl::MutexLock lock(&mutex_);
                                                       if (answers_.empty()) {
                                                         return HttpResponse{.status = 500};
                                                       }
                                                       HttpResponse next = answers_.front();
                                                       answers_.pop_front();
                                                       return next;
                                                     }}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    client_ = std::make_unique<Client>(
        Access{.server = absl::StrCat("http://127.0.0.1:", server_->port())}, RealClock());
    Watch::Options options;
    options.first_retry = absl::Milliseconds(1);
    options.last_retry = absl::Milliseconds(20);
    watch_ = std::make_unique<Watch>(
        *client_, RealClock(), kConfigMaps, Selection{},
        Watch::Handler{[this](const Json& object) {
                         Say(absl::StrCat("seen ", NameOf(object).name, " ",
                                          Metadata(object, "resourceVersion")));
                       },
                       [this](const ObjectName& name) { Say(absl::StrCat("gone ", name.name)); },
                       [this] { Say("synced"); },
                       [this](const absl::Status& why) {
                         absl::MutexLock lock(&mutex_);
                         troubles_.push_back(why);
                       }},
        options);
  }
  // The first `count` things that were told.
  std::vector<std::string> Told(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return told_.size() >= count; };
    mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(20));
    return told_;
  }
  absl::Status Trouble(size_t which) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return troubles_.size() > which; };
    mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(20));
    return troubles_.size() > which ? troubles_[which] : absl::OkStatus();
  }

 private:
  void Say(std::string what) {
    absl::MutexLock lock(&mutex_);
    told_.push_back(std::move(what));
  }
  absl::Mutex mutex_;
  std::deque<HttpResponse> answers_;
  std::vector<std::string> told_;
  std::vector<absl::Status> troubles_;
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Watch> watch_;
};

TEST_F(WatchTest, TellsEachChangeOnce) {
  Follow({{.body = List(5, {Object("a", "u1", 3), Object("b", "u2", 4)})},
          {.body = absl::StrCat(
               Event("ADDED", Object("a", "u1", 3)),  // known
               Event("MODIFIED", Object("a", "u1", 6)), Event("BOOKMARK", Object("", "", 7)),
               Event("DELETED", Object("b", "u2", 8)), Event("ADDED", Object("c", "u3", 9)))}});
  EXPECT_THAT(Told(6),
              ElementsAre("seen a 3", "seen b 4", "synced", "seen a 6", "gone b", "seen c 9"));
}

TEST_F(WatchTest, ListsAnewWhereTheServerKeepsNoSuchOldVersion) {
  const std::string expired =
      R"({"kind":"Status","reason":"Expired","code":410,"message":"too old resource version"})";
  Follow({{.body = List(5, {Object("a", "u1", 3), Object("b", "u2", 4), Object("c", "u3", 5)})},
          {.body = Event("ERROR", expired)},
          // b is gone, and c is another one of the same name.
          {.body = List(20, {Object("a", "u1", 3), Object("c", "u4", 18)})}});
  EXPECT_THAT(Told(8), ElementsAre("seen a 3", "seen b 4", "seen c 5", "synced", "gone c",
                                   "seen c 18", "gone b", "synced"));
  EXPECT_EQ(Trouble(0).code(), absl::StatusCode::kInternal)
      << "no answer is left; the old version was no trouble: " << Trouble(0);
}

TEST_F(WatchTest, GoesOnWhereItWasAfterTrouble) {
  Follow({{.status = 503, .body = "starting"},
          {.body = List(5, {Object("a", "u1", 3)})},
          {.body = absl::StrCat(Event("ADDED", Object("b", "u2", 6)), "garbage\n")},
          {.status = 429, .body = "later"},
          // What was seen before is told again by nobody.
          {.body = Event("MODIFIED", Object("b", "u2", 7))}});
  EXPECT_THAT(Told(5), ElementsAre("seen a 3", "synced", "seen b 6", "seen b 7", "synced"));
  EXPECT_EQ(Trouble(0).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Trouble(1).code(), absl::StatusCode::kInvalidArgument) << Trouble(1);
  EXPECT_EQ(Trouble(2).code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace capstan::kube
