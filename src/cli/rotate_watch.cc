// SPDX-License-Identifier: Apache-2.0
#include "cli/rotate_watch.h"

#include <algorithm>
#include <iostream>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "base/strings.h"
#include "cli/control_text.h"
#include "cli/rotate_text.h"
#include "cli/rotate_words.h"
#include "cli/table.h"
#include "cli/time_text.h"
#include "cli/wrap.h"

namespace capstan::cli {
namespace {

using control::v1::Rotation;

constexpr absl::Duration kCallTimeout = absl::Seconds(5);
constexpr absl::Duration kCountsEvery = absl::Seconds(10);

constexpr std::string_view kBold = "1";
constexpr std::string_view kDim = "2";
constexpr std::string_view kGreen = "32";
constexpr std::string_view kYellow = "33";
constexpr std::string_view kRed = "31";

// Lines for a screen; colour goes on after a line was cut to its width.
class Canvas {
 public:
  explicit Canvas(const Screen& screen) : screen_(screen) {}

  size_t left(size_t reserved) const {
    const size_t used = lines_.size() + reserved;
    return used < screen_.rows ? screen_.rows - used : 0;
  }
  void Add(const std::string& line, std::string_view color = "") {
    lines_.push_back(Paint(Fit(line, screen_.columns, mark()), color));
  }
  // `text` wrapped behind `label`, at most `most` lines of it.
  void AddWrapped(const std::string& label, const std::string& text, size_t most,
                  std::string_view color = "") {
    const size_t indent = TextWidth(label);
    const size_t width = screen_.columns > indent + 10 ? screen_.columns - indent : 10;
    std::vector<std::string> lines = WrapLines(Printable(text), width);
    if (lines.size() > most) {
      lines.resize(most);
      // Wider than the room, so that it gets its mark.
      lines.back().append(width, ' ');
      lines.back() = Fit(lines.back(), std::min(width, TextWidth(lines.back())), mark());
    }
    for (size_t i = 0; i < lines.size(); ++i) {
      Add(absl::StrCat(i == 0 ? label : std::string(indent, ' '), lines[i]), color);
    }
  }
  std::string Paint(const std::string& text, std::string_view color) const {
    if (color.empty() || !screen_.color || text.empty()) return text;
    return absl::StrCat("\033[", color, "m", text, "\033[0m");
  }
  // A line that is painted already and known to fit.
  void AddPainted(std::string line) { lines_.push_back(std::move(line)); }
  std::string Render() const {
    std::string frame;
    for (size_t i = 0; i < std::min(lines_.size(), screen_.rows); ++i) {
      absl::StrAppend(&frame, lines_[i], "\n");
    }
    return frame;
  }
  const Screen& screen() const { return screen_; }
  std::string_view mark() const { return screen_.unicode ? "…" : "~"; }

 private:
  const Screen screen_;
  std::vector<std::string> lines_;
};

std::string_view ColorOf(const Rotation& rotation) {
  switch (CodeOf(rotation)) {
    case kDone:
      return kGreen;
    case kWaiting:
    case kPaused:
      return kYellow;
    case kRolledBack:
      return kRed;
    default:
      return kBold;
  }
}

std::string StateWords(const Rotation& rotation) {
  std::string text = rotation.state();
  if (CodeOf(rotation) == kWaiting) text = "waiting";
  return Printable(rotation.emergency() ? absl::StrCat(text, ", EMERGENCY") : text);
}

void Head(Canvas& canvas, const Rotation& rotation) {
  std::string left = absl::StrCat("Rotation ", rotation.number(), ": ", StateWords(rotation), ", ",
                                  TookText(rotation));
  const std::string time = Utc(ToTime(rotation.time()));
  const size_t width = canvas.screen().columns;
  if (TextWidth(left) + 2 + TextWidth(time) <= width) {
    left.append(width - TextWidth(left) - TextWidth(time), ' ');
    left += time;
  }
  canvas.Add(left, ColorOf(rotation));
}

void Phases(Canvas& canvas, const Rotation& rotation) {
  const bool unicode = canvas.screen().unicode;
  const int at = PhaseNumber(rotation.phase());
  std::string plain;
  std::string painted;
  for (int i = 1; i <= 4; ++i) {
    constexpr const char* kNames[] = {"root-a", "both-trusted", "new-issuer", "root-b"};
    const bool past = i < at || (i == at && rotation.state() == "done");
    const char* mark = past      ? (unicode ? "✓" : "[x]")
                       : i == at ? (unicode ? "●" : "[>]")
                                 : (unicode ? "○" : "[ ]");
    const std::string phase = absl::StrCat(mark, " ", kNames[i - 1]);
    absl::StrAppend(&plain, i == 1 ? "" : "   ", phase);
    absl::StrAppend(&painted, i == 1 ? "" : "   ",
                    canvas.Paint(phase, past      ? kGreen
                                        : i == at ? kBold
                                                  : kDim));
  }
  if (TextWidth(plain) <= canvas.screen().columns) {
    canvas.AddPainted(painted);
  } else {
    canvas.Add(absl::StrCat("phase ", rotation.phase(), " (", at, " of 4)"));
  }
  canvas.AddWrapped("", std::string(PhaseWords(rotation.phase())), 2, kDim);
}

void GatePart(Canvas& canvas, const Rotation& rotation) {
  const control::v1::Gate& gate = rotation.gate();
  if (!rotation.turned_why().empty()) {
    canvas.AddWrapped("back  ", rotation.turned_why(), 3, kRed);
  }
  canvas.AddWrapped("gate  ", GateText(gate), 2, Held(gate) ? kYellow : "");
  if (Held(gate)) canvas.AddWrapped("      ", gate.summary(), 3);
  if (rotation.state() == "paused") {
    canvas.AddWrapped("      ", "paused; `capstan rotate resume` lets it go on", 1, kYellow);
  }
  const std::string next(StepWords(rotation.next_step()));
  canvas.AddWrapped(
      "next  ",
      rotation.next_step().empty() ? next : absl::StrCat(rotation.next_step(), ": ", next), 2);
}

// "acknowledged   ██████░░░░    8/10   80%"
void Bar(Canvas& canvas, std::string_view label, int64_t count, int64_t of) {
  const bool unicode = canvas.screen().unicode;
  const double share = of > 0 ? std::clamp(static_cast<double>(count) / of, 0.0, 1.0) : 0;
  const int percent = static_cast<int>(share * 100);  // 100 only when it is all of them
  const std::string figures = absl::StrFormat(
      " %*d/%d  %3d%%", static_cast<int>(absl::StrCat(of).size()), count, of, percent);
  constexpr size_t kLabel = 14;
  const size_t room = canvas.screen().columns;
  const size_t width =
      std::min<size_t>(room > kLabel + figures.size() ? room - kLabel - figures.size() : 0, 60);
  const auto full = static_cast<size_t>(share * static_cast<double>(width));
  std::string done;
  std::string rest;
  for (size_t i = 0; i < width; ++i) {
    (i < full ? done : rest) += i < full ? (unicode ? "█" : "#") : (unicode ? "░" : "-");
  }
  std::string line(label);
  line.resize(kLabel, ' ');
  if (TextWidth(line) + width + figures.size() > room) {
    canvas.Add(absl::StrCat(line, figures));
    return;
  }
  const bool all = of > 0 && count >= of;
  canvas.AddPainted(absl::StrCat(line, canvas.Paint(done, all ? kGreen : "36"),
                                 canvas.Paint(rest, kDim), figures));
}

void Bars(Canvas& canvas, const Rotation& rotation) {
  const control::v1::Progress& progress = rotation.progress();
  Bar(canvas, "acknowledged", progress.acknowledged(), progress.population());
  Bar(canvas, "proven", progress.proven(), progress.population());
  Bar(canvas, "re-issued", progress.moved(), progress.population());
  if (rotation.gate().name() == "canary") {
    Bar(canvas, "canary", rotation.canary().moved(), rotation.canary().population());
  }
  if (progress.has_eta()) {
    canvas.Add(absl::StrCat(std::string(14, ' '), RateText(progress.certificates_per_second()),
                            " a second, done ",
                            RelativeTo(ToTime(rotation.time()), ToTime(progress.eta()))),
               kDim);
  }
}

void Holders(Canvas& canvas, const Rotation& rotation, size_t reserved) {
  const control::v1::Gate& gate = rotation.gate();
  const int64_t all = std::max<int64_t>(
      gate.laggards() + gate.absent() + gate.unproven() + gate.others(), gate.holders_size());
  int64_t shown = 0;
  for (const control::v1::Holder& holder : gate.holders()) {
    const size_t left = canvas.left(reserved + 1);  // a line for how many more there are
    if (left < 2) break;
    std::string kind = Printable(holder.kind());
    kind.resize(std::max<size_t>(kind.size() + 1, 11), ' ');
    const size_t columns = canvas.screen().columns;
    const size_t room = columns > kind.size() ? columns - kind.size() : 0;
    canvas.Add(absl::StrCat(kind, FitMiddle(Printable(holder.name()), room, canvas.mark())));
    std::string why = holder.why();
    if (holder.has_until()) {
      absl::StrAppend(&why, "; matters until ", Utc(ToTime(holder.until())));
    }
    canvas.AddWrapped(std::string(11, ' '), why, std::min<size_t>(left - 1, 3), kDim);
    ++shown;
  }
  if (shown < all) {
    canvas.Add(absl::StrCat(canvas.mark(), " and ", all - shown,
                            " more: `capstan rotate explain` says what to do"),
               kDim);
  }
}

// Words in which a change is told at once.
std::string Words(const Rotation& rotation) {
  const control::v1::Gate& gate = rotation.gate();
  std::string words =
      absl::StrCat(rotation.number(), "/", rotation.state(), "/", rotation.phase(), "/",
                   rotation.next_step(), "/", gate.name(), "/", gate.open(), "/", Held(gate), "/",
                   rotation.exempt_size(), "/", rotation.turned_why());
  if (Held(gate) && gate.holders_size() > 0) {
    absl::StrAppend(&words, "/", gate.holders(0).name(), ": ", gate.holders(0).why());
  }
  return words;
}

std::string Counts(const Rotation& rotation) {
  const control::v1::Progress& progress = rotation.progress();
  const control::v1::Gate& gate = rotation.gate();
  return absl::StrCat(progress.population(), "/", progress.acknowledged(), "/", progress.proven(),
                      "/", progress.moved(), "/", rotation.canary().moved(), "/", gate.laggards(),
                      "/", gate.absent(), "/", gate.unproven(), "/", gate.others());
}

// Asks for one rotation again and again, over restarts of capstand.
class Follower {
 public:
  explicit Follower(const Target& target) : socket_(target.socket) {}

  // The rotation that is followed, as it is now: the first one seen, whatever was begun after it.
  absl::StatusOr<Rotation> Look() {
    // A connection that failed is not tried again for a while, so it is replaced.
    if (client_ == nullptr) {
      absl::StatusOr<std::unique_ptr<rpc::ControlClient>> client =
          rpc::ControlClient::Create(socket_, kCallTimeout);
      if (!client.ok()) return client.status();
      client_ = *std::move(client);
    }
    absl::StatusOr<Rotation> seen = client_->GetRotation();
    if (seen.ok() && number_.value_or(seen->number()) != seen->number()) seen = Past(*seen);
    if (!seen.ok()) {
      client_.reset();
      return seen;
    }
    number_ = seen->number();
    return seen;
  }

 private:
  absl::StatusOr<Rotation> Past(const Rotation& latest) {
    absl::StatusOr<control::v1::ListRotationsResponse> all = client_->ListRotations();
    if (!all.ok()) return all.status();
    for (const Rotation& rotation : all->rotations()) {
      if (rotation.number() == *number_) return rotation;
    }
    return latest;
  }

  const std::string socket_;
  std::unique_ptr<rpc::ControlClient> client_;
  std::optional<int64_t> number_;
};

// One way to show what is seen.
class View {
 public:
  virtual ~View() = default;
  virtual void Show(const Rotation& rotation, const std::string& trouble) = 0;
  // False: the operator wants to leave.
  virtual bool Wait(absl::Duration at_most) = 0;
  // Nothing more will come.
  virtual void End(const Rotation& rotation) = 0;
};

class LiveView final : public View {
 public:
  explicit LiveView(const Surroundings& surroundings) : screen_(std::in_place, surroundings) {}

  void Show(const Rotation& rotation, const std::string& trouble) override {
    rotation_ = rotation;
    trouble_ = trouble;
    screen_->Draw(WatchFrame(rotation_, screen_->size(), trouble_));
  }
  bool Wait(absl::Duration at_most) override {
    const absl::Duration until = RealClock().Monotonic() + at_most;
    for (;;) {
      const absl::Duration left = until - RealClock().Monotonic();
      switch (screen_->Wait(std::max(left, absl::ZeroDuration()))) {
        case LiveScreen::Woken::kTime:
          return true;
        case LiveScreen::Woken::kLeave:
          return false;
        case LiveScreen::Woken::kRedraw:
          Show(rotation_, trouble_);
      }
    }
  }
  void End(const Rotation& rotation) override {
    screen_.reset();
    std::cout << (Ended(rotation) ? RotationText(rotation) : WatchLine(rotation)) << std::flush;
  }

 private:
  std::optional<LiveScreen> screen_;
  Rotation rotation_;
  std::string trouble_;
};

class PlainView final : public View {
 public:
  explicit PlainView(bool json) : json_(json) {}

  void Show(const Rotation& rotation, const std::string& trouble) override {
    if (trouble.empty() != trouble_.empty()) {
      std::cerr << "capstan: " << (trouble.empty() ? "capstand answers again" : trouble) << "\n";
    }
    trouble_ = trouble;
    if (!changes_.WorthALine(rotation)) return;
    std::cout << (json_ ? Json(rotation, /*lines=*/false) + "\n" : WatchLine(rotation))
              << std::flush;
  }
  bool Wait(absl::Duration at_most) override {
    WaitPlainly(at_most);
    return true;
  }
  void End(const Rotation&) override {}

 private:
  const bool json_;
  Changes changes_;
  std::string trouble_;
};

std::unique_ptr<View> MakeView(const WatchOptions& options) {
  if (!options.target.json() && CanBeLive(options.surroundings)) {
    return std::make_unique<LiveView>(options.surroundings);
  }
  return std::make_unique<PlainView>(options.target.json());
}

}  // namespace

bool Changes::WorthALine(const Rotation& rotation) {
  const absl::Time now = ToTime(rotation.time());
  std::string words = Words(rotation);
  std::string counts = Counts(rotation);
  const bool due = !told_.has_value() || words != words_ || Ended(rotation) ||
                   (counts != counts_ && now - *told_ >= kCountsEvery);
  if (!due) return false;
  words_ = std::move(words);
  counts_ = std::move(counts);
  told_ = now;
  return true;
}

std::string WatchLine(const Rotation& rotation) {
  const control::v1::Gate& gate = rotation.gate();
  const control::v1::Progress& progress = rotation.progress();
  std::string text = absl::StrCat(Utc(ToTime(rotation.time())), " rotation ", rotation.number(),
                                  ": ", StateWords(rotation), ", ", rotation.phase());
  if (!Ended(rotation)) {
    absl::StrAppend(
        &text, ", next ", rotation.next_step().empty() ? "end" : rotation.next_step(), "; ",
        Held(gate) ? gate.summary() : absl::StrCat("gate ", GateText(gate)),
        absl::StrFormat("; acknowledged %d, proven %d, re-issued %d of %d", progress.acknowledged(),
                        progress.proven(), progress.moved(), progress.population()));
    if (gate.name() == "canary") {
      absl::StrAppend(&text, "; canary ", rotation.canary().moved(), " of ",
                      rotation.canary().population());
    }
  } else if (!rotation.exempt().empty()) {
    absl::StrAppend(&text, "; passed over: ", rotation.exempt_size());
  }
  if (!rotation.turned_why().empty()) {
    absl::StrAppend(&text, "; turned back ", rotation.turned_why());
  }
  return Printable(std::move(text)) + "\n";
}

std::string WatchFrame(const Rotation& rotation, const Screen& screen, const std::string& trouble) {
  Canvas canvas(screen);
  const bool roomy = screen.rows >= 20;
  const auto gap = [&] {
    if (roomy) canvas.Add("");
  };
  Head(canvas, rotation);
  Phases(canvas, rotation);
  if (!trouble.empty()) canvas.AddWrapped("", trouble, 3, kRed);
  gap();
  GatePart(canvas, rotation);
  gap();
  Bars(canvas, rotation);
  gap();
  const size_t foot = roomy ? 2 : 0;
  Holders(canvas, rotation, foot);
  if (roomy) {
    while (canvas.left(1) > 0) canvas.Add("");
    canvas.Add("q or Ctrl-C leaves; the rotation goes on.", kDim);
  }
  return canvas.Render();
}

ExitCode Watch(const WatchOptions& options) {
  Follower follower(options.target);
  Rotation rotation = OrFail(follower.Look());
  if (rotation.number() == 0 || Ended(rotation)) {
    std::cout << (options.target.json() ? Json(rotation, /*lines=*/false) + "\n"
                                        : RotationText(rotation))
              << std::flush;
    return CodeOf(rotation);
  }
  const absl::Duration end = RealClock().Monotonic() + options.timeout;
  std::string trouble;
  bool in_time = true;
  {
    const std::unique_ptr<View> view = MakeView(options);
    for (;;) {
      view->Show(rotation, trouble);
      const absl::Duration left = end - RealClock().Monotonic();
      in_time = left > absl::ZeroDuration();
      if (Ended(rotation) || !in_time || !view->Wait(std::min(options.interval, left))) break;
      absl::StatusOr<Rotation> seen = follower.Look();
      trouble = seen.ok() ? ""
                          : absl::StrCat("as of ", Utc(ToTime(rotation.time())), ": ",
                                         seen.status().message());
      if (seen.ok()) rotation = *std::move(seen);
    }
    view->End(rotation);
  }
  if (in_time || Ended(rotation)) return CodeOf(rotation);
  std::cerr << "capstan: rotation " << rotation.number() << " has not ended within "
            << absl::FormatDuration(options.timeout) << "; it goes on\n";
  return trouble.empty() ? CodeOf(rotation) : kFailed;
}

}  // namespace capstan::cli
