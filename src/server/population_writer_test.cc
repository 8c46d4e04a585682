// SPDX-License-Identifier: Apache-2.0
#include "server/population_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "store/faulty_store.h"
#include "store/memory_store.h"

namespace capstan::server {
namespace {

using store::FaultyStore;
using store::UnwrittenRecord;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::string kA(40, 'a');
const std::string kB(40, 'b');
const absl::Time kEnd = absl::FromUnixSeconds(1'750'000'000);

class PopulationWriterTest : public ::testing::Test {
 protected:
  std::vector<UnwrittenRecord> Marks() { return store_.Load()->unwritten; }
  // As for a leaf that is signed and given out.
  void GiveOut(const std::string& authority, const std::string& id = "w", absl::Time end = kEnd) {
    const PopulationWriter::Promised promised = writer_.Promise(authority, end);
    ASSERT_THAT(Marks(),
                ::testing::Contains(::testing::Field(&UnwrittenRecord::authority, authority)))
        << "before it is signed";
    writer_.Put({.spiffe_id = id, .instance = "i", .authority = authority, .not_after = end});
  }

  FakeClock clock_{kEnd - absl::Hours(24)};
  ManualExecutor executor_{clock_};
  store::MemoryStore store_{"lineage"};
  FaultyStore faulty_{store_};
  PopulationWriter writer_{faulty_, executor_};
};

TEST_F(PopulationWriterTest, TheMarkIsThereForAsLongAsTheRecordIsNot) {
  GiveOut(kA);
  EXPECT_THAT(Marks(), ElementsAre(UnwrittenRecord{kA, kEnd + absl::Hours(1)}));
  EXPECT_THAT(*store_.LoadPopulation(), IsEmpty());
  executor_.Advance(absl::Milliseconds(250));
  EXPECT_THAT(*store_.LoadPopulation(), SizeIs(1));
  EXPECT_THAT(Marks(), IsEmpty());
  const int writes = faulty_.writes();
  executor_.Advance(absl::Minutes(1));
  EXPECT_EQ(faulty_.writes(), writes) << "nothing more to do";
}

TEST_F(PopulationWriterTest, APromiseThatIsNotKeptYetHoldsIt) {
  auto promised = std::make_unique<PopulationWriter::Promised>(writer_.Promise(kA, kEnd));
  executor_.Advance(absl::Seconds(10));
  EXPECT_THAT(Marks(), SizeIs(1)) << "a signature may take as long";
  ASSERT_TRUE(writer_.Flush().ok());
  EXPECT_THAT(Marks(), SizeIs(1));
  promised.reset();  // as where the signature failed
  executor_.Advance(absl::Seconds(1));
  EXPECT_THAT(Marks(), IsEmpty());
}

TEST_F(PopulationWriterTest, ARecordThatTheStoreRefusesHoldsIt) {
  GiveOut(kA);
  faulty_.Arm(FaultyStore::Fault::kRefuseOnce, 1);
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(writer_.waiting(), 1u);
  EXPECT_THAT(Marks(), SizeIs(1));
  executor_.Advance(absl::Seconds(2));
  EXPECT_EQ(writer_.waiting(), 0u);
  EXPECT_THAT(Marks(), IsEmpty());
}

TEST_F(PopulationWriterTest, AMarkThatCannotBeTakenAwayIsTriedAgain) {
  GiveOut(kA);
  faulty_.Arm(FaultyStore::Fault::kRefuseOnce, 2);  // the records, then the mark
  executor_.Advance(absl::Milliseconds(250));
  EXPECT_THAT(Marks(), SizeIs(1));
  GiveOut(kA);
  executor_.Advance(absl::Seconds(3));
  EXPECT_THAT(Marks(), IsEmpty());
}

TEST_F(PopulationWriterTest, AMarkThatIsRefusedIsTriedAgainButNotForEachLeaf) {
  faulty_.Arm(FaultyStore::Fault::kRefuseOnce, 1);
  {
    const auto one = writer_.Promise(kA, kEnd);
    const auto two = writer_.Promise(kA, kEnd);
    EXPECT_EQ(faulty_.writes(), 1);
    EXPECT_THAT(Marks(), IsEmpty());
    executor_.Advance(absl::Milliseconds(250));
    const auto three = writer_.Promise(kA, kEnd);
    EXPECT_THAT(Marks(), SizeIs(1));
  }
  executor_.Advance(absl::Seconds(1));
  EXPECT_THAT(Marks(), IsEmpty());
}

TEST_F(PopulationWriterTest, ManyAtOnceShareAMarkWhichStaysUntilTheyAreFew) {
  for (int second = 0; second < 3; ++second) {
    for (int i = 0; i < 20; ++i) GiveOut(kA, absl::StrCat("w", i), kEnd + absl::Seconds(second));
    executor_.Advance(absl::Milliseconds(200));
    EXPECT_THAT(Marks(), ElementsAre(UnwrittenRecord{kA, kEnd + absl::Hours(1)}));
  }
  EXPECT_EQ(faulty_.writes(), 1 + 3) << "the mark once, and three groups";
  GiveOut(kA, "later", kEnd + absl::Hours(2));
  EXPECT_THAT(Marks(), ElementsAre(UnwrittenRecord{kA, kEnd + absl::Hours(3)}));
  executor_.Advance(absl::Milliseconds(500));
  EXPECT_THAT(Marks(), IsEmpty());
}

TEST_F(PopulationWriterTest, EachAuthorityHasAMarkOfItsOwn) {
  GiveOut(kA);
  executor_.Advance(absl::Milliseconds(100));
  for (int i = 0; i < 20; ++i) GiveOut(kB, absl::StrCat("b", i));
  executor_.Advance(absl::Milliseconds(150));
  EXPECT_THAT(Marks(), ElementsAre(UnwrittenRecord{kB, kEnd + absl::Hours(1)}));
}

TEST_F(PopulationWriterTest, ACleanEndLeavesNone) {
  for (int i = 0; i < 20; ++i) GiveOut(kA, absl::StrCat("w", i));
  GiveOut(kB);
  ASSERT_TRUE(writer_.Flush().ok());
  EXPECT_THAT(Marks(), IsEmpty());
  EXPECT_THAT(*store_.LoadPopulation(), SizeIs(21));
}

}  // namespace
}  // namespace capstan::server
