// SPDX-License-Identifier: Apache-2.0
// The live view of a rotation: frames and lines as functions of messages, and the loop that shows
// them.
#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "capstan/control/v1/control.pb.h"
#include "cli/commands.h"
#include "cli/control_target.h"
#include "cli/terminal.h"

namespace capstan::cli {

// One frame: no line wider than the screen, no more lines than it has. `trouble`: why what is shown
// may be old, "" if it is not.
std::string WatchFrame(const control::v1::Rotation& rotation, const Screen& screen,
                       const std::string& trouble);

// The same in one line, with its time.
std::string WatchLine(const control::v1::Rotation& rotation);

// Says which of many looks are worth a line: every change in words at once (state, phase, step,
// gate, who holds it), mere counts every ten seconds, a soak that runs down never.
class Changes {
 public:
  bool WorthALine(const control::v1::Rotation& rotation);

 private:
  std::string words_;
  std::string counts_;
  std::optional<absl::Time> told_;  // by the control plane's clock
};

struct WatchOptions {
  Target target;
  Surroundings surroundings;
  absl::Duration timeout = absl::InfiniteDuration();
  absl::Duration interval = absl::Seconds(1);
};

// Shows the rotation that runs until it has ended, the time is up or the operator leaves: live on a
// terminal, else a line (or, for JSON, a message) per change. It lives through restarts of
// capstand. The answer is CodeOf() what was seen last; kFailed where capstand was away when the
// time was up.
ExitCode Watch(const WatchOptions& options);

}  // namespace capstan::cli
