// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "absl/time/time.h"
#include "cli/commands.h"

namespace capstan::cli {

// What can be drawn on.
struct Screen {
  size_t columns = 80;
  size_t rows = 24;
  bool color = false;
  bool unicode = true;
};

// Whether standard output is a terminal that can be redrawn in place, and ours to draw on.
bool CanBeLive(const Surroundings& surroundings);

// Standard output as a screen of its own: what was there before comes back when the object goes, or
// the process is stopped (Ctrl-Z), or ended by any signal that can be caught. One at a time.
class LiveScreen {
 public:
  explicit LiveScreen(const Surroundings& surroundings);
  ~LiveScreen();
  LiveScreen(const LiveScreen&) = delete;
  LiveScreen& operator=(const LiveScreen&) = delete;

  Screen size() const;  // asks the terminal
  // Lines, each ended and no wider than the screen, and no more than it has. One write.
  void Draw(const std::string& frame);

  enum class Woken { kTime, kRedraw, kLeave };
  // kRedraw: another size, or back from being stopped; kLeave: Ctrl-C, q, or the terminal went.
  Woken Wait(absl::Duration at_most);

 private:
  const bool color_;
  const bool unicode_;
};

// Passes the time without a screen.
void WaitPlainly(absl::Duration at_most);

}  // namespace capstan::cli
