// SPDX-License-Identifier: Apache-2.0
// The contract of store/store.h, held against every implementation.
#include "store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/random.h"
#include "base/strings.h"
#include "store/memory_store.h"
#include "store/schema.h"
#include "store/sqlite_store.h"

namespace capstan::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

absl::Time At(int64_t seconds) {
  return absl::FromUnixSeconds(1'700'000'000 + seconds);
}

std::string NewDirectory() {
  return absl::StrCat(::testing::TempDir(), "/store-", SystemRandom().Uuid());
}

enum class Kind { kMemory, kSqlite };

class StoreTest : public ::testing::TestWithParam<Kind> {
 protected:
  StoreTest() { Reopen(); }

  // A memory store has no second life.
  void Reopen() {
    if (GetParam() == Kind::kMemory) {
      if (store_ == nullptr) store_ = std::make_unique<MemoryStore>("lineage");
      return;
    }
    store_.reset();
    absl::StatusOr<std::unique_ptr<SqliteStore>> opened =
        SqliteStore::Open(directory_, SystemRandom());
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }

  Change Based() { return Change{store_->Load()->trust}; }

  AuthorityRecord Authority(std::string id) {
    return {std::move(id), trust::AuthorityState::kPrepared, "chain", std::string("s\0aled", 6),
            At(10)};
  }

  const std::string directory_ = NewDirectory();
  std::unique_ptr<Store> store_;
};

TEST_P(StoreTest, ANewOneHasALineageAndNothingElse) {
  State state = *store_->Load();
  EXPECT_FALSE(state.trust.version.lineage.empty());
  EXPECT_EQ(state.trust.version.sequence, 0);
  EXPECT_THAT(state.authorities, IsEmpty());
  EXPECT_FALSE(state.desired.has_value());
  const std::string lineage = state.trust.version.lineage;
  Reopen();
  EXPECT_EQ(store_->Load()->trust.version.lineage, lineage);
}

TEST_P(StoreTest, AChangeIsThereAsAWholeAndAfterAReopen) {
  Change change = Based();
  change.trust = change.expected;
  change.trust->version.sequence = 1;
  change.trust->roots_pem = "roots";
  change.trust->issuer = "aa";
  change.trust->issuer_epoch = 1;
  change.trust->crl_number = 2;
  change.trust->crls_pem = "crls";
  change.trust->serving_authority = "aa";
  change.authorities = {Authority("bb"), Authority("aa")};
  change.desired = DesiredRecord{"digest", "directory", "roots", "crls", "aa", At(1)};
  change.refuse = "no";
  change.journal = {{0, At(1), "add-roots", "why", "digest", 1, 0},
                    {0, At(2), "switch-issuer", "", "digest", 1, 1}};
  ASSERT_TRUE(store_->Commit(change).ok());
  for (int i = 0; i < 2; ++i) {
    State state = *store_->Load();
    EXPECT_EQ(state.trust, *change.trust);
    EXPECT_THAT(state.authorities, ElementsAre(Authority("aa"), Authority("bb")));
    EXPECT_EQ(state.desired, change.desired);
    EXPECT_THAT(state.refused, ElementsAre("no"));
    Reopen();
  }
  Change again = Based();
  again.unrefuse = "no";
  ASSERT_TRUE(store_->Commit(again).ok());
  Reopen();
  EXPECT_THAT(store_->Load()->refused, IsEmpty());
  std::vector<JournalEntry> journal = *store_->Journal(10);
  ASSERT_EQ(journal.size(), 2u);
  EXPECT_EQ(journal[0].kind, "add-roots");
  EXPECT_LT(journal[0].number, journal[1].number);
  EXPECT_EQ(store_->Journal(1)->front().kind, "switch-issuer");
}

TEST_P(StoreTest, ARotationKeepsItsCanaryAndTheBaselinesThatItBeganWith) {
  Change change = Based();
  change.rotation = RotationRecord{.number = 1, .issue_per_second = 2.5, .canary = "namespace=web"};
  change.baselines = {{"b", 0, 0}, {"a", 7, 3}};
  ASSERT_TRUE(store_->Commit(change).ok());
  Reopen();
  EXPECT_EQ(store_->Load()->rotation->canary, "namespace=web");
  EXPECT_EQ(store_->Load()->rotation->issue_per_second, 2.5);
  EXPECT_THAT(store_->Load()->baselines,
              ElementsAre(BaselineRecord{"a", 7, 3}, BaselineRecord{"b", 0, 0}));
  change.rotation->turned_why = "harm";
  change.baselines.reset();
  ASSERT_TRUE(store_->Commit(change).ok());
  EXPECT_EQ(store_->Load()->rotation->turned_why, "harm");
  EXPECT_EQ(store_->Load()->baselines.size(), 2u);
  change.baselines = {{"c", 1, 0}};
  ASSERT_TRUE(store_->Commit(change).ok());
  Reopen();
  EXPECT_EQ(store_->Rotations(10)->rotations.at(0).turned_why, "harm");
  EXPECT_THAT(store_->Load()->baselines, ElementsAre(BaselineRecord{"c", 1, 0}));
}

TEST_P(StoreTest, ALinkOfTheHistoryComesWithItsBundleOrNotAtAll) {
  Change change = Based();
  change.trust = change.expected;
  change.trust->version.sequence = 2;
  change.trust->roots_pem = "roots";
  change.history = HistoryRecord{2, "from 1 to 2"};
  Change stale = change;
  stale.expected.version.sequence = 7;
  EXPECT_FALSE(store_->Commit(stale).ok());
  EXPECT_THAT(*store_->History(), IsEmpty());
  ASSERT_TRUE(store_->Commit(change).ok());
  Reopen();
  EXPECT_THAT(*store_->History(), ElementsAre(HistoryRecord{2, "from 1 to 2"}));
}

TEST_P(StoreTest, TheHistoryIsBounded) {
  for (int64_t sequence = 2; sequence <= kMostHistory + 3; ++sequence) {
    Change change = Based();
    change.trust = change.expected;
    change.trust->version.sequence = sequence;
    change.history = HistoryRecord{sequence, "link"};
    ASSERT_TRUE(store_->Commit(change).ok());
  }
  const std::vector<HistoryRecord> history = *store_->History();
  ASSERT_EQ(history.size(), static_cast<size_t>(kMostHistory));
  EXPECT_EQ(history.front().sequence, 4);
  EXPECT_EQ(history.back().sequence, kMostHistory + 3);
}

TEST_P(StoreTest, AChangeDecidedOnSomethingElseIsAborted) {
  Change first = Based();
  first.trust = first.expected;
  first.trust->version.sequence = 1;
  first.trust->roots_pem = "roots";
  Change second = first;
  second.authorities = {Authority("aa")};
  ASSERT_TRUE(store_->Commit(first).ok());
  EXPECT_EQ(store_->Commit(second).code(), absl::StatusCode::kAborted);
  EXPECT_THAT(store_->Load()->authorities, IsEmpty());
}

TEST_P(StoreTest, AFailedChangeLeavesNothingBehind) {
  Change change = Based();
  change.authorities = {Authority("aa")};
  change.desired = DesiredRecord{"digest", "directory", "roots", "", "nobody", At(1)};
  EXPECT_FALSE(store_->Commit(change).ok());
  EXPECT_THAT(store_->Load()->authorities, IsEmpty());
  EXPECT_FALSE(store_->Load()->desired.has_value());
}

TEST_P(StoreTest, ReservedExpiriesOnlyGrow) {
  Change change = Based();
  change.authorities = {Authority("aa")};
  ASSERT_TRUE(store_->Commit(change).ok());
  ASSERT_TRUE(store_->Reserve("aa", At(100)).ok());
  ASSERT_TRUE(store_->Reserve("aa", At(50)).ok());
  EXPECT_EQ(store_->Load()->authorities[0].reserved_until, At(100));
  change.authorities[0].reserved_until = At(20);
  change.authorities[0].state = trust::AuthorityState::kRetiring;
  ASSERT_TRUE(store_->Commit(change).ok());
  EXPECT_EQ(store_->Load()->authorities[0].reserved_until, At(100));
  change.authorities[0].reserved_until = absl::InfinitePast();
  ASSERT_TRUE(store_->Commit(change).ok());
  EXPECT_EQ(store_->Load()->authorities[0].reserved_until, At(100));
  EXPECT_EQ(store_->Load()->authorities[0].state, trust::AuthorityState::kRetiring);
  EXPECT_EQ(store_->Reserve("bb", At(1)).code(), absl::StatusCode::kNotFound);
}

TEST_P(StoreTest, MarksOfUnwrittenLeavesGrowAndGo) {
  ASSERT_TRUE(store_->MarkUnwritten("bb", At(20)).ok());
  ASSERT_TRUE(store_->MarkUnwritten("aa", At(30)).ok());
  ASSERT_TRUE(store_->MarkUnwritten("aa", At(25)).ok());
  Reopen();
  EXPECT_THAT(store_->Load()->unwritten,
              ElementsAre(UnwrittenRecord{"aa", At(30)}, UnwrittenRecord{"bb", At(20)}));
  ASSERT_TRUE(store_->ClearUnwritten("bb").ok());
  ASSERT_TRUE(store_->ClearUnwritten("never").ok());
  Reopen();
  EXPECT_THAT(store_->Load()->unwritten, ElementsAre(UnwrittenRecord{"aa", At(30)}));
  Change change = Based();
  change.unseen = {{"authority:aa", At(30), "why"}};
  change.forget_unwritten = true;
  ASSERT_TRUE(store_->Commit(change).ok());
  Reopen();
  EXPECT_THAT(store_->Load()->unwritten, IsEmpty());
  EXPECT_THAT(store_->Load()->unseen, ElementsAre(UnseenRecord{"authority:aa", At(30), "why"}));
}

TEST_P(StoreTest, ATokenIsConsumedOnceTogetherWithItsRecord) {
  TokenRecord token{"h\0sh", "spiffe://td/a", At(0), At(60)};
  ASSERT_TRUE(store_->AddToken(token).ok());
  EXPECT_FALSE(store_->AddToken(token).ok());
  EXPECT_EQ(*store_->FindToken(token.hash), token);
  EXPECT_EQ(store_->FindToken("other").status().code(), absl::StatusCode::kNotFound);
  PopulationRecord record{"spiffe://td/a", "i", "agent", "01", "aa", At(0), At(100), At(1)};
  Consumption consumption{token.hash, "key", At(5), {"leaf", "intermediate", "roots"}, record};
  ASSERT_TRUE(store_->ConsumeToken(consumption).ok());
  EXPECT_EQ(store_->ConsumeToken(consumption).code(), absl::StatusCode::kFailedPrecondition);
  Reopen();
  TokenRecord used = *store_->FindToken(token.hash);
  EXPECT_TRUE(used.consumed());
  EXPECT_EQ(used.csr_key_hash, "key");
  EXPECT_EQ(used.certificate, consumption.certificate);
  EXPECT_THAT(*store_->LoadPopulation(), ElementsAre(record));
  consumption.token_hash = "unknown";
  consumption.record.instance = "j";
  EXPECT_EQ(store_->ConsumeToken(consumption).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->LoadPopulation()->size(), 1u);
  EXPECT_EQ(*store_->ForgetTokens(At(60)), 0);
  EXPECT_EQ(*store_->ForgetTokens(At(61)), 1);
  EXPECT_FALSE(store_->FindToken(token.hash).ok());
}

TEST_P(StoreTest, ThePopulationKeepsTheLatestOfEachInstanceAndPurpose) {
  PopulationRecord workload{"spiffe://td/a", "i",     "workload", "01",        "aa",
                            At(0),           At(100), At(1),      {"e1", "e2"}};
  PopulationRecord agent = workload;
  agent.purpose = "agent";
  PopulationRecord newer = workload;
  newer.serial = "02";
  newer.not_after = At(200);
  newer.consumers.clear();
  newer.told = 7;
  PopulationRecord nameless1 = workload;
  nameless1.instance.clear();
  PopulationRecord nameless2 = nameless1;
  nameless2.serial = "03";
  ASSERT_TRUE(store_->PutPopulation({workload, agent, nameless1}).ok());
  ASSERT_TRUE(store_->PutPopulation({newer, nameless2}).ok());
  ASSERT_TRUE(store_->PutPopulation({}).ok());
  for (int i = 0; i < 2; ++i) {
    Reopen();  // which checks the whole file
    EXPECT_THAT(*store_->LoadPopulation(), ElementsAre(nameless1, nameless2, agent, newer));
    Reopen();  // checks the file: SQLite must find nothing wrong with these rows
  }
  EXPECT_EQ(*store_->ForgetPopulation(At(150)), 3);
  EXPECT_THAT(*store_->LoadPopulation(), ElementsAre(newer));
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreTest, ::testing::Values(Kind::kMemory, Kind::kSqlite),
                         [](const auto& info) {
                           return info.param == Kind::kMemory ? "Memory" : "Sqlite";
                         });

TEST(SqliteStoreTest, FilesArePrivate) {
  const std::string directory = NewDirectory();
  auto store = SqliteStore::Open(directory, SystemRandom());
  ASSERT_TRUE(store.ok()) << store.status();
  const std::vector<std::string> names = *ListDirectory(directory);
  EXPECT_THAT(names, ::testing::Contains("capstan.db"));
  for (const std::string& name : names) {
    struct stat st;
    ASSERT_EQ(stat(absl::StrCat(directory, "/", name).c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0077, 0u) << name;
  }
}

TEST(SqliteStoreTest, ASecondOneIsToldWhoHoldsTheState) {
  const std::string directory = NewDirectory();
  auto first = SqliteStore::Open(directory, SystemRandom());
  ASSERT_TRUE(first.ok());
  absl::Status second = SqliteStore::Open(directory, SystemRandom()).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.message()), HasSubstr(absl::StrCat("process ", getpid())));
  first->reset();
  EXPECT_TRUE(SqliteStore::Open(directory, SystemRandom()).ok());
}

TEST(SqliteStoreTest, CommitsNothingThatItMayNot) {
  const std::string directory = NewDirectory();
  bool may = true;
  auto store = SqliteStore::Open(directory, SystemRandom(), [&may] {
    return may ? absl::OkStatus() : absl::UnavailableError("the lease is lost");
  });
  ASSERT_TRUE(store.ok());
  const TokenRecord token{.hash = "h", .expires_at = absl::UnixEpoch() + absl::Hours(1)};
  may = false;
  EXPECT_EQ((*store)->AddToken(token).code(), absl::StatusCode::kUnavailable);
  may = true;
  EXPECT_TRUE(absl::IsNotFound((*store)->FindToken("h").status())) << "it was rolled back";
  EXPECT_TRUE((*store)->AddToken(token).ok());
}

TEST(SqliteStoreTest, DamageIsDataLossAndSaysWhatToDo) {
  const std::string directory = NewDirectory();
  ASSERT_TRUE(SqliteStore::Open(directory, SystemRandom()).ok());
  const std::string path = absl::StrCat(directory, "/capstan.db");
  ASSERT_TRUE(WriteFileAtomically(path, std::string(8192, 'x'), 0600, Overwrite::kReplace).ok());
  absl::Status status = SqliteStore::Open(directory, SystemRandom()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("from a backup"));
}

TEST(SqliteStoreTest, ANewerSchemaIsRefused) {
  const std::string directory = NewDirectory();
  ASSERT_TRUE(SqliteStore::Open(directory, SystemRandom()).ok());
  {
    auto db = Database::Open(absl::StrCat(directory, "/capstan.db"));
    ASSERT_TRUE(db.ok());
    ASSERT_TRUE((*db)->Execute(absl::StrCat("PRAGMA user_version=", Migrations().size() + 1)).ok());
  }
  absl::Status status = SqliteStore::Open(directory, SystemRandom()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("newer capstand"));
}

TEST(SqliteStoreTest, AFullDiskIsSaidAndChangesNothing) {
  const std::string directory = NewDirectory();
  auto db = Database::Open(absl::StrCat(directory, ".db"));
  ASSERT_TRUE(db.ok());
  ASSERT_TRUE((*db)->Execute("CREATE TABLE t (x BLOB); PRAGMA max_page_count=4").ok());
  absl::Status status =
      (*db)->Transaction([&] { return (*db)->Execute("INSERT INTO t VALUES (zeroblob(100000))"); });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("free some space"));
  // The database goes on.
  EXPECT_TRUE((*db)->Transaction([&] { return (*db)->Execute("INSERT INTO t VALUES (1)"); }).ok());
}

TEST(SqliteStoreTest, AnOpenFolderIsRefused) {
  const std::string directory = NewDirectory();
  ASSERT_EQ(mkdir(directory.c_str(), 0755), 0);
  EXPECT_THAT(std::string(SqliteStore::Open(directory, SystemRandom()).status().message()),
              HasSubstr("chmod 700"));
}

}  // namespace
}  // namespace capstan::store
