// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <string_view>

#include "base/strings.h"

namespace capstan::cli {
namespace {

// Another screen, no cursor, no wrapping; and back.
constexpr std::string_view kEnter = "\033[?1049h\033[?25l\033[?7l\033[H\033[2J";
constexpr std::string_view kLeave = "\033[?7h\033[?25h\033[?1049l";
constexpr std::array<int, 6> kSignals = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP};

// What the signal handler touches; one LiveScreen at a time.
std::array<int, 2> wake = {-1, -1};  // the handler writes, Wait() reads
volatile std::sig_atomic_t asked_to_leave = 0;
bool has_keys = false;  // standard input is a terminal, whose settings are in `keys`
termios keys{};
std::array<struct sigaction, kSignals.size()> handlers_before{};

// All below until Catch() may run in the handler.
void Put(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return;  // the terminal is gone; so is what was to be seen
    bytes.remove_prefix(static_cast<size_t>(put));
  }
}

void Enter() {
  if (has_keys) {
    termios silent = keys;
    silent.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &silent);
  }
  Put(kEnter);
}

void Leave() {
  Put(kLeave);
  if (has_keys) tcsetattr(STDIN_FILENO, TCSANOW, &keys);
}

void OnSignal(int signal) {
  const int error = errno;
  if (signal == SIGTSTP) {
    Leave();
    ::raise(SIGSTOP);
    Enter();
  } else if (signal != SIGWINCH) {
    if (asked_to_leave != 0) {  // a second time: whatever is waited for is not waited for any more
      Leave();
      ::_exit(128 + signal);
    }
    asked_to_leave = 1;
  }
  const char byte = 'w';
  [[maybe_unused]] const ssize_t written = ::write(wake[1], &byte, 1);  // full: it wakes anyway
  errno = error;
}

void Catch() {
  struct sigaction action {};
  action.sa_handler = OnSignal;
  sigfillset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], &action, &handlers_before[i]);
  }
}

bool Utf8(const std::string& locale) {
  const std::string lower = absl::AsciiStrToLower(locale);
  return absl::StrContains(lower, "utf-8") || absl::StrContains(lower, "utf8");
}

// Empties `fd`; whether `wanted` was among the bytes, or the end was reached.
bool Drain(int fd, char wanted) {
  std::array<char, 64> bytes{};
  const ssize_t got = ::read(fd, bytes.data(), bytes.size());
  return got == 0 ||
         (got > 0 && std::find(bytes.begin(), bytes.begin() + got, wanted) != bytes.begin() + got);
}

}  // namespace

bool CanBeLive(const Surroundings& surroundings) {
  return isatty(STDOUT_FILENO) != 0 && !surroundings.term.empty() && surroundings.term != "dumb" &&
         tcgetpgrp(STDOUT_FILENO) == getpgrp();
}

LiveScreen::LiveScreen(const Surroundings& surroundings)
    : color_(surroundings.no_color.empty()), unicode_(Utf8(surroundings.locale)) {
  has_keys = tcgetattr(STDIN_FILENO, &keys) == 0;
  asked_to_leave = 0;
  if (::pipe2(wake.data(), O_CLOEXEC | O_NONBLOCK) != 0) wake = {-1, -1};  // seen a little later
  Catch();
  Enter();
}

LiveScreen::~LiveScreen() {
  Leave();
  for (size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], &handlers_before[i], nullptr);
  }
  for (int& end : wake) {
    if (end >= 0) ::close(end);
    end = -1;
  }
}

Screen LiveScreen::size() const {
  Screen screen{.color = color_, .unicode = unicode_};
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
    screen.columns = size.ws_col;
    screen.rows = size.ws_row;
  }
  return screen;
}

void LiveScreen::Draw(const std::string& frame) {
  // Each line is cleared before it is written: behind a full one, the cursor stands on its last
  // character. Shown at once where the terminal knows how (2026); elsewhere one write is as good.
  std::string bytes = "\033[?2026h\033[H\033[K";
  std::string_view rest = frame;
  if (rest.ends_with('\n')) rest.remove_suffix(1);  // the last line scrolls nothing
  absl::StrAppend(&bytes, absl::StrReplaceAll(rest, {{"\n", "\r\n\033[K"}}));
  const auto lines = static_cast<size_t>(std::count(rest.begin(), rest.end(), '\n')) + 1;
  if (lines < size().rows) bytes += "\r\n\033[J";
  bytes += "\033[?2026l";
  Put(bytes);
}

LiveScreen::Woken LiveScreen::Wait(absl::Duration at_most) {
  std::array<pollfd, 2> sources = {{{wake[0], POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}}};
  const int ready = ::poll(sources.data(), has_keys ? 2 : 1,
                           static_cast<int>(absl::ToInt64Milliseconds(at_most)));
  if (ready > 0 && (sources[1].revents & POLLIN) != 0 && Drain(STDIN_FILENO, 'q')) {
    return Woken::kLeave;
  }
  if (ready > 0 && (sources[0].revents & POLLIN) != 0) Drain(wake[0], '\0');
  if (asked_to_leave != 0) return Woken::kLeave;
  return ready == 0 ? Woken::kTime : Woken::kRedraw;
}

void WaitPlainly(absl::Duration at_most) {
  ::poll(nullptr, 0, static_cast<int>(absl::ToInt64Milliseconds(at_most)));
}

}  // namespace capstan::cli
