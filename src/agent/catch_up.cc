// SPDX-License-Identifier: Apache-2.0
#include "agent/catch_up.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "agent/starting_point.h"
#include "base/jitter.h"
#include "base/log.h"
#include "base/status.h"
#include "trust/history.h"

namespace capstan::agent {

CatchUp::CatchUp(Executor& executor, Clock& clock, Options options, Callbacks callbacks)
    : executor_(executor),
      clock_(clock),
      options_(std::move(options)),
      callbacks_(std::move(callbacks)),
      timer_(executor),
      client_(executor) {}

void CatchUp::Ask() {
  if (in_flight_) return;
  timer_.Set(std::max(next_ - clock_.Monotonic(), absl::ZeroDuration()), [this] { Fetch(); });
}

void CatchUp::Fine() {
  timer_.Cancel();
  waits_ = 0;
  next_ = -absl::InfiniteDuration();
}

void CatchUp::Fetch() {
  if (in_flight_) return;
  in_flight_ = true;
  absl::Duration wait = options_.first_wait;
  for (int i = 0; i < waits_ && wait < options_.longest_wait; ++i) wait *= 2;
  ++waits_;
  next_ = clock_.Monotonic() +
          std::min(wait, options_.longest_wait) *
              (0.75 + 0.5 * Jitter(options_.instance, absl::StrCat("history#", waits_)));
  const lifecycle::Trust& held = callbacks_.held();
  client_.Fetch(options_.address, held.version, held.bundle, options_.timeout,
                [this, asked = held.version, alive = std::weak_ptr<char>(alive_)](
                    const absl::StatusOr<std::vector<std::string>>& answer) {
                  if (!alive.expired()) OnAnswer(asked, answer);
                });
}

// Nothing of an answer is believed before it verified: whoever gave it was not.
void CatchUp::OnAnswer(const trust::BundleVersion& asked,
                       const absl::StatusOr<std::vector<std::string>>& answer) {
  in_flight_ = false;
  if (!answer.ok()) {
    const bool never = absl::IsFailedPrecondition(answer.status());
    log::Warn("no trust history",
              {{"held", asked.ToString()},
               {"why", absl::StrCat(absl::StatusCodeToString(answer.status().code()), ": ",
                                    answer.status().message())},
               {"said_by", "a server that is not verified"},
               {"what_to_do", never ? absl::StrCat("if it stays so, join anew: ",
                                                   HowToJoin(options_.spiffe_id.ToString()))
                                    : "nothing: it is asked again while it is needed"}});
    return;
  }
  // Nothing newer is known; or the stream was faster, and the links are no news.
  if (answer->empty() || callbacks_.held().version != asked) return;
  absl::StatusOr<lifecycle::Trust> next = Verify(*answer);
  if (!next.ok()) {
    const std::string why = absl::StrCat("the trust history does not lead on from bundle ",
                                         asked.ToString(), ": ", next.status().message());
    log::Error("the trust history is REFUSED, the last good trust is kept",
               {{"held", asked.ToString()},
                {"why", why},
                {"what_to_do", absl::StrCat("if it stays so, join anew: ",
                                            HowToJoin(options_.spiffe_id.ToString()))}});
    callbacks_.broken(why);
    return;
  }
  callbacks_.take(*std::move(next));
  // There may be more than fits in one answer.
  next_ = -absl::InfiniteDuration();
  Ask();
}

absl::StatusOr<lifecycle::Trust> CatchUp::Verify(const std::vector<std::string>& documents) const {
  const lifecycle::Trust& held = callbacks_.held();
  CAPSTAN_ASSIGN_OR_RETURN(
      const std::vector<trust::HistoryLink> links,
      trust::Follow(held.bundle, held.version, documents, options_.spiffe_id.trust_domain()));
  for (const trust::HistoryLink& link : links) {
    log::Info("a link of the trust history",
              {{"from", link.previous},
               {"to", link.version.sequence},
               {"roots", link.bundle.roots().size()},
               {"made", absl::FormatTime(link.time, absl::UTCTimeZone())},
               {"why", "signed by an authority under the roots before it"}});
  }
  const std::string roots_pem = links.back().bundle.ToPem();
  return lifecycle::AcceptTrust(held, {.version = links.back().version,
                                       .roots_pem = roots_pem,
                                       .crl_number = held.crl_number,
                                       .crls_pem = held.crls_pem});
}

}  // namespace capstan::agent
