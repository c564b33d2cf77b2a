// SPDX-License-Identifier: Apache-2.0
// sched/idle_protocol.hpp, the very code, in every interleaving of small worlds of workers and
// submitters: whatever is submitted is run by somebody. A lost wake-up shows as work that is left
// when everybody sleeps. Around it are the lines of sleep_idle (idle.cpp), find_runnable
// (scheduler.cpp) and start_machine (machine.cpp).
#include "sched/idle_protocol.hpp"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "tests/model/atomic.hpp"

namespace {

using namespace weft_model;
using std::memory_order;
using weft::detail::basic_idle_set;
using weft::detail::idle_protocol;
using weft::detail::owner_idle;

struct m_machine;
struct m_runtime;

struct m_processor {
  atomic<std::uint64_t> owner{8};
  atomic<int> sleepers{0};
  atomic<bool> woken_to_spin{false};
  atomic<m_machine*> running_on{nullptr};
  atomic<int> mail{0};  // processor::mailbox, with room for one
  event io;
  int index = 0;
};

struct m_machine {
  m_runtime* rt = nullptr;
  m_processor* p = nullptr;
  std::uint64_t tag = 0;
  std::uint64_t id = 1;
  bool spinning = false;
};

struct m_runtime {
  basic_idle_set<model_sync, 1> idle;
  atomic<int> spinning{0};
  std::vector<m_processor*> procs;
  std::array<atomic<int>, 2> work;  // what is submitted, published by a plain release store
  std::array<int, 2> done{};
  int submitted = 0;

  void submit(std::size_t i) {
    ++submitted;
    work[i].store(1, memory_order::release);
  }
  // Takes one piece of work, if there is any. (A queue's owner or thief: one CAS.)
  bool run_one() {
    for (std::size_t i = 0; i < work.size(); ++i) {
      int one = 1;
      if (work[i].load(memory_order::acquire) == 1 && work[i].compare_exchange_strong(one, 2)) {
        ++done[i];
        return true;
      }
    }
    return false;
  }
  [[nodiscard]] bool all_done() const { return done[0] + done[1] == submitted; }
};

template <bool HeavyBarrier = true, bool Recheck = true>
struct small_world : model_sync {
  using runtime = m_runtime;
  using processor = m_processor;
  using machine = m_machine;

  static void light_barrier(const runtime*) noexcept {}
  static void heavy_barrier(const runtime*) noexcept {
    if (HeavyBarrier) model_sync::heavy_barrier();
  }
  static bool work_anywhere(runtime* rt) noexcept {
    if (!Recheck) return false;
    for (auto& w : rt->work) {
      if (w.load(memory_order::acquire) == 1) return true;
    }
    return false;
  }
  static bool own_work(const machine*) noexcept { return false; }
  static bool run(machine& m) noexcept { return m.rt->run_one(); }
  static bool stopping(const runtime*) noexcept { return false; }
  static std::uint64_t new_tag(machine* m) noexcept { return m->id << 3; }
  static void set_tag(machine* m, std::uint64_t tag) noexcept { m->tag = tag; }
  static void adopt(machine* m, processor* p) noexcept {
    m->tag = new_tag(m);
    m->p = p;
    p->running_on.store(m, memory_order::relaxed);
    p->owner.store(m->tag);
  }
  static void wake(processor* p) noexcept { p->io.wake(); }
  static void start_machine(runtime* rt, processor* /*p*/, bool /*spinning*/) noexcept {
    // A new M: it runs what there is, and computes for ever after.
    while (rt->run_one()) {
    }
  }
};

using World = small_world<>;

// More workers than cores, or no membarrier: both sides pay.
struct fences : World {
  static void light_barrier(const runtime*) noexcept { seq_cst_fence(); }
  static void heavy_barrier(const runtime*) noexcept { seq_cst_fence(); }
};

// All that there is to do is for one P alone, and comes without a barrier.
struct mail_world : fences {
  static bool work_anywhere(runtime*) noexcept { return false; }
  static bool own_work(const machine* m) noexcept {
    return m->p->mail.load(memory_order::acquire) == 1;
  }
  static bool run(machine& m) noexcept {
    int one = 1;
    if (!own_work(&m) || !m.p->mail.compare_exchange_strong(one, 2)) return false;
    ++m.rt->done[0];
    return true;
  }
};

// find_runnable, with a search of one look; ends when the P is lost.
template <class W>
void worker(m_machine& m) {
  using protocol = idle_protocol<W>;
  for (;;) {
    forget_all_but(m.id << 1 | (m.spinning ? 1U : 0U));
    while (W::run(m)) protocol::stop_spinning(&m, true);
    if (protocol::give_up(&m)) continue;
    m.p->io.wait();
    if (!protocol::settle(&m)) return;
  }
}

m_machine& machine_with(world& w, m_runtime& rt, std::uint64_t id) {
  auto& m = w.make<m_machine>();
  m.rt = &rt;
  m.id = id;
  auto& p = w.make<m_processor>();
  p.index = static_cast<int>(rt.procs.size());
  rt.procs.push_back(&p);
  m.p = &p;
  return m;
}

// A worker that sleeps already.
template <class W>
void put_to_sleep(world& w, m_machine& m) {
  check(!idle_protocol<W>::give_up(&m), "nothing to do yet");
  w.thread([&] {
    m.p->io.wait();
    if (idle_protocol<W>::settle(&m)) worker<W>(m);
  });
}

// One worker on its way to sleep, and a plain thread that submits twice.
template <class W>
void going_to_sleep(world& w) {
  auto& rt = w.make<m_runtime>();
  auto& m = machine_with(w, rt, 1);
  w.thread([&] { worker<W>(m); });
  w.thread([&] {
    for (std::size_t i = 0; i < 2; ++i) {
      rt.submit(i);
      idle_protocol<W>::wake_if_idle(&rt);
    }
  });
  w.may_sleep_for_ever([&] { return rt.all_done(); });
}

// One worker asleep, two plain threads submit at once.
template <class W>
void two_submitters(world& w) {
  auto& rt = w.make<m_runtime>();
  put_to_sleep<W>(w, machine_with(w, rt, 1));
  for (std::size_t i = 0; i < 2; ++i) {
    w.thread([&rt, i] {
      rt.submit(i);
      idle_protocol<W>::wake_if_idle(&rt);
    });
  }
  w.may_sleep_for_ever([&] { return rt.all_done(); });
}

// One worker spins, takes the first piece and never comes back; whoever skipped a wake-up because
// of it relies on its last look, and on the other worker, which sleeps.
template <class W>
void last_spinner(world& w) {
  auto& rt = w.make<m_runtime>();
  auto& busy = machine_with(w, rt, 1);
  put_to_sleep<W>(w, machine_with(w, rt, 2));
  rt.spinning.store(1);
  busy.spinning = true;
  rt.submit(0);
  w.thread([&] {
    check(rt.run_one(), "it was there");
    idle_protocol<W>::stop_spinning(&busy, true);
  });
  w.thread([&] {
    rt.submit(1);
    idle_protocol<W>::wake_if_idle(&rt);
  });
  w.may_sleep_for_ever([&] { return rt.all_done(); });
}

// wake_processor (idle.cpp), after a push into the mailbox.
void send_mail(m_runtime& rt, m_processor& p) {
  ++rt.submitted;
  p.mail.store(1, memory_order::release);
  if (!rt.idle.take(p.index)) return;
  p.woken_to_spin.store(false, memory_order::relaxed);
  p.owner.store(weft::detail::owner_woken);
  idle_protocol<mail_world>::hand_to_sleeper(&rt, &p, false);
}

// One worker on its way to sleep, and a message to it.
void mail(world& w) {
  auto& rt = w.make<m_runtime>();
  auto& m = machine_with(w, rt, 1);
  m_processor& p = *m.p;
  w.thread([&] { worker<mail_world>(m); });
  w.thread([&] { send_mail(rt, p); });
  w.may_sleep_for_ever([&] { return rt.all_done(); });
}

TEST(IdleModel, TheSameWithFencesInPlaceOfMembarrier) {
  EXPECT_EQ(problem_with(going_to_sleep<fences>), "");
  EXPECT_EQ(problem_with(two_submitters<fences>), "");
  EXPECT_EQ(problem_with(last_spinner<fences>), "");
}

TEST(IdleModel, MailIsFoundWithoutABarrier) { EXPECT_EQ(problem_with(mail), ""); }

TEST(IdleModel, BreaksWhenTakingTheBitDownDoesNotOrder) {
  const mutant m{"::take", op::rmw, memory_order::seq_cst, memory_order::relaxed};
  EXPECT_NE(explore(mail, {m}).violation, "");
}

TEST(IdleModel, NothingIsLostOnTheWayToSleep) {
  const outcome o = explore(going_to_sleep<World>);
  EXPECT_EQ(o.violation, "") << o.trace;
  EXPECT_TRUE(o.complete);
  EXPECT_GT(o.states, 1000U);
}

TEST(IdleModel, NothingIsLostWithTwoSubmitters) {
  EXPECT_EQ(problem_with(two_submitters<World>), "");
}

TEST(IdleModel, NothingIsLostBehindTheLastSpinner) {
  EXPECT_EQ(problem_with(last_spinner<World>), "");
}

TEST(IdleModel, BreaksWithoutTheHeavyBarrier) {
  EXPECT_NE((explore(going_to_sleep<small_world<false, true>>).violation), "");
}

TEST(IdleModel, BreaksWithoutTheRecheck) {
  EXPECT_NE((explore(going_to_sleep<small_world<true, false>>).violation), "");
}

TEST(IdleModel, BreaksWithoutTheBarrierOfTheLastSpinner) {
  EXPECT_NE((explore(last_spinner<small_world<false, true>>).violation), "");
}

}  // namespace
