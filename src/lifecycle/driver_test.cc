// SPDX-License-Identifier: Apache-2.0
#include "lifecycle/driver.h"

#include "base/executor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "x509/csr.h"
#include "x509/test_pki.h"

namespace capstan::lifecycle {
namespace {

using ::testing::HasSubstr;
using x509::testing::Ca;
using x509::testing::MakeIntermediate;
using x509::testing::MakeRoot;

constexpr char kId[] = "spiffe://cluster.local/ns/default/sa/httpbin";

// Signs at once or as told; stricter than the real one: a second request while one is open fails.
class FakeCa final : public CaClient {
 public:
  FakeCa(ManualExecutor& executor, FakeClock& clock) : executor_(executor), clock_(clock) {}

  void CreateCertificate(const Request& request, Callback done) override {
    EXPECT_FALSE(open_) << "two requests at once";
    open_ = true;
    requests.push_back(request);
    executor_.After(delay, [this, request, done] {
      open_ = false;
      if (!failure.ok()) return done(failure);
      const auto csr = x509::Csr::Parse(request.csr_pem);
      ASSERT_TRUE(csr.ok()) << csr.status();
      keys.push_back(csr->public_key());
      const absl::Duration life =
          request.ttl > absl::ZeroDuration() ? request.ttl : absl::Hours(24);
      const auto der =
          x509::LeafTemplate::For(issuer->certificate)
              ->SignDer(x509::testing::NextSerial(), clock_.Now() - absl::Minutes(2),
                        clock_.Now() + life, {.uris = {id}}, csr->public_key(), *issuer->signer);
      done(std::vector<std::string>{x509::Certificate::ParseDer(*der)->ToPem(),
                                    issuer->certificate.ToPem(), root->certificate.ToPem()});
    });
  }

  const Ca* root = nullptr;
  const Ca* issuer = nullptr;
  std::string id = kId;
  absl::Status failure;
  absl::Duration delay = absl::Milliseconds(5);
  std::vector<Request> requests;
  std::vector<x509::PublicKey> keys;

 private:
  ManualExecutor& executor_;
  FakeClock& clock_;
  bool open_ = false;
};

class DriverTest : public ::testing::Test {
 protected:
  DriverTest() {
    ca_.root = &a_;
    ca_.issuer = &issuer_a_;
  }
  std::unique_ptr<Driver> NewDriver(absl::Duration ttl) {
    enrolment_.emplace(*spiffe::SpiffeId::Parse(kId), ttl,
                       [] { return x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256); });
    return std::make_unique<Driver>(
        Driver::Options{.name = "test",
                        .purpose = Purpose::kWorkload,
                        .id = *spiffe::SpiffeId::Parse(kId),
                        .instance = "i",
                        .ttl = ttl},
        Driver::Ports{.executor = executor_,
                      .clock = clock_,
                      .ca = ca_,
                      .enrolment = *enrolment_,
                      .serve = [this](const Leaf&) { served_.push_back(*enrolment_->accepted()); },
                      .changed = [this] { ++changes_; },
                      .attempted = [this](const std::string& r) { ++attempts_[r]; }});
  }
  trust::Bundle BundleA() { return trust::Bundle::Of({a_.certificate}); }
  trust::Bundle Both() { return trust::Bundle::Of({a_.certificate, b_.certificate}); }

  FakeClock clock_{x509::testing::Now()};
  ManualExecutor executor_{clock_};
  const Ca a_ = MakeRoot();
  const Ca b_ = MakeRoot();
  const Ca issuer_a_ = MakeIntermediate(a_);
  const Ca issuer_b_ = MakeIntermediate(b_);
  FakeCa ca_{executor_, clock_};
  std::optional<X509Enrolment> enrolment_;
  std::vector<Certified> served_;
  std::map<std::string, int> attempts_;
  int changes_ = 0;
};

TEST_F(DriverTest, ServesWhatItKeepsRenewingWithAKeyEachTime) {
  const auto driver = NewDriver(absl::Seconds(10));
  driver->Start(std::nullopt, BundleA());
  executor_.Advance(absl::Seconds(1));
  for (int i = 0; i < 600; ++i) {
    ASSERT_FALSE(served_.empty());
    ASSERT_GT(served_.back().answer.leaf.not_after, clock_.Now())
        << "a gap after " << i << " ticks";
    executor_.Advance(absl::Milliseconds(100));
  }
  EXPECT_GE(served_.size(), 9u);
  EXPECT_LE(served_.size(), 13u);
  for (size_t i = 0; i < served_.size(); ++i) {
    EXPECT_TRUE(served_[i].key.public_key() == ca_.keys[i]);
    for (size_t j = 0; j < i; ++j) EXPECT_FALSE(ca_.keys[i] == ca_.keys[j]);
  }
}

TEST_F(DriverTest, ALostAnswerIsAskedForAgainWithTheSameKey) {
  const auto driver = NewDriver(absl::ZeroDuration());
  ca_.failure = absl::UnavailableError("gone");
  driver->Start(std::nullopt, BundleA());
  executor_.Advance(absl::Seconds(5));
  EXPECT_THAT(driver->last_failure(), HasSubstr("gone"));
  ca_.failure = absl::OkStatus();
  executor_.Advance(absl::Seconds(60));
  ASSERT_EQ(served_.size(), 1u);
  ASSERT_GE(ca_.requests.size(), 3u);
  for (const auto& request : ca_.requests) {
    EXPECT_TRUE(x509::Csr::Parse(request.csr_pem)->public_key() == served_[0].key.public_key());
  }
  EXPECT_EQ(driver->last_failure(), "");
  EXPECT_EQ(attempts_["issued"], 1);
}

TEST_F(DriverTest, AForgedAnswerIsNotServedAndTheLastGoodStays) {
  const auto driver = NewDriver(absl::Minutes(10));
  driver->Start(std::nullopt, BundleA());
  executor_.Advance(absl::Seconds(1));
  const Leaf good = *driver->held();
  ca_.id = "spiffe://evil.td/ns/default/sa/httpbin";
  executor_.Advance(absl::Minutes(30));
  EXPECT_EQ(served_.size(), 1u);
  EXPECT_EQ(driver->held(), good);
  EXPECT_THAT(driver->last_failure(), HasSubstr("evil.td"));
  EXPECT_GT(attempts_["refused"], 3);
  ca_.id = kId;
  executor_.Advance(absl::Minutes(6));
  EXPECT_EQ(served_.size(), 2u);
}

TEST_F(DriverTest, AnAnswerAheadOfItsTrustIsServedOnceTrustArrives) {
  const auto driver = NewDriver(absl::ZeroDuration());
  driver->Start(std::nullopt, BundleA());
  executor_.Advance(absl::Seconds(1));
  ca_.root = &b_;
  ca_.issuer = &issuer_b_;
  driver->OnDirective(Directive{trust::AuthorityId::Of(issuer_b_.certificate), {clock_.Now()}});
  executor_.Advance(absl::Minutes(10));
  EXPECT_EQ(served_.size(), 1u);
  EXPECT_GT(attempts_["untrusted"], 0);
  driver->OnBundle(Both());
  executor_.Advance(absl::Seconds(1));
  ASSERT_EQ(served_.size(), 2u);
  EXPECT_EQ(served_.back().answer.leaf.authority, trust::AuthorityId::Of(issuer_b_.certificate));
}

TEST_F(DriverTest, BundlesMakeNobodyReSign) {
  const auto driver = NewDriver(absl::ZeroDuration());
  driver->Start(std::nullopt, BundleA());
  executor_.Advance(absl::Seconds(1));
  driver->OnBundle(Both());
  driver->OnBundle(trust::Bundle::Of({b_.certificate}));
  executor_.Advance(absl::Hours(1));
  EXPECT_EQ(ca_.requests.size(), 1u);
  EXPECT_EQ(served_.size(), 1u);
}

TEST_F(DriverTest, ADirectiveFromBeforeTheStartCounts) {
  const auto driver = NewDriver(absl::ZeroDuration());
  driver->OnDirective(Directive{trust::AuthorityId::Of(issuer_b_.certificate), {clock_.Now()}});
  executor_.Advance(absl::Seconds(1));
  EXPECT_TRUE(ca_.requests.empty());
  driver->Start(std::nullopt, Both());
  executor_.Advance(absl::Milliseconds(100));
  EXPECT_EQ(served_.size(), 1u);
  executor_.Advance(absl::Seconds(20));
  EXPECT_GE(served_.size(), 2u) << "issued by A although directed to B";
}

TEST_F(DriverTest, AnAnswerThatComesAfterItsEndFindsNobody) {
  auto driver = NewDriver(absl::ZeroDuration());
  driver->Start(std::nullopt, BundleA());
  driver.reset();
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(ca_.requests.size(), 1u);
  EXPECT_TRUE(served_.empty());
}

}  // namespace
}  // namespace capstan::lifecycle
