// SPDX-License-Identifier: Apache-2.0
#include "trust/history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "trust/testing.h"

namespace capstan::trust {
namespace {

using ::testing::HasSubstr;
using testing::MakeIntermediate;
using testing::MakeRoot;
using testing::TestCa;
using testing::TestNow;
using testing::TestPki;

constexpr char kLineage[] = "7d7ad3a1-1111-4222-8333-123456789abc";

const spiffe::TrustDomain& Domain() {
  static const auto& domain = *new spiffe::TrustDomain(*spiffe::TrustDomain::Parse("mesh.test"));
  return domain;
}

Bundle RootsOf(const std::vector<const TestPki*>& pkis) {
  std::vector<x509::Certificate> roots;
  for (const TestPki* pki : pkis) roots.push_back(pki->root.certificate);
  return Bundle::Of(roots);
}

struct LinkSpec {
  int64_t sequence = 2;
  int64_t previous = 1;
  std::string lineage = kLineage;
  absl::Time time = TestNow();
};

absl::StatusOr<std::string> TryMake(const TestPki& signer, const Bundle& bundle,
                                    const LinkSpec& spec = {}) {
  return MakeHistoryDocument({{spec.lineage, spec.sequence}, spec.previous, bundle, spec.time},
                             Domain(), signer.authority(),
                             **x509::NewSigner(signer.intermediate.key), SystemRandom().Bytes(16));
}

std::string Make(const TestPki& signer, const Bundle& bundle, const LinkSpec& spec = {}) {
  absl::StatusOr<std::string> made = TryMake(signer, bundle, spec);
  EXPECT_TRUE(made.ok()) << made.status();
  return made.value_or("");
}

// A document that says and is signed as a test wants it, by whatever certificate.
std::string Forge(const std::vector<x509::Certificate>& chain, const x509::PrivateKey& key,
                  const Bundle& bundle, const LinkSpec& spec = {}) {
  const std::string text =
      absl::StrCat("capstan-trust-history/1\nlineage ", spec.lineage, "\nsequence ", spec.sequence,
                   "\nprevious ", spec.previous, "\ntime ",
                   absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", spec.time, absl::UTCTimeZone()),
                   "\nroots\n", bundle.ToPem(), "signer\n", x509::ToPem(chain));
  const std::string signature = *(*x509::NewSigner(key))->Sign(text);
  return absl::StrCat(text, "signature ", absl::Base64Escape(signature), "\n");
}

struct SignerSpec {
  std::string uri = "spiffe://mesh.test/capstan/trust-history";
  absl::Time not_before = TestNow() - absl::Minutes(2);
  absl::Time not_after = TestNow() + absl::Minutes(5);
  uint32_t usage = x509::kDigitalSignature;
  bool ca = false;
};

struct OddSigner {
  std::vector<x509::Certificate> chain;
  x509::PrivateKey key;
};

OddSigner MakeSigner(const TestPki& pki, const SignerSpec& spec) {
  x509::CertificateTemplate to_sign;
  to_sign.serial = x509::NewSerial(SystemRandom().Bytes(16));
  to_sign.not_before = spec.not_before;
  to_sign.not_after = spec.not_after;
  to_sign.extensions.basic_constraints = x509::Extensions::BasicConstraints{.ca = spec.ca};
  to_sign.extensions.key_usage = x509::Extensions::Usage{spec.usage};
  to_sign.extensions.authority_key_id = true;
  to_sign.extensions.sans.uris = {spec.uri};
  to_sign.extensions.sans.critical = true;
  x509::PrivateKey key = *x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256);
  const x509::Certificate leaf =
      *x509::SignCertificate(to_sign, key.public_key(), pki.intermediate.certificate,
                             **x509::NewSigner(pki.intermediate.key));
  return {{leaf, pki.intermediate.certificate}, key};
}

class HistoryTest : public ::testing::Test {
 protected:
  // What keeps somebody with {A}, version 1, from taking `text`.
  absl::Status Refusal(const std::string& text) {
    absl::StatusOr<std::vector<HistoryLink>> links =
        Follow(RootsOf({&a_}), held_, {text}, Domain());
    return links.status();
  }
  // A → A, B → B → B, C → C, each signed by who was active before.
  std::vector<std::string> TwoRotations() {
    return {Make(a_, RootsOf({&a_, &b_}), {2, 1}), Make(b_, RootsOf({&b_}), {3, 2}),
            Make(b_, RootsOf({&b_, &c_}), {4, 3}), Make(c_, RootsOf({&c_}), {5, 4})};
  }

  const TestPki a_ = TestPki::Make("a");
  const TestPki b_ = TestPki::Make("b");
  const TestPki c_ = TestPki::Make("c");
  const BundleVersion held_{kLineage, 1};
};

TEST_F(HistoryTest, ADocumentReadsBackAsItWasMade) {
  const std::string text = Make(a_, RootsOf({&a_, &b_}));
  const absl::StatusOr<HistoryDocument> document = ParseHistoryDocument(text);
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_EQ(document->link.version, (BundleVersion{kLineage, 2}));
  EXPECT_EQ(document->link.previous, 1);
  EXPECT_EQ(document->link.bundle, RootsOf({&a_, &b_}));
  EXPECT_EQ(document->link.time, TestNow());
  ASSERT_EQ(document->signer.size(), 2u);
  const x509::Certificate& leaf = document->signer.front();
  EXPECT_EQ(leaf.SpiffeId()->ToString(), "spiffe://mesh.test/capstan/trust-history");
  EXPECT_EQ(leaf.key_usage(), x509::kDigitalSignature);
  EXPECT_FALSE(leaf.is_ca());
  EXPECT_LE(leaf.not_after() - leaf.not_before(), absl::Minutes(10));
}

TEST_F(HistoryTest, SeveralMissedRotationsAreFollowed) {
  const absl::StatusOr<std::vector<HistoryLink>> links =
      Follow(RootsOf({&a_}), held_, TwoRotations(), Domain());
  ASSERT_TRUE(links.ok()) << links.status();
  ASSERT_EQ(links->size(), 4u);
  EXPECT_EQ(links->back().bundle, RootsOf({&c_}));
  EXPECT_EQ(links->back().version, (BundleVersion{kLineage, 5}));
}

TEST_F(HistoryTest, NothingNewIsNoLink) {
  const auto links = Follow(RootsOf({&a_}), held_, {}, Domain());
  ASSERT_TRUE(links.ok());
  EXPECT_TRUE(links->empty());
}

TEST_F(HistoryTest, ARootThatSignsByItselfSignsLinks) {
  const TestCa root = MakeRoot();
  const Authority authority{
      AuthorityId::Of(root.certificate), root.certificate, {}, root.certificate};
  const auto text =
      MakeHistoryDocument({{kLineage, 2}, 1, RootsOf({&b_}), TestNow()}, Domain(), authority,
                          **x509::NewSigner(root.key), SystemRandom().Bytes(16));
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_TRUE(Follow(Bundle::Of({root.certificate}), held_, {*text}, Domain()).ok());
}

TEST_F(HistoryTest, ALinkIsJudgedAtItsOwnTime) {
  // Made while the root was valid; that nobody looks at it before the root expired is no matter.
  const absl::Time then = TestNow() - absl::Hours(24 * 365);
  TestPki old{MakeRoot({.not_before = then - absl::Hours(1), .not_after = then + absl::Hours(1)}),
              a_.intermediate};
  old.intermediate = MakeIntermediate(
      old.root, {.not_before = then - absl::Hours(1), .not_after = then + absl::Hours(1)});
  const std::string text = Make(old, RootsOf({&b_}), {.sequence = 2, .previous = 1, .time = then});
  EXPECT_TRUE(Follow(RootsOf({&old}), held_, {text}, Domain()).ok());
  EXPECT_THAT(std::string(TryMake(old, RootsOf({&b_})).status().message()),
              HasSubstr("expired at"));
}

TEST_F(HistoryTest, ASignerUnderARootThatIsNotHeldIsRefused) {
  const absl::Status why = Refusal(Make(b_, RootsOf({&b_})));
  EXPECT_TRUE(absl::IsUnauthenticated(why));
  EXPECT_THAT(std::string(why.message()), HasSubstr("link 1 of 1, from version 1 to 2"));
  EXPECT_THAT(std::string(why.message()), HasSubstr("does not chain to a held root"));
}

TEST_F(HistoryTest, LinksInAnotherOrderOrWithAGapAreRefused) {
  const std::vector<std::string> good = TwoRotations();
  const auto refused = [&](const std::vector<std::string>& documents) {
    return std::string(Follow(RootsOf({&a_}), held_, documents, Domain()).status().message());
  };
  EXPECT_THAT(refused({good[1], good[0]}),
              HasSubstr("it follows version 2, and version 1 is held"));
  EXPECT_THAT(refused({good[0], good[2]}), HasSubstr("link 2 of 2"));
  EXPECT_THAT(refused({good[0], good[1], good[0]}), HasSubstr("link 3 of 3"));
  EXPECT_THAT(refused({good[0], good[0]}), HasSubstr("not newer than version 2"));
}

TEST_F(HistoryTest, AnOlderVersionIsNoNews) {
  const std::string text = Make(a_, RootsOf({&a_, &b_}));
  const auto links = Follow(RootsOf({&a_}), {kLineage, 2}, {text}, Domain());
  EXPECT_TRUE(absl::IsFailedPrecondition(links.status())) << links.status();
}

TEST_F(HistoryTest, ALinkMayComeFromAVersionBeforeTheHeldOne) {
  const std::string text = Make(a_, RootsOf({&b_}), {.sequence = 7, .previous = 2});
  EXPECT_TRUE(Follow(RootsOf({&a_}), {kLineage, 4}, {text}, Domain()).ok());
}

TEST_F(HistoryTest, AnotherLineageIsRefused) {
  const absl::Status why = Refusal(Make(a_, RootsOf({&b_}), {.lineage = "another"}));
  EXPECT_TRUE(absl::IsFailedPrecondition(why));
  EXPECT_THAT(std::string(why.message()), HasSubstr("lineage another"));
}

TEST_F(HistoryTest, OnlyACertificateForTheTrustHistorySigns) {
  const auto refusal = [&](const SignerSpec& spec) {
    const OddSigner signer = MakeSigner(a_, spec);
    const absl::Status why = Refusal(Forge(signer.chain, signer.key, RootsOf({&b_})));
    EXPECT_TRUE(absl::IsUnauthenticated(why)) << why;
    return std::string(why.message());
  };
  const OddSigner good = MakeSigner(a_, {});
  EXPECT_TRUE(Refusal(Forge(good.chain, good.key, RootsOf({&b_}))).ok());
  EXPECT_THAT(refusal({.uri = "spiffe://mesh.test/ns/default/sa/sleep"}),
              HasSubstr("its signer is"));
  EXPECT_THAT(refusal({.uri = "spiffe://mesh.test/capstan/control-plane"}),
              HasSubstr("its signer is"));
  EXPECT_THAT(refusal({.uri = "spiffe://other.test/capstan/trust-history"}),
              HasSubstr("its signer is"));
  EXPECT_THAT(refusal({.usage = x509::kKeyEncipherment}), HasSubstr("may not sign"));
  EXPECT_THAT(refusal({.not_after = TestNow() + absl::Hours(24)}), HasSubstr("more than an hour"));
  EXPECT_THAT(refusal({.not_after = TestNow() - absl::Minutes(1)}), HasSubstr("does not chain"));
  EXPECT_THAT(refusal({.usage = x509::kDigitalSignature | x509::kKeyCertSign, .ca = true}),
              HasSubstr("does not chain"));
}

TEST_F(HistoryTest, AForeignKeyOrAnAlteredTextBreaksTheSignature) {
  const OddSigner good = MakeSigner(a_, {});
  const x509::PrivateKey other = *x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256);
  EXPECT_THAT(std::string(Refusal(Forge(good.chain, other, RootsOf({&b_}))).message()),
              HasSubstr("not that of its signer"));
  std::string text = Make(a_, RootsOf({&b_}));
  text.replace(text.find(b_.root.certificate.ToPem()), b_.root.certificate.ToPem().size(),
               c_.root.certificate.ToPem());
  EXPECT_THAT(std::string(Refusal(text).message()), HasSubstr("not that of its signer"));
}

TEST_F(HistoryTest, AVersionWithoutARootIsNeitherMadeNorRead) {
  EXPECT_FALSE(TryMake(a_, Bundle()).ok());
  EXPECT_FALSE(TryMake(a_, RootsOf({&b_}), {.sequence = 1, .previous = 1}).ok());
  EXPECT_FALSE(TryMake(a_, RootsOf({&b_}), {.sequence = 1, .previous = 0}).ok());
  const OddSigner good = MakeSigner(a_, {});
  EXPECT_TRUE(absl::IsInvalidArgument(Refusal(Forge(good.chain, good.key, Bundle()))));
}

TEST_F(HistoryTest, OneDocumentHasOneText) {
  const std::string text = Make(a_, RootsOf({&a_, &b_}));
  for (const std::string& other : std::vector<std::string>{
           "\n" + text, text + "\n", text + text, text.substr(0, text.size() - 1), std::string(),
           absl::StrReplaceAll(text, {{"sequence 2", "sequence 02"}}),
           absl::StrReplaceAll(text, {{"\nsigner", "\n\nsigner"}}),
           absl::StrReplaceAll(text, {{"\n", "\r\n"}}), std::string(2 << 20, 'x')}) {
    const absl::Status why = ParseHistoryDocument(other).status();
    EXPECT_TRUE(absl::IsInvalidArgument(why)) << why;
  }
}

RC_GTEST_PROP(HistoryProperty, NoChangedByteAndNoTruncationIsTaken, ()) {
  static const auto& a = *new TestPki(TestPki::Make("a"));
  static const std::string& text = *new std::string(Make(a, RootsOf({&a})));
  std::string changed = text;
  const auto at = *rc::gen::inRange<size_t>(0, text.size());
  if (*rc::gen::arbitrary<bool>()) {
    changed.resize(at);
  } else {
    changed[at] = static_cast<char>(changed[at] ^ *rc::gen::inRange(1, 256));
  }
  RC_ASSERT(!Follow(RootsOf({&a}), {kLineage, 1}, {changed}, Domain()).ok());
}

// Whatever selection and order of genuine links somebody in the middle hands out: what is taken is
// the beginning of the true history.
RC_GTEST_PROP(HistoryProperty, OnlyPrefixesOfTheTrueHistoryAreTaken, ()) {
  static const auto& pkis =
      *new std::vector<TestPki>{TestPki::Make("a"), TestPki::Make("b"), TestPki::Make("c")};
  static const auto& truth =
      *new std::vector<std::string>{Make(pkis[0], RootsOf({&pkis[0], &pkis[1]}), {2, 1}),
                                    Make(pkis[1], RootsOf({&pkis[1]}), {3, 2}),
                                    Make(pkis[1], RootsOf({&pkis[1], &pkis[2]}), {4, 3}),
                                    Make(pkis[2], RootsOf({&pkis[2]}), {5, 4})};
  const auto chosen =
      *rc::gen::container<std::vector<size_t>>(rc::gen::inRange<size_t>(0, truth.size()));
  std::vector<std::string> documents;
  bool prefix = true;
  for (size_t i = 0; i < chosen.size(); ++i) {
    documents.push_back(truth[chosen[i]]);
    prefix = prefix && chosen[i] == i;
  }
  const auto links = Follow(RootsOf({&pkis[0]}), {kLineage, 1}, documents, Domain());
  RC_ASSERT(links.ok() == prefix);
}

}  // namespace
}  // namespace capstan::trust
