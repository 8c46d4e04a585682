// SPDX-License-Identifier: Apache-2.0
// The trust history over the wire, asked for by somebody who is nobody and trusts nobody.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/synchronization/notification.h"
#include "base/event_loop.h"
#include "rpc/history_client.h"
#include "rpc/history_method.h"
#include "rpc/messages.h"
#include "rpc/server_fixture.h"

namespace capstan::rpc::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HistoryTest : public ServerFixture {
 protected:
  ~HistoryTest() override {
    loop_.RunAndWait([this] { client_.reset(); });
    loop_.Stop();
  }

  absl::StatusOr<std::vector<std::string>> Fetch(const std::string& address) {
    absl::Notification done;
    absl::StatusOr<std::vector<std::string>> answer;
    loop_.Post([&] {
      // Of another CA than the server's: it does not matter.
      client_->Fetch(address, {"lineage", 1}, b_.bundle(), absl::Seconds(10),
                     [&](const absl::StatusOr<std::vector<std::string>>& got) {
                       answer = got;
                       done.Notify();
                     });
    });
    done.WaitForNotification();
    return answer;
  }
  std::string Address() const { return "127.0.0.1:" + std::to_string(server_->port()); }

  EventLoop loop_{RealClock()};
  std::unique_ptr<HistoryClient> client_ = std::make_unique<HistoryClient>(loop_);
};

TEST_F(HistoryTest, AnybodyGetsItFromAServerThatIsNotVerified) {
  plane_.SetHistory({"one", std::string("t\0wo", 4)});
  const auto answer = Fetch(Address());
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_THAT(*answer, ElementsAre("one", std::string("t\0wo", 4)));
  plane_.SetHistory({});
  EXPECT_THAT(*Fetch(Address()), IsEmpty());
  EXPECT_TRUE(plane_.streams().empty());
}

TEST_F(HistoryTest, ServesFromTheNextHandshakeOnWhateverTheCertificate) {
  plane_.SetHistory({"one"});
  ASSERT_TRUE(Fetch(Address()).ok());
  plane_.Serve(b_);
  EXPECT_TRUE(Fetch(Address()).ok());
}

TEST_F(HistoryTest, SaysWhyThereIsNone) {
  EXPECT_TRUE(absl::IsInvalidArgument(Fetch("nowhere").status()));
  const std::string address = Address();
  server_->Shutdown();
  EXPECT_FALSE(Fetch(address).ok());
}

TEST_F(HistoryTest, TakesSoManyCallsASecondAndNoLargeOnes) {
  class StillClock final : public Clock {
   public:
    absl::Time Now() override { return absl::UnixEpoch(); }
    absl::Duration Monotonic() override { return now; }
    absl::Duration now = absl::Seconds(100);
  } clock;
  HistoryMethod method(plane_, clock);
  fleet::v1::GetTrustHistoryRequest request;
  request.mutable_held()->set_lineage(std::string(2000, 'x'));
  EXPECT_TRUE(absl::IsResourceExhausted(method.Serve(Serialize(request)).status()));
  request.mutable_held()->set_lineage("lineage");
  const grpc::ByteBuffer good = Serialize(request);
  int served = 0;
  while (served < 10'000 && method.Serve(good).ok()) ++served;
  EXPECT_EQ(served, 399);
  EXPECT_THAT(std::string(method.Serve(good).status().message()), HasSubstr("too often"));
  clock.now += absl::Seconds(1);
  EXPECT_TRUE(method.Serve(good).ok());
  grpc::Slice garbage("\xff\xff\xff");
  EXPECT_TRUE(absl::IsInvalidArgument(method.Serve(grpc::ByteBuffer(&garbage, 1)).status()));
}

}  // namespace
}  // namespace capstan::rpc::testing
