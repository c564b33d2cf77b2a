// SPDX-License-Identifier: Apache-2.0
// WEFT_DEBUG=conserve=1ms: reports a P that has slept for that long beside work for which somebody
// should have woken it: a lost wake-up. For sysmon, which looks before it helps (help_busy), as
// what has been helped is not seen any more; what is certain to be lost is helped afterwards.
//
// What counts is what idle_protocol.hpp promises:
//   for any P    fibers in the shared queue; fibers that have not run, but for a lone one whose
//                parent runs on; fibers in a ring, if idle Ps have been told of them
//                (processor::told)
//   for that P   its mailbox and I/O requests; a timer that is due, and earlier than its sleeper
//                had planned for; anything in its own queues
//   and          a P that was woken, with nobody there who could hear it
// What the protocol leaves to sysmon does not count, however long it lasts: fibers that have
// yielded and those that a look around has found (nobody is told of either, if they go into the
// ring), the runnext of a P at work, due timers of a P at work. Nor does what the kernel owes: a
// sleeper that is late although it was woken. After a thread was refused (options::max_threads)
// nothing is certain any more, and the watch is silent.
//
// The clock proves nothing: where cores are few a thread may stand still for long between what it
// has published and its look for an idle P, or between a sleeper's idle bit and its last look. So
// this waits for evidence, in two passes. A pass is over when everybody who could have been on his
// way at its beginning has been seen to be done: each M outside a runtime section once, since all
// that the protocol does is done inside; and `external` at zero once, which counts plain threads
// that do it. From the first look to the last the same P sleeps in the same sleep (`looks`), and
// nobody has begun or ended a search (`spinning`, machine::searches).
//   After the first pass the sleeper has looked for the last time, and so has whoever had ended a
//   search before. What is there when the second pass begins was published after those looks, or
//   they would have found it; so its publisher has seen the idle bit, and nobody searching. After
//   the second pass he has woken somebody, which would be seen, or he never will.
// A count of searchers that nobody brings down again is found in the same way: an M that searches
// is inside a section, or the P that it is to have is on its way to it.
// Whatever cannot be proved is not reported.
//
// sysmon's thread only.
#pragma once

#include <cstdint>

#include <weft/detail/timer_node.hpp>

namespace weft::inline v0::detail {

class runtime_state;
struct processor;

/// As WEFT_DEBUG says: 0 without the option, negative if that is no time.
[[nodiscard]] std::int64_t conservation_limit_ns() noexcept;

class conservation_watch {
 public:
  enum class verdict : std::uint8_t {
    quiet,     ///< nothing to be seen, or nothing that could be proved
    in_doubt,  ///< somebody may be on his way: not to be helped yet
    lost,      ///< report() it
  };

  conservation_watch() noexcept;
  explicit conservation_watch(std::int64_t limit_ns) noexcept : limit_(limit_ns) {}

  [[nodiscard]] bool on() const noexcept { return limit_ > 0; }
  /// How often to look; `never` when it is off.
  [[nodiscard]] std::int64_t period() const noexcept;

  [[nodiscard]] verdict look(runtime_state* rt, std::int64_t now) noexcept;

  /// Of what look() has just found: counts it, says so, and wakes a P for what is its own. Ends the
  /// process under WEFT_DEBUG=conservefatal=1.
  void report(runtime_state* rt, std::int64_t now) noexcept;

 private:
  enum class waits : std::uint8_t {
    nothing,
    messages,
    requests,
    timer,
    own_fibers,
    nobody,
    shared,
    fresh,
    woken,
  };
  struct sight {
    waits what = waits::nothing;
    const processor* at = nullptr;  // where it waits, if that is another P
  };

  [[nodiscard]] static const char* words_for(waits what) noexcept;
  [[nodiscard]] static waits own_work(const runtime_state* rt, const processor* p,
                                      std::int64_t now) noexcept;
  template <class HasFresh>
  [[nodiscard]] static sight told_work(const runtime_state* rt, HasFresh has_fresh) noexcept;

  [[nodiscard]] verdict judge(runtime_state* rt, std::int64_t now) noexcept;
  [[nodiscard]] bool begin(runtime_state* rt, std::int64_t now) noexcept;
  [[nodiscard]] bool goes_on(runtime_state* rt, std::int64_t now) noexcept;
  [[nodiscard]] bool is_certain(runtime_state* rt, std::int64_t now) noexcept;
  void begin_pass() noexcept;
  [[nodiscard]] bool everybody_done(runtime_state* rt) noexcept;

  std::int64_t limit_ = 0;
  std::int64_t doubt_since_ = never;  // help has waited

  // --- what is looked into
  processor* sleeper_ = nullptr;  // null: nothing
  bool own_ = false;              // only the sleeper can do it
  bool reported_ = false;
  sight seen_;
  std::uint32_t looks_ = 0;     // of the sleeper
  int spinning_ = 0;            // and for any P's work nobody has begun
  std::uint32_t searches_ = 0;  // or ended a search
  std::int64_t since_ = 0;

  // --- the pass
  bool second_ = false;
  bool outside_done_ = false;
  std::uint32_t pass_ = 0;  // of all; machine::seen_done: the last that has seen it done
};

}  // namespace weft::inline v0::detail
