// SPDX-License-Identifier: Apache-2.0
// The hand-off protocol of sched/machine.hpp, explored exhaustively: two Ms, one P, sysmon, store
// buffers as x86 has them (a store is visible to others only later; CAS and the heavy barrier drain
// them). Checked: never are two threads inside a section that touches the P, and a section that saw
// its own tag runs to its end before anybody else owns the P.
// Each protocol line is named after the one it stands for; the model finds a violation at once when
// the heavy barrier or sysmon's second CAS is left out (both are tried below).
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace {

constexpr int request = 16;
constexpr int claimed = 8;

struct state {
  // memory
  std::int8_t owner = 1;                   // tag of M1 (1, 2 with epochs folded), claimed, +request
  std::array<std::int8_t, 2> in_rt{0, 0};  // memory value
  // store buffers: a pending in_rt store a machine; -1 = none
  std::array<std::int8_t, 2> buffered{-1, -1};
  // program counters
  std::array<std::int8_t, 2> pc{0, 9};  // M2 starts in the pool (9)
  std::array<std::int8_t, 2> sections{0, 0};
  std::int8_t mon = 0;
  std::int8_t retakes = 0;
  std::int8_t mon_seen = 0;

  auto operator<=>(const state&) const = default;
};

struct model {
  bool with_barrier = true;
  bool with_second_cas = true;
  int max_sections = 3;
  int max_retakes = 3;
  std::set<state> seen;
  std::vector<state> todo;
  bool violated = false;
  bool taken = false;
  bool refused = false;

  void push(const state& s) {
    if (seen.insert(s).second) todo.push_back(s);
  }

  static std::int8_t tag(int m) { return static_cast<std::int8_t>(m + 1); }

  // pc: 0 outside, 1 in_rt stored, 2 owner read as ours (inside the section), 3 slow path,
  //     4 lost the P (waits in the pool: 9), 9 in the pool.
  void step_machine(const state& s, int m) {
    const auto i = static_cast<std::size_t>(m);
    if (s.buffered[i] >= 0) {  // the store buffer may drain at any time
      state n = s;
      n.in_rt[i] = n.buffered[i];
      n.buffered[i] = -1;
      push(n);
    }
    switch (s.pc[i]) {
      case 0: {  // in_rt = 1 (plain store)
        if (s.sections[i] >= max_sections || s.buffered[i] >= 0) return;
        state n = s;
        n.buffered[i] = 1;
        n.pc[i] = 1;
        n.sections[i]++;
        push(n);
        break;
      }
      case 1: {  // read owner
        state n = s;
        n.pc[i] = s.owner == tag(m) ? 2 : 3;
        push(n);
        break;
      }
      case 2: {  // the section ends: in_rt = 0 (store); one slot of buffer, so drain first
        if (s.buffered[i] >= 0) return;
        state n = s;
        n.buffered[i] = 0;
        n.pc[i] = 0;
        push(n);
        break;
      }
      case 3: {  // rt_enter_slow: a CAS drains the buffer
        state n = s;
        if (n.buffered[i] >= 0) n.in_rt[i] = n.buffered[i];
        n.buffered[i] = -1;
        if (n.owner == tag(m) + request) {
          n.owner = tag(m);
          n.pc[i] = 2;
          refused = true;
        } else {
          n.in_rt[i] = 0;
          n.pc[i] = 9;  // the P is gone: to the pool
        }
        push(n);
        break;
      }
      default:
        break;
    }
  }

  // sysmon: 0 CAS tag -> tag|request, 1 heavy barrier, 2 read in_rt, 3 second CAS, 4 grant.
  void step_monitor(const state& s) {
    state n = s;
    switch (s.mon) {
      case 0:
        if (s.retakes >= max_retakes || s.owner == claimed) return;
        n.mon_seen = static_cast<std::int8_t>(s.owner & ~request);
        n.owner = static_cast<std::int8_t>(n.mon_seen + request);
        n.mon = 1;
        n.retakes++;
        break;
      case 1:
        if (with_barrier) {
          for (std::size_t i = 0; i < 2; ++i) {
            if (n.buffered[i] >= 0) n.in_rt[i] = n.buffered[i];
            n.buffered[i] = -1;
          }
        }
        n.mon = 2;
        break;
      case 2:
        n.mon = s.in_rt[static_cast<std::size_t>(s.mon_seen - 1)] != 0 ? 0 : 3;
        break;
      case 3:
        if (!with_second_cas || s.owner == s.mon_seen + request) {
          n.owner = claimed;
          n.mon = 4;
          taken = true;
        } else {
          n.mon = 0;
        }
        break;
      default: {  // grant to an M of the pool, which enters with its own tag
        bool granted = false;
        for (std::size_t i = 0; i < 2; ++i) {
          if (s.pc[i] != 9 || granted) continue;
          granted = true;
          n.owner = tag(static_cast<int>(i));
          n.pc[i] = 0;
          n.mon = 0;
        }
        if (!granted) return;
        break;
      }
    }
    push(n);
  }

  void check(const state& s) {
    // Inside a section without being the owner: somebody else may be inside, too.
    for (std::size_t i = 0; i < 2; ++i) {
      if (s.pc[i] == 2 && (s.owner & ~request) != tag(static_cast<int>(i))) violated = true;
    }
    if (s.pc[0] == 2 && s.pc[1] == 2) violated = true;
  }

  void explore() {
    push(state{});
    while (!todo.empty() && !violated) {
      const state s = todo.back();
      todo.pop_back();
      check(s);
      step_machine(s, 0);
      step_machine(s, 1);
      step_monitor(s);
    }
  }
};

TEST(HandoffModel, NoTwoOwnersInAnyInterleaving) {
  model m;
  m.explore();
  EXPECT_FALSE(m.violated);
  EXPECT_TRUE(m.taken);    // the exploration does reach takes
  EXPECT_TRUE(m.refused);  // and refusals
  EXPECT_GT(m.seen.size(), 1000U);
}

TEST(HandoffModel, IsViolatedWithoutTheHeavyBarrier) {
  model m;
  m.with_barrier = false;
  m.explore();
  EXPECT_TRUE(m.violated);
}

TEST(HandoffModel, IsViolatedWithoutTheSecondCas) {
  model m;
  m.with_second_cas = false;
  m.explore();
  EXPECT_TRUE(m.violated);
}

}  // namespace
