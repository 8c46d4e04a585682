// SPDX-License-Identifier: Apache-2.0
#include "issuance/issue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/random.h"
#include "base/strings.h"
#include "issuance/check.h"
#include "issuance/go_duration.h"
#include "trust/testing.h"
#include "x509/verify.h"

namespace capstan::issuance {
namespace {

using ::testing::HasSubstr;
using trust::testing::CaSpec;
using trust::testing::MakeIntermediate;
using trust::testing::TestNow;
using trust::testing::TestPki;

class IssueTest : public ::testing::Test {
 protected:
  std::unique_ptr<Issuer> NewIssuer(const TestPki& pki) {
    return *Issuer::Create(pki.authority(), *x509::NewSigner(pki.intermediate.key));
  }
  x509::Csr NewCsr(x509::KeyType type = x509::KeyType::kEcdsaP256) {
    x509::Extensions wanted;
    wanted.sans.uris = {"spiffe://evil.example/ns/x/sa/y"};
    wanted.sans.dns = {"evil.example"};
    return *x509::Csr::Create(*x509::PrivateKey::Generate(type), {}, wanted);
  }

  const TestPki pki_ = TestPki::Make();
  const spiffe::SpiffeId id_ =
      *spiffe::SpiffeId::Parse("spiffe://cluster.local/ns/default/sa/httpbin");
  const Policy policy_;
};

TEST_F(IssueTest, TtlRulesAreIstios) {
  trust::Authority authority = pki_.authority();
  auto plan = [&](absl::Duration ttl) { return PlanLeaf(id_, ttl, policy_, authority, TestNow()); };
  EXPECT_EQ(plan(absl::ZeroDuration())->not_after, TestNow() + absl::Hours(24));
  EXPECT_EQ(plan(-absl::Hours(1))->not_after, TestNow() + absl::Hours(24));
  EXPECT_EQ(plan(absl::Seconds(1))->not_after, TestNow() + absl::Seconds(1));
  EXPECT_EQ(plan(absl::Hours(1))->not_before, TestNow() - absl::Minutes(2));
  EXPECT_EQ(plan(absl::Hours(2160))->not_after, TestNow() + absl::Hours(2160));
  absl::Status refused = plan(absl::Hours(2160) + absl::Seconds(1)).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Std(refused.message()),
            "requested TTL 2160h0m1s is greater than the max allowed TTL 2160h0m0s");
}

TEST_F(IssueTest, NoLeafOutlivesItsIssuer) {
  CaSpec spec{"Intermediate CA"};
  spec.not_after = TestNow() + absl::Hours(1);
  TestPki pki{pki_.root, MakeIntermediate(pki_.root, spec)};
  trust::Authority authority = pki.authority();
  EXPECT_EQ(PlanLeaf(id_, absl::ZeroDuration(), policy_, authority, TestNow())->not_after,
            spec.not_after);
  EXPECT_EQ(PlanLeaf(id_, absl::Hours(2), policy_, authority, TestNow())->not_after,
            spec.not_after);
  absl::Status expired = PlanLeaf(id_, absl::Hours(2), policy_, authority, spec.not_after).status();
  EXPECT_EQ(expired.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(expired.message()), HasSubstr("signing certificate has expired at"));
  EXPECT_EQ(PlanLeaf(id_, absl::Hours(2), policy_, authority, spec.not_before - absl::Seconds(1))
                .status()
                .code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(IssueTest, NoLeafOutlivesItsRoot) {
  const CaSpec root_spec{.not_after = TestNow() + absl::Hours(1)};
  const trust::testing::TestCa root = trust::testing::MakeRoot(root_spec);
  const trust::Authority authority = TestPki{root, MakeIntermediate(root)}.authority();
  ASSERT_GT(authority.certificate.not_after(), root_spec.not_after);
  EXPECT_EQ(PlanLeaf(id_, absl::Hours(2), policy_, authority, TestNow())->not_after,
            root_spec.not_after);
  const absl::Status expired =
      PlanLeaf(id_, absl::Hours(2), policy_, authority, root_spec.not_after).status();
  EXPECT_EQ(expired.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(expired.message()),
              HasSubstr("the root of the signing chain has expired"));
}

TEST_F(IssueTest, AProbeIsForClientsAndForMinutes) {
  std::unique_ptr<Issuer> issuer = NewIssuer(pki_);
  const x509::Csr csr = NewCsr();
  const Plan plan = *PlanProbe(id_.trust_domain(), policy_, pki_.authority(), TestNow());
  absl::StatusOr<Issued> issued = issuer->Sign(plan, csr, SystemRandom());
  ASSERT_TRUE(issued.ok()) << issued.status();
  EXPECT_EQ(issued->leaf.SpiffeId()->ToString(), "spiffe://cluster.local/capstan/probe");
  EXPECT_THAT(issued->leaf.extended_key_usage(), ::testing::ElementsAre("clientAuth"));
  EXPECT_EQ(issued->leaf.not_after(), TestNow() + absl::Minutes(5));
  const std::vector<x509::Certificate> chain = {issued->leaf, pki_.intermediate.certificate};
  const auto verdict = [&](x509::Purpose purpose) {
    return x509::VerifySvid(chain, {pki_.root.certificate}, TestNow(), {.purpose = purpose});
  };
  EXPECT_TRUE(verdict(x509::Purpose::kClient).status.ok());
  EXPECT_FALSE(verdict(x509::Purpose::kServer).status.ok());
  // Its check tells it from a workload's, both ways.
  Plan workload = plan;
  workload.for_clients_only = false;
  EXPECT_FALSE(CheckLeaf(issued->leaf, workload, csr.public_key(), issued->leaf.serial(),
                         pki_.authority(), true)
                   .ok());
  const absl::Time end = pki_.intermediate.certificate.not_after();
  EXPECT_EQ(
      PlanProbe(id_.trust_domain(), policy_, pki_.authority(), end - absl::Seconds(1))->not_after,
      end);
  EXPECT_EQ(PlanProbe(id_.trust_domain(), policy_, pki_.authority(), end).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(IssueTest, SansComeFromTheIdentityNeverFromTheCsr) {
  std::unique_ptr<Issuer> issuer = NewIssuer(pki_);
  for (x509::KeyType type :
       {x509::KeyType::kRsa2048, x509::KeyType::kEcdsaP256, x509::KeyType::kEcdsaP384}) {
    x509::Csr csr = NewCsr(type);
    Plan plan = *PlanLeaf(id_, absl::Hours(1), policy_, pki_.authority(), TestNow());
    absl::StatusOr<Issued> issued = issuer->Sign(plan, csr, SystemRandom());
    ASSERT_TRUE(issued.ok()) << issued.status();
    EXPECT_EQ(*issued->leaf.SpiffeId(), id_);
    EXPECT_THAT(issued->leaf.sans().dns, ::testing::IsEmpty());
    EXPECT_EQ(issued->leaf.public_key(), csr.public_key());
    EXPECT_EQ(issued->leaf.Subject(), "");
    EXPECT_EQ(issued->authority, pki_.authority().id);
    EXPECT_TRUE(x509::VerifySvid({issued->leaf, pki_.intermediate.certificate},
                                 {pki_.root.certificate}, TestNow())
                    .status.ok());
  }
}

TEST_F(IssueTest, TheKeyMustBeTheAuthoritys) {
  EXPECT_EQ(Issuer::Create(pki_.authority(), *x509::NewSigner(pki_.root.key)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// A signer that says it is one and signs nonsense.
class BrokenSigner final : public x509::Signer {
 public:
  explicit BrokenSigner(std::shared_ptr<x509::Signer> inner) : inner_(std::move(inner)) {}
  x509::PublicKey public_key() const override { return inner_->public_key(); }
  std::string_view algorithm_der() const override { return inner_->algorithm_der(); }
  absl::StatusOr<std::string> Sign(std::string_view message) override {
    return inner_->Sign(std::string(message) + "!");
  }

 private:
  std::shared_ptr<x509::Signer> inner_;
};

TEST_F(IssueTest, AWrongSignatureDoesNotLeaveTheHouse) {
  auto issuer = *Issuer::Create(
      pki_.authority(), std::make_shared<BrokenSigner>(*x509::NewSigner(pki_.intermediate.key)));
  Plan plan = *PlanLeaf(id_, absl::Hours(1), policy_, pki_.authority(), TestNow());
  absl::Status status = issuer->Sign(plan, NewCsr(), SystemRandom()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("signature"));
}

TEST_F(IssueTest, TheCheckSeesEveryField) {
  std::unique_ptr<Issuer> issuer = NewIssuer(pki_);
  x509::Csr csr = NewCsr();
  const Plan plan = *PlanLeaf(id_, absl::Hours(1), policy_, pki_.authority(), TestNow());
  const x509::Certificate leaf = issuer->Sign(plan, csr, SystemRandom())->leaf;
  auto check = [&](const Plan& meant, const x509::PublicKey& key, const x509::SerialNumber& serial,
                   const trust::Authority& authority) {
    return CheckLeaf(leaf, meant, key, serial, authority, true);
  };
  EXPECT_TRUE(check(plan, csr.public_key(), leaf.serial(), pki_.authority()).ok());
  Plan other = plan;
  other.id = *spiffe::SpiffeId::Parse("spiffe://cluster.local/ns/default/sa/sleep");
  EXPECT_FALSE(check(other, csr.public_key(), leaf.serial(), pki_.authority()).ok());
  other = plan;
  other.not_after += absl::Seconds(1);
  EXPECT_FALSE(check(other, csr.public_key(), leaf.serial(), pki_.authority()).ok());
  EXPECT_FALSE(check(plan, NewCsr().public_key(), leaf.serial(), pki_.authority()).ok());
  EXPECT_FALSE(
      check(plan, csr.public_key(), x509::SerialNumber::FromBytes("x"), pki_.authority()).ok());
  EXPECT_FALSE(
      check(plan, csr.public_key(), leaf.serial(), TestPki::Make("other").authority()).ok());
}

TEST_F(IssueTest, SignsFromManyThreads) {
  std::unique_ptr<Issuer> issuer = NewIssuer(pki_);
  const Plan plan = *PlanLeaf(id_, absl::Hours(1), policy_, pki_.authority(), TestNow());
  const x509::Csr csr = NewCsr();
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 50; ++j) good += issuer->Sign(plan, csr, SystemRandom()).ok();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 200);
}

TEST(GoDurationTest, PrintsLikeGo) {
  EXPECT_EQ(GoDuration(absl::Hours(2160) + absl::Seconds(1)), "2160h0m1s");
  EXPECT_EQ(GoDuration(absl::Minutes(1)), "1m0s");
  EXPECT_EQ(GoDuration(absl::Seconds(5)), "5s");
  EXPECT_EQ(GoDuration(absl::ZeroDuration()), "0s");
  EXPECT_EQ(GoDuration(-absl::Hours(1)), "-1h0m0s");
}

}  // namespace
}  // namespace capstan::issuance
