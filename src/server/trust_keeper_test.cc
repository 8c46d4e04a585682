// SPDX-License-Identifier: Apache-2.0
#include "server/trust_keeper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/random.h"
#include "base/strings.h"
#include "server/built_in_ca.h"
#include "store/faulty_store.h"
#include "store/memory_store.h"
#include "store/sqlite_store.h"
#include "trust/testing.h"
#include "x509/verify.h"

namespace capstan::server {
namespace {

using store::FaultyStore;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;
using trust::Bundle;
using trust::testing::CaSpec;
using trust::testing::MakeCrl;
using trust::testing::MakeIntermediate;
using trust::testing::MakeRoot;
using trust::testing::TestNow;
using trust::testing::TestPki;

std::string NewPath(std::string_view name) {
  return absl::StrCat(::testing::TempDir(), "/", name, "-", SystemRandom().Uuid());
}

spiffe::TrustDomain Domain() {
  return *spiffe::TrustDomain::Parse("cluster.local");
}

class TrustKeeperTest : public ::testing::Test {
 protected:
  std::unique_ptr<TrustKeeper> NewKeeper(store::Store& store) {
    TrustKeeperOptions options{.serving_names =
                                   NamesFor(Domain(), "0.0.0.0:15012", "ca.example:15012", {})};
    options.rotation.soak = absl::ZeroDuration();
    return std::make_unique<TrustKeeper>(
        options, store,
        *keystore::SealedKeys::Open(seal_key_, keystore::SealedKeys::IfMissing::kCreate,
                                    SystemRandom()),
        observer_, clock_, SystemRandom(), [this] { ++changes_; });
  }

  // Promise 1 of a single moment: who signs and who speaks for the control plane is trusted.
  void ExpectSound(const TrustKeeper& keeper) {
    auto trust = keeper.trust();
    if (trust == nullptr || trust->issuer_epoch == 0) return;
    ASSERT_NE(keeper.signing(), nullptr);
    EXPECT_TRUE(trust->bundle.Contains(keeper.signing()->issuer->authority().root));
    EXPECT_EQ(keeper.signing()->issuer->authority().id, trust->issuer);
    if (auto serving = keeper.serving()) {
      std::vector<x509::Certificate> chain = {serving->leaf};
      chain.insert(chain.end(), serving->authority.intermediates.begin(),
                   serving->authority.intermediates.end());
      EXPECT_TRUE(x509::Verify(chain, trust->bundle.roots(), clock_.Now()).status.ok());
    }
  }

  // Sees what a test says, whatever the gate.
  class FakeObserver final : public rotation::Observer {
   public:
    rotation::Observation Observe(const rotation::Gate& gate, absl::Time) override {
      asked.push_back(gate);
      return seen;
    }
    rotation::Observation seen;
    std::vector<rotation::Gate> asked;
  };

  FakeClock clock_{TestNow()};
  FakeObserver observer_;
  const std::string seal_key_ = NewPath("seal");
  store::MemoryStore store_{"lineage"};
  int changes_ = 0;
  const TestPki a_ = TestPki::Make("intermediateA");
  const TestPki b_ = TestPki::Make("intermediateB");
  const x509::Certificate& ra_ = a_.root.certificate;
  const x509::Certificate& rb_ = b_.root.certificate;
};

TEST_F(TrustKeeperTest, AnEmptyStateHasNoCa) {
  auto keeper = NewKeeper(store_);
  ASSERT_TRUE(keeper->Start().ok());
  EXPECT_EQ(keeper->trust(), nullptr);
  EXPECT_EQ(keeper->signing(), nullptr);
  EXPECT_TRUE(keeper->Maintain().ok());
}

TEST_F(TrustKeeperTest, TheFourPhases) {
  auto keeper = NewKeeper(store_);
  ASSERT_TRUE(keeper->Start().ok());
  ASSERT_TRUE(keeper->Offer(a_.Set(), {.source = "directory"}).ok());
  EXPECT_EQ(keeper->trust()->version, (trust::BundleVersion{"lineage", 1}));
  EXPECT_EQ(keeper->trust()->issuer_epoch, 1);
  auto serving_a = keeper->serving();
  auto issuer_a = keeper->signing()->issuer;

  Outcome both = *keeper->Offer(a_.Set({rb_, ra_}), {.source = "directory"});
  EXPECT_THAT(both.steps, ElementsAre(StartsWith("add-roots")));
  EXPECT_EQ(keeper->trust()->version.sequence, 2);
  EXPECT_EQ(keeper->trust()->issuer_epoch, 1);
  EXPECT_EQ(keeper->signing()->issuer, issuer_a);
  EXPECT_EQ(keeper->signing()->chain_pem.back(), Bundle::Of({ra_, rb_}).ToPem());

  Outcome issuer = *keeper->Offer(b_.Set({ra_, rb_, rb_}), {.source = "directory"});
  EXPECT_THAT(issuer.steps, ElementsAre(StartsWith("switch-issuer"), StartsWith("retire")));
  EXPECT_THAT(issuer.warnings, SizeIs(1));
  EXPECT_EQ(keeper->trust()->version.sequence, 2);  // A+B+B is A+B
  EXPECT_EQ(keeper->trust()->issuer_epoch, 2);
  EXPECT_EQ(keeper->serving(), serving_a);  // stays where every client trusts it
  EXPECT_EQ(keeper->signing()->issuer->authority(), b_.authority());

  Outcome last = *keeper->Offer(b_.Set(), {.source = "directory"});
  EXPECT_THAT(last.steps, ElementsAre(StartsWith("move-serving"), StartsWith("drop-roots")));
  EXPECT_EQ(keeper->trust()->bundle, Bundle::Of({rb_}));
  EXPECT_EQ(keeper->serving()->authority, b_.authority());
  EXPECT_EQ(keeper->situation()->authorities.at(a_.authority().id).state,
            trust::AuthorityState::kRetired);
  ExpectSound(*keeper);

  std::vector<std::string> kinds;
  const std::vector<store::JournalEntry> journal = *store_.Journal(100);
  for (const store::JournalEntry& entry : journal) kinds.push_back(entry.kind);
  EXPECT_THAT(kinds,
              ElementsAre("desired", "add-roots", "switch-issuer", "move-serving", "applied",
                          "desired", "add-roots", "applied", "desired", "switch-issuer", "retire",
                          "applied", "desired", "move-serving", "drop-roots", "applied"));
}

TEST_F(TrustKeeperTest, TheSameMeaningIsNoNewWish) {
  auto keeper = NewKeeper(store_);
  ASSERT_TRUE(keeper->Start().ok());
  ASSERT_TRUE(keeper->Offer(a_.Set({ra_, rb_}), {.source = "directory"}).ok());
  const int changes = changes_;
  for (auto roots : {std::vector{rb_, ra_}, std::vector{ra_, ra_, rb_}}) {
    Outcome outcome = *keeper->Offer(a_.Set(roots), {.source = "directory"});
    EXPECT_FALSE(outcome.changed);
    EXPECT_THAT(outcome.steps, IsEmpty());
  }
  EXPECT_EQ(changes_, changes);
}

TEST_F(TrustKeeperTest, ARestartKeepsWhatIsAndTheServingCertificatesRoot) {
  {
    auto keeper = NewKeeper(store_);
    ASSERT_TRUE(keeper->Start().ok());
    ASSERT_TRUE(keeper->Offer(a_.Set({ra_, rb_}), {.source = "directory"}).ok());
    ASSERT_TRUE(keeper->Offer(b_.Set({ra_, rb_}), {.source = "directory"}).ok());
  }
  const store::State before = *store_.Load();
  auto keeper = NewKeeper(store_);
  ASSERT_TRUE(keeper->Start().ok());
  EXPECT_EQ(keeper->trust()->issuer, b_.authority().id);
  EXPECT_EQ(keeper->serving()->authority, a_.authority());
  EXPECT_EQ(*store_.Load(), before);  // looking changes nothing
  EXPECT_FALSE(keeper->Offer(b_.Set({ra_, rb_}), {.source = "directory"})->changed);
}

TEST_F(TrustKeeperTest, TheServingCertificateIsRenewedEarly) {
  auto keeper = NewKeeper(store_);
  ASSERT_TRUE(keeper->Start().ok());
  ASSERT_TRUE(keeper->Offer(a_.Set(), {.source = "directory"}).ok());
  auto first = keeper->serving();
  EXPECT_GE(first->renew_at, TestNow() + absl::Hours(12));
  EXPECT_LE(first->renew_at, TestNow() + absl::Hours(18));
  clock_.Advance(absl::Hours(11));
  ASSERT_TRUE(keeper->Maintain().ok());
  EXPECT_EQ(keeper->serving(), first);
  clock_.Advance(absl::Hours(8));
  ASSERT_TRUE(keeper->Maintain().ok());
  EXPECT_NE(keeper->serving()->leaf, first->leaf);
  EXPECT_EQ(keeper->serving()->leaf.SpiffeId()->ToString(),
            "spiffe://cluster.local/capstan/control-plane");
  EXPECT_THAT(keeper->serving()->leaf.sans().dns,
              ElementsAre("istiod.istio-system.svc", "localhost", "ca.example"));
}

TEST_F(TrustKeeperTest, AnExpiredAuthorityDoesNotTakeTheServingCertificateWithIt) {
  CaSpec soon{"Intermediate CA", "short"};
  soon.not_after = TestNow() + absl::Hours(2);
  TestPki shorter{a_.root, MakeIntermediate(a_.root, soon)};
  auto keeper = NewKeeper(store_);
  ASSERT_TRUE(keeper->Start().ok());
  ASSERT_TRUE(keeper->Offer(shorter.Set({ra_, rb_}), {.source = "directory"}).ok());
  ASSERT_TRUE(keeper->Offer(b_.Set({ra_, rb_}), {.source = "directory"}).ok());
  EXPECT_EQ(keeper->serving()->authority, shorter.authority());
  clock_.Advance(absl::Hours(3));
  ASSERT_TRUE(keeper->Maintain().ok());
  EXPECT_EQ(keeper->serving()->authority, b_.authority());
  EXPECT_EQ(store_.Load()->trust.serving_authority, b_.authority().id.hex());
}

TEST_F(TrustKeeperTest, ARenewedIntermediateOfTheSameKeyMakesNobodyReissue) {
  auto keeper = NewKeeper(store_);
  ASSERT_TRUE(keeper->Start().ok());
  ASSERT_TRUE(keeper->Offer(a_.Set(), {.source = "directory"}).ok());
  CaSpec spec{"Intermediate CA", "intermediateA"};
  spec.key = &a_.intermediate.key;
  TestPki renewed{a_.root, MakeIntermediate(a_.root, spec)};
  Outcome outcome = *keeper->Offer(renewed.Set(), {.source = "directory"});
  EXPECT_TRUE(outcome.changed);
  EXPECT_EQ(keeper->trust()->issuer_epoch, 1);
  EXPECT_EQ(keeper->signing()->issuer->authority(), renewed.authority());
  EXPECT_EQ(keeper->signing()->chain_pem.front(), renewed.intermediate.certificate.ToPem());
  // Under another root the same key would leave old chains behind.
  TestPki crossed{b_.root, MakeIntermediate(b_.root, spec)};
  EXPECT_THAT(
      std::string(
          keeper->Offer(crossed.Set({ra_, rb_}), {.source = "directory"}).status().message()),
      HasSubstr("needs a key of its own"));
}

TEST_F(TrustKeeperTest, ARefusedContentStaysRefused) {
  store::Change refuse{store_.Load()->trust};
  refuse.refuse = a_.Set().ContentDigest();
  ASSERT_TRUE(store_.Commit(refuse).ok());
  auto keeper = NewKeeper(store_);
  ASSERT_TRUE(keeper->Start().ok());
  EXPECT_EQ(keeper->Offer(a_.Set(), {.source = "directory"}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(keeper->Offer(a_.Set({ra_, rb_}), {.source = "directory"}).ok());
}

TEST_F(TrustKeeperTest, ABuiltInCaIsReplacedLikeAnyOther) {
  trust::CaSet built_in = *MakeBuiltInCa(Domain(), x509::KeyType::kEcdsaP256, absl::Hours(87600),
                                         SystemRandom(), TestNow());
  EXPECT_EQ(built_in.authority.root.Subject(), "O=cluster.local");
  EXPECT_EQ(built_in.authority.root.key_usage(), x509::kKeyCertSign | x509::kCrlSign);
  auto keeper = NewKeeper(store_);
  ASSERT_TRUE(keeper->Start().ok());
  ASSERT_TRUE(keeper->Offer(built_in, {.source = "built-in"}).ok());
  EXPECT_THAT(keeper->signing()->chain_pem, SizeIs(1));
  EXPECT_THAT(keeper->Offer(a_.Set(), {.source = "directory"})->steps,
              ElementsAre(StartsWith("add-roots"), StartsWith("switch-issuer"),
                          StartsWith("move-serving"), StartsWith("drop-roots")));
  ExpectSound(*keeper);
}

TEST_F(TrustKeeperTest, CrlsTravelWithTheirNumber) {
  trust::CaFiles files = a_.Files();
  files["ca-crl.pem"] = MakeCrl(a_.intermediate).ToPem() + MakeCrl(a_.root).ToPem();
  auto keeper = NewKeeper(store_);
  ASSERT_TRUE(keeper->Start().ok());
  ASSERT_TRUE(keeper->Offer(*trust::ParseCaSet(files, TestNow()), {.source = "directory"}).ok());
  EXPECT_THAT(keeper->trust()->crls, SizeIs(2));
  EXPECT_EQ(keeper->trust()->crl_number, 1);
  ASSERT_TRUE(
      keeper->Offer(a_.Set(), {.source = "directory"}).ok());  // removing the file removes them
  EXPECT_THAT(keeper->trust()->crls, IsEmpty());
  EXPECT_EQ(keeper->trust()->crl_number, 2);
}

TEST_F(TrustKeeperTest, ReservedExpiriesComeBeforeLeaves) {
  auto keeper = NewKeeper(store_);
  ASSERT_TRUE(keeper->Start().ok());
  ASSERT_TRUE(keeper->Offer(a_.Set(), {.source = "directory"}).ok());
  const absl::Time reserved = store_.Load()->authorities[0].reserved_until;
  EXPECT_GE(reserved, TestNow() + absl::Hours(2160));
  auto reservation = keeper->signing()->reservation;
  EXPECT_TRUE(reservation->Cover(reserved, TestNow()).ok());
  EXPECT_EQ(store_.Load()->authorities[0].reserved_until,
            reserved);  // no write for what is covered
  const absl::Time later = reserved + absl::Seconds(1);
  EXPECT_TRUE(reservation->Cover(later, TestNow() + absl::Hours(5)).ok());
  EXPECT_GE(store_.Load()->authorities[0].reserved_until, later);
  EXPECT_EQ(keeper->situation()->authorities.begin()->second.reserved_until,
            store_.Load()->authorities[0].reserved_until);
}

TEST_F(TrustKeeperTest, ALeafThatCannotBeReservedIsNotSigned) {
  FaultyStore faulty(store_);
  auto keeper = NewKeeper(faulty);
  ASSERT_TRUE(keeper->Start().ok());
  ASSERT_TRUE(keeper->Offer(a_.Set(), {.source = "directory"}).ok());
  auto reservation = keeper->signing()->reservation;
  const absl::Time until = reservation->until();
  faulty.Arm(FaultyStore::Fault::kRefuseOnce, 1);
  EXPECT_FALSE(reservation->Cover(until + absl::Seconds(1), TestNow()).ok());
  EXPECT_TRUE(reservation->Cover(until, TestNow()).ok());  // the last good horizon stands
  EXPECT_TRUE(reservation->Cover(until + absl::Seconds(1), TestNow()).ok());
}

// ---- every write, every fault ----

enum class Backend { kMemory, kSqlite };

class CrashSweepTest : public TrustKeeperTest, public ::testing::WithParamInterface<Backend> {
 protected:
  struct Disk {
    std::string directory;
    std::unique_ptr<store::Store> store;
  };
  Disk NewDisk() {
    Disk disk;
    if (GetParam() == Backend::kMemory) {
      disk.store = std::make_unique<store::MemoryStore>("lineage");
    } else {
      disk.directory = NewPath("crash");
      disk.store = *store::SqliteStore::Open(disk.directory, SystemRandom());
    }
    return disk;
  }
  // As a new process finds it.
  void Reboot(Disk& disk) {
    if (GetParam() == Backend::kMemory) return;
    disk.store.reset();
    disk.store = *store::SqliteStore::Open(disk.directory, SystemRandom());
  }

  // What stands in the directory, one after the other.
  std::vector<trust::CaSet> Wishes() {
    auto with_crls = [](const TestPki& pki) {
      trust::CaFiles files = pki.Files();
      files["ca-crl.pem"] = MakeCrl(pki.intermediate).ToPem() + MakeCrl(pki.root).ToPem();
      return *trust::ParseCaSet(files, TestNow());
    };
    return {with_crls(a_), with_crls(b_), a_.Set({ra_, rb_})};
  }

  struct End {
    int64_t sequence, epoch, crl_number;
    std::string roots, issuer, serving;
    bool applied;
    std::map<std::string, trust::AuthorityState> authorities;
    friend bool operator==(const End&, const End&) = default;
  };
  End EndOf(store::Store& store) {
    store::State state = *store.Load();
    End end{state.trust.version.sequence,
            state.trust.issuer_epoch,
            state.trust.crl_number,
            state.trust.roots_pem,
            state.trust.issuer,
            state.trust.serving_authority,
            state.desired.has_value() && state.desired->applied(),
            {}};
    for (const auto& authority : state.authorities) end.authorities[authority.id] = authority.state;
    return end;
  }
};

TEST_P(CrashSweepTest, EveryCrashEndsWhereNoCrashDoes) {
  const std::vector<trust::CaSet> wishes = Wishes();
  Disk undisturbed = NewDisk();
  FaultyStore counting(*undisturbed.store);
  {
    auto keeper = NewKeeper(counting);
    ASSERT_TRUE(keeper->Start().ok());
    for (const trust::CaSet& wish : wishes)
      ASSERT_TRUE(keeper->Offer(wish, {.source = "directory"}).ok());
  }
  const End expected = EndOf(*undisturbed.store);
  EXPECT_TRUE(expected.applied);
  ASSERT_GT(counting.writes(), 10);

  for (FaultyStore::Fault fault :
       {FaultyStore::Fault::kCrashBefore, FaultyStore::Fault::kCrashAfter}) {
    for (int nth = 1; nth <= counting.writes(); ++nth) {
      SCOPED_TRACE(absl::StrCat("fault ", static_cast<int>(fault), " at write ", nth));
      Disk disk = NewDisk();
      size_t wish = 0;
      {
        FaultyStore faulty(*disk.store);
        faulty.Arm(fault, nth);
        auto keeper = NewKeeper(faulty);
        ASSERT_TRUE(keeper->Start().ok());
        for (; wish < wishes.size(); ++wish) {
          absl::Status status = keeper->Offer(wishes[wish], {.source = "directory"}).status();
          ExpectSound(*keeper);
          if (faulty.dead()) {
            EXPECT_FALSE(status.ok());
            break;
          }
        }
        ASSERT_TRUE(faulty.dead());
        // Durable before visible: nothing was shown that a restart would take back.
        if (auto shown = keeper->trust()) {
          const store::TrustRecord written = disk.store->Load()->trust;
          EXPECT_LE(shown->version.sequence, written.version.sequence);
          EXPECT_LE(shown->issuer_epoch, written.issuer_epoch);
          EXPECT_LE(shown->crl_number, written.crl_number);
        }
      }
      Reboot(disk);
      auto keeper = NewKeeper(*disk.store);
      ASSERT_TRUE(keeper->Start().ok());
      ExpectSound(*keeper);
      ASSERT_TRUE(keeper->Advance().ok());
      ExpectSound(*keeper);
      // What was accepted is finished from the store alone.
      EXPECT_TRUE(!keeper->desired().has_value() || keeper->desired()->applied());
      for (; wish < wishes.size(); ++wish) {
        absl::StatusOr<Outcome> outcome = keeper->Offer(wishes[wish], {.source = "directory"});
        ASSERT_TRUE(outcome.ok()) << outcome.status();
        ExpectSound(*keeper);
      }
      End end = EndOf(*disk.store);
      EXPECT_TRUE(end == expected) << "epoch " << end.epoch << ", sequence " << end.sequence;
    }
  }
}

TEST_P(CrashSweepTest, AStoreThatRefusesOnceStopsTheWalkAndIsTriedAgain) {
  const std::vector<trust::CaSet> wishes = Wishes();
  Disk undisturbed = NewDisk();
  FaultyStore counting(*undisturbed.store);
  {
    auto keeper = NewKeeper(counting);
    ASSERT_TRUE(keeper->Start().ok());
    for (const trust::CaSet& wish : wishes)
      ASSERT_TRUE(keeper->Offer(wish, {.source = "directory"}).ok());
  }
  const End expected = EndOf(*undisturbed.store);
  for (int nth = 1; nth <= counting.writes(); ++nth) {
    SCOPED_TRACE(absl::StrCat("write ", nth));
    Disk disk = NewDisk();
    FaultyStore faulty(*disk.store);
    faulty.Arm(FaultyStore::Fault::kRefuseOnce, nth);
    auto keeper = NewKeeper(faulty);
    ASSERT_TRUE(keeper->Start().ok());
    for (const trust::CaSet& wish : wishes) {
      auto before = keeper->trust();
      if (absl::Status status = keeper->Offer(wish, {.source = "directory"}).status();
          !status.ok()) {
        EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
        ExpectSound(*keeper);
        EXPECT_TRUE(before == nullptr ||
                    keeper->signing() != nullptr);  // the last good keeps signing
        // What is published is what is written.
        if (keeper->trust() != nullptr) {
          EXPECT_EQ(disk.store->Load()->trust.version, keeper->trust()->version);
        }
        ASSERT_TRUE(keeper->Maintain().ok());
        ASSERT_TRUE(keeper->Offer(wish, {.source = "directory"}).ok());
      }
    }
    EXPECT_TRUE(EndOf(*disk.store) == expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Stores, CrashSweepTest,
                         ::testing::Values(Backend::kMemory, Backend::kSqlite),
                         [](const auto& info) {
                           return info.param == Backend::kMemory ? "Memory" : "Sqlite";
                         });

}  // namespace
}  // namespace capstan::server
