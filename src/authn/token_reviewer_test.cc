// SPDX-License-Identifier: Apache-2.0
#include "authn/token_reviewer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <map>
#include <mutex>
#include <thread>

#include "absl/strings/escaping.h"
#include "authn/service_accounts.h"

namespace capstan::authn {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Secret Jwt(const std::string& subject) {
  return Secret(
      absl::StrCat("e30.", absl::WebSafeBase64Escape("{\"sub\":\"" + subject + "\"}"), ".c2ln"));
}

// Stands still until a test moves it.
class StillClock final : public Clock {
 public:
  absl::Time Now() override { return absl::FromUnixSeconds(1700000000) + Monotonic(); }
  absl::Duration Monotonic() override { return absl::Milliseconds(milliseconds_.load()); }
  void Advance(absl::Duration d) { milliseconds_ += absl::ToInt64Milliseconds(d); }

 private:
  std::atomic<int64_t> milliseconds_ = 0;
};

class TokenReviewerTest : public ::testing::Test {
 protected:
  // Blocks on "hangs" until the test lets go.
  absl::StatusOr<kube::ServiceAccount> Review(const Secret& token) {
    ++asked_;
    if (token == Jwt("hangs")) {
      hanging_.count_down();
      let_go_.wait();
      return absl::DeadlineExceededError("nothing came");
    }
    if (token == Jwt("sleep")) return kube::ServiceAccount{"default", "sleep", "s", "11-22", ""};
    if (token == Jwt("unlucky")) return absl::PermissionDeniedError("forbidden");
    return absl::UnauthenticatedError("it has expired");
  }
  TokenReviewer NewReviewer(TokenReviewer::Options options = {}) {
    return {"east", [this](const Secret& token) { return Review(token); }, clock_, metrics_,
            options};
  }
  static TokenReviews::Answer Ask(TokenReviewer& reviewer, const std::string& subject) {
    TokenReviews::Answer answer = absl::UnknownError("");
    std::latch done(1);
    reviewer.Ask(subject, Jwt(subject), [&](const TokenReviews::Answer& told) {
      answer = told;
      done.count_down();
    });
    done.wait();
    return answer;
  }

  Metrics metrics_;
  StillClock clock_;
  std::atomic<int> asked_ = 0;
  std::latch hanging_{1};
  std::latch let_go_{1};
};

TEST_F(TokenReviewerTest, AnswersAndCounts) {
  TokenReviewer reviewer = NewReviewer();
  EXPECT_EQ(Ask(reviewer, "sleep")->pod_uid, "11-22");
  EXPECT_EQ(Ask(reviewer, "sleep")->pod_uid, "11-22");
  EXPECT_EQ(Ask(reviewer, "stale").status().code(), absl::StatusCode::kUnauthenticated);
  const absl::Status trouble = Ask(reviewer, "unlucky").status();
  EXPECT_EQ(trouble.code(), absl::StatusCode::kUnavailable) << "an agent comes back then";
  EXPECT_THAT(std::string(trouble.message()), AllOf(HasSubstr("east"), HasSubstr("forbidden")));
  EXPECT_EQ(asked_, 3);
  const std::string name = "capstan_token_reviews_total{cluster=\"east\",result=\"";
  for (const char* result : {"accepted\"} 1", "refused\"} 1", "error\"} 1", "cached\"} 1"}) {
    EXPECT_THAT(metrics_.Text(), HasSubstr(name + result));
  }
}

TEST_F(TokenReviewerTest, WhoHangsHoldsNobodyElse) {
  TokenReviewer reviewer = NewReviewer({.threads = 2});
  std::atomic<int> told = 0;
  const auto count = [&](const TokenReviews::Answer& answer) {
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable);
    ++told;
  };
  for (int i = 0; i < 10; ++i) reviewer.Ask("hangs", Jwt("hangs"), count);
  hanging_.wait();
  EXPECT_TRUE(Ask(reviewer, "sleep").ok());
  EXPECT_EQ(asked_, 2) << "one question for the ten";
  EXPECT_EQ(told, 0);
  let_go_.count_down();
  while (told < 10) std::this_thread::yield();
}

TEST_F(TokenReviewerTest, WhatWaitedTooLongIsNotAskedAbout) {
  TokenReviewer reviewer = NewReviewer({.threads = 1});
  reviewer.Ask("hangs", Jwt("hangs"), [](const TokenReviews::Answer&) {});
  hanging_.wait();
  std::latch told(1);
  reviewer.Ask("sleep", Jwt("sleep"), [&](const TokenReviews::Answer& answer) {
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(answer.status().message()), HasSubstr("too slow"));
    told.count_down();
  });
  clock_.Advance(absl::Seconds(11));
  let_go_.count_down();
  told.wait();
  EXPECT_EQ(asked_, 1);
  EXPECT_TRUE(Ask(reviewer, "sleep").ok());
}

TEST_F(TokenReviewerTest, StoppingAnswersAllWhoWait) {
  TokenReviewer reviewer = NewReviewer({.threads = 1});
  std::atomic<int> told = 0;
  const auto count = [&](const TokenReviews::Answer& answer) {
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable);
    ++told;
  };
  reviewer.Ask("hangs", Jwt("hangs"), count);
  hanging_.wait();
  reviewer.Ask("sleep", Jwt("sleep"), count);
  reviewer.Stop();
  EXPECT_EQ(told, 2);
  reviewer.Ask("sleep", Jwt("sleep"), count);
  EXPECT_EQ(told, 3);
  let_go_.count_down();
}

class ServiceAccountsTest : public TokenReviewerTest {
 protected:
  ServiceAccounts NewAccounts() {
    std::vector<ServiceAccounts::Cluster> clusters;
    for (const auto& names : {std::vector<std::string>{"Kubernetes", "east"}, {"west"}}) {
      auto review = [this, name = names[0]](const Secret&) {
        const std::lock_guard lock(mutex_);
        ++by_cluster_[name];
        return kube::ServiceAccount{"default", "sleep", "s", "11-22", ""};
      };
      clusters.push_back(
          {names, std::make_unique<TokenReviewer>(names[0], review, clock_, metrics_)});
    }
    return {*spiffe::TrustDomain::Parse("cluster.local"), std::move(clusters)};
  }
  static absl::StatusOr<Caller> Authenticate(ServiceAccounts& accounts, const Secret& token,
                                             const std::string& cluster) {
    Credentials shown;
    shown.bearer = token;
    shown.cluster = cluster;
    absl::StatusOr<Caller> caller = absl::UnknownError("");
    std::latch done(1);
    accounts.Authenticate(shown, [&](absl::StatusOr<Caller> told) {
      caller = std::move(told);
      done.count_down();
    });
    done.wait();
    return caller;
  }

  std::mutex mutex_;
  std::map<std::string, int> by_cluster_;
};

TEST_F(ServiceAccountsTest, EachClusterIsAskedAboutItsOwn) {
  ServiceAccounts accounts = NewAccounts();
  EXPECT_TRUE(Authenticate(accounts, Jwt("a"), "").ok());
  EXPECT_TRUE(Authenticate(accounts, Jwt("b"), "Kubernetes").ok());
  EXPECT_TRUE(Authenticate(accounts, Jwt("c"), "east").ok());
  const auto west = Authenticate(accounts, Jwt("d"), "west");
  ASSERT_TRUE(west.ok()) << west.status();
  EXPECT_EQ(west->id.ToString(), "spiffe://cluster.local/ns/default/sa/sleep");
  EXPECT_EQ(west->pod_uid, "11-22");
  EXPECT_EQ(by_cluster_, (std::map<std::string, int>{{"Kubernetes", 3}, {"west", 1}}));

  const absl::Status unknown = Authenticate(accounts, Jwt("e"), "north").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(std::string(unknown.message()),
              AllOf(HasSubstr("north"), Not(HasSubstr("west")), Not(HasSubstr("east"))));
  EXPECT_EQ(Authenticate(accounts, Secret("opaque"), "").status().code(),
            absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(by_cluster_["Kubernetes"], 3) << "neither of them was asked about";
  accounts.Stop();
  EXPECT_EQ(Authenticate(accounts, Jwt("f"), "").status().code(), absl::StatusCode::kUnavailable);
}

TEST(RemoteClustersTest, AreReadAndWritten) {
  const auto clusters = ParseRemoteClusters("west=/etc/w.yaml#admin@w, north=n.yaml");
  ASSERT_TRUE(clusters.ok()) << clusters.status();
  EXPECT_EQ(*clusters, (std::vector<RemoteCluster>{{"west", "/etc/w.yaml", "admin@w"},
                                                   {"north", "n.yaml", ""}}));
  EXPECT_EQ(ToString(*clusters), "west=/etc/w.yaml#admin@w,north=n.yaml");
  EXPECT_TRUE(ParseRemoteClusters("")->empty());
  for (const char* text : {"west", "=x", "west=", "west=#c"}) {
    EXPECT_FALSE(ParseRemoteClusters(text).ok()) << text;
  }
}

}  // namespace
}  // namespace capstan::authn
