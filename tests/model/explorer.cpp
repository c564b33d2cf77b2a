// SPDX-License-Identifier: Apache-2.0
#include "tests/model/explorer.hpp"

#include <algorithm>
#include <cstring>
#include <sstream>
#include <unordered_set>

#include <weft/detail/switch.hpp>

namespace weft_model {
namespace {

constexpr std::size_t stack_bytes = 128U << 10;
constexpr std::size_t locations_per_thread = 6;  // made while the threads run
constexpr std::size_t most_steps = 5000;         // of one execution; more is a loop without relax()
constexpr int stale_again = 2;  // readings of one old message from one line: stores arrive some day

using std::memory_order;
using weft::detail::switch_frame;

bool acquires(memory_order o) noexcept {
  return o == memory_order::acquire || o == memory_order::acq_rel || o == memory_order::seq_cst;
}
bool releases(memory_order o) noexcept {
  return o == memory_order::release || o == memory_order::acq_rel || o == memory_order::seq_cst;
}

void join(view& into, const view& other) noexcept {
  for (std::size_t i = 0; i < max_locations; ++i) into[i] = std::max(into[i], other[i]);
}

struct digest {
  std::uint64_t a = 0x243f6a8885a308d3;
  std::uint64_t b = 0x13198a2e03707344;

  void add(std::uint64_t word) noexcept {
    a = (a ^ word) * 0x9e3779b97f4a7c15;
    a ^= a >> 29;
    b = (b + word) * 0xd6e8feb86659fd93;
    b ^= b >> 32;
  }
  bool operator==(const digest&) const = default;
};

struct digest_hash {
  std::size_t operator()(const digest& d) const noexcept { return d.a; }
};

struct message {
  std::uint64_t value;
  view seen;  // what a reader that acquires it has to see
};

struct location {
  std::vector<message> messages;
  bool alive = false;
};

enum class run_state : std::uint8_t { ready, relaxing, asleep, ended };

// A load of the same old message from the same line.
struct stale_reading {
  unsigned line;
  std::size_t location;
  std::size_t message;
  int times;
};

struct thread {
  switch_frame frame;
  std::unique_ptr<char[]> stack = std::make_unique<char[]>(stack_bytes);
  std::function<void()> body;
  view now{};       // may read from here on
  view pending{};   // joined to `now` by the next fence that acquires
  view released{};  // what relaxed stores carry since the last fence that releases
  run_state state = run_state::ready;
  std::size_t sleeps_on = 0;
  std::uint64_t relaxed_at = 0;
  std::size_t made = 0;
  digest history;
  std::vector<stale_reading> stale;
};

struct choice {
  std::uint32_t taken;
  std::uint32_t of;
};

struct step_record {
  int thread;
  const char* what;
  std::size_t location;
  std::uint64_t value;
  const char* function;
  unsigned line;
};

}  // namespace

class explorer {
 public:
  explorer(std::vector<mutant> mutants, limits l) : mutants_(std::move(mutants)), limits_(l) {}

  outcome run(const std::function<void(world&)>& scenario);

  // --- of one execution
  void step();
  void leave();
  void violate(const char* what);
  std::uint32_t decide(std::uint32_t n);
  void observe(std::uint64_t value) { self().history.add(value + 1); }
  thread& self() { return threads_[static_cast<std::size_t>(running_)]; }
  location& at(std::size_t i);
  memory_order mutated(op kind, memory_order order, const char* function) const;
  std::uint64_t read_some(std::size_t i, memory_order order, const std::source_location& where,
                          const std::uint64_t* except);
  void append(std::size_t i, std::uint64_t value, memory_order order, const view* continued);
  void fence(thread& t);
  void record(const char* what, std::size_t i, std::uint64_t value,
              const std::source_location& where);
  void note(const char* what, std::size_t i, std::uint64_t value);
  void sleep_on(std::size_t i);

  std::vector<location> locations_ = std::vector<location>(max_locations);
  std::array<thread, max_threads> threads_;
  std::size_t n_threads_ = 0;
  std::size_t set_up_ = 0;  // locations made by the scenario
  int running_ = -1;        // -1: the scenario or the explorer itself
  bool in_execution_ = false;
  std::uint64_t writes_ = 0;
  view global_{};  // of seq_cst fences and accesses

 private:
  void execute(const std::function<void(world&)>& scenario);
  void begin(const std::function<void(world&)>& scenario);
  void schedule();
  void resume(std::size_t t);
  void finish();
  bool next_prefix();
  bool seen_before();
  void add_view(digest& d, const view& v, const view& base) const;
  [[nodiscard]] std::vector<std::size_t> runnable();
  [[nodiscard]] view newest() const;
  static switch_frame first_frame(char* stack);
  static void thread_main();

  std::vector<mutant> mutants_;
  limits limits_;
  std::unique_ptr<world> world_;
  switch_frame main_;
  std::vector<choice> choices_;
  std::size_t place_ = 0;   // in choices_
  std::size_t prefix_ = 0;  // choices that are replayed
  std::size_t steps_ = 0;
  std::unordered_set<digest, digest_hash> seen_;
  std::vector<step_record> trace_;
  outcome out_;
};

namespace {

explorer* current = nullptr;

}  // namespace

// --- choices

std::uint32_t explorer::decide(std::uint32_t n) {
  if (n < 2) return 0;
  if (place_ == choices_.size()) choices_.push_back({0, n});
  return choices_[place_++].taken;
}

bool explorer::next_prefix() {
  while (!choices_.empty() && choices_.back().taken + 1 == choices_.back().of) choices_.pop_back();
  if (choices_.empty()) return false;
  ++choices_.back().taken;
  prefix_ = choices_.size();
  return true;
}

// --- executions

outcome explorer::run(const std::function<void(world&)>& scenario) {
  current = this;
  for (;;) {
    execute(scenario);
    ++out_.executions;
    if (!out_.violation.empty() || seen_.size() > limits_.states) break;
    if (!next_prefix()) {
      out_.complete = true;
      break;
    }
  }
  current = nullptr;
  out_.states = seen_.size();
  return out_;
}

void explorer::execute(const std::function<void(world&)>& scenario) {
  begin(scenario);
  schedule();
  in_execution_ = false;
  if (!out_.violation.empty()) {
    std::ostringstream text;
    for (const step_record& s : trace_) {
      text << "  T" << s.thread << ' ' << s.what << " [" << s.location << "] " << s.value;
      if (s.function != nullptr) text << "  " << s.function << ':' << s.line;
      text << '\n';
    }
    out_.trace = text.str();
  }
  world_.reset();
}

void explorer::begin(const std::function<void(world&)>& scenario) {
  place_ = steps_ = set_up_ = 0;
  writes_ = 0;
  global_ = {};
  trace_.clear();
  for (location& l : locations_) {
    l.messages.clear();
    l.alive = false;
  }
  running_ = -1;
  in_execution_ = true;
  world_ = std::make_unique<world>();
  scenario(*world_);
  n_threads_ = world_->bodies_.size();
  for (std::size_t i = 0; i < n_threads_; ++i) {
    thread& t = threads_[i];
    t.body = world_->bodies_[i];
    t.now = t.pending = t.released = newest();  // starting a thread orders
    t.state = run_state::ready;
    t.made = 0;
    t.history = {};
    t.stale.clear();
    t.frame = first_frame(t.stack.get());
  }
  // Each up to its first operation: nothing to choose before it.
  for (std::size_t i = 0; i < n_threads_; ++i) resume(i);
}

// Where a switch lands first: as if called, with nowhere to return to.
switch_frame explorer::first_frame(char* stack) {
  auto top = (reinterpret_cast<std::uintptr_t>(stack) + stack_bytes) & ~std::uintptr_t{63};
#if defined(__x86_64__)
  top -= sizeof(void*);
  *reinterpret_cast<void**>(top) = nullptr;
#endif
  switch_frame f;
  f.sp = reinterpret_cast<void*>(top);
  f.pc = reinterpret_cast<void*>(&explorer::thread_main);
  return f;
}

void explorer::thread_main() {
  thread& t = current->self();
  t.body();
  t.state = run_state::ended;
  current->leave();
}

void explorer::resume(std::size_t t) {
  running_ = static_cast<int>(t);
  weft::detail::switch_stack(&main_, &threads_[t].frame);
  running_ = -1;
}

view explorer::newest() const {
  view v{};
  for (std::size_t l = 0; l < max_locations; ++l) {
    const std::size_t n = locations_[l].messages.size();
    v[l] = static_cast<std::uint8_t>(n == 0 ? 0 : n - 1);
  }
  return v;
}

std::vector<std::size_t> explorer::runnable() {
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < n_threads_; ++i) {
    thread& t = threads_[i];
    if (t.state == run_state::relaxing && t.relaxed_at != writes_) t.state = run_state::ready;
    if (t.state == run_state::ready) out.push_back(i);
  }
  if (!out.empty()) return out;
  // Nobody stores any more: what has been stored arrives.
  for (std::size_t i = 0; i < n_threads_; ++i) {
    thread& t = threads_[i];
    if (t.state != run_state::relaxing) continue;
    if (t.now == newest()) continue;
    t.now = newest();
    t.state = run_state::ready;
    out.push_back(i);
  }
  return out;
}

void explorer::schedule() {
  while (out_.violation.empty()) {
    const std::vector<std::size_t> ready = runnable();
    if (ready.empty()) {
      finish();
      return;
    }
    if (place_ >= prefix_ && seen_before()) return;
    if (++steps_ > most_steps) {
      violate("a loop that does not end (or has no relax() in it)");
      return;
    }
    resume(ready[decide(static_cast<std::uint32_t>(ready.size()))]);
  }
}

void explorer::finish() {
  bool all = true;
  for (std::size_t i = 0; i < n_threads_; ++i) all &= threads_[i].state == run_state::ended;
  // From here on the newest values are read, without further choices.
  if (!all && !(world_->may_sleep_ && world_->may_sleep_())) {
    violate("somebody sleeps or waits for ever");
    return;
  }
  if (world_->at_end_) world_->at_end_();
}

bool explorer::seen_before() {
  view base;
  base.fill(255);
  for (std::size_t i = 0; i < n_threads_; ++i) {
    if (threads_[i].state == run_state::ended) continue;
    for (std::size_t l = 0; l < max_locations; ++l) base[l] = std::min(base[l], threads_[i].now[l]);
  }
  digest d;
  for (std::size_t i = 0; i < n_threads_; ++i) {
    const thread& t = threads_[i];
    d.add(static_cast<std::uint64_t>(t.state) | (t.sleeps_on << 8));
    d.add(t.state == run_state::relaxing && t.relaxed_at == writes_ ? 1 : 0);
    d.add(t.history.a);
    if (t.state == run_state::ended) continue;
    add_view(d, t.now, base);
    add_view(d, t.pending, base);
    add_view(d, t.released, base);
  }
  add_view(d, global_, base);
  for (std::size_t l = 0; l < max_locations; ++l) {
    const location& where = locations_[l];
    if (where.messages.empty()) continue;
    d.add(l | (where.alive ? 256U : 0U));
    for (std::size_t i = std::min<std::size_t>(base[l], where.messages.size() - 1);
         i < where.messages.size(); ++i) {
      d.add(where.messages[i].value);
      add_view(d, where.messages[i].seen, base);
    }
  }
  return !seen_.insert(d).second;
}

// Messages that nobody can read any more do not tell states apart.
void explorer::add_view(digest& d, const view& v, const view& base) const {
  std::uint64_t word = 0;
  int n = 0;
  for (std::size_t l = 0; l < max_locations; ++l) {
    if (locations_[l].messages.empty()) continue;
    word = word << 8 | static_cast<std::uint64_t>(v[l] > base[l] ? v[l] - base[l] : 0);
    if (++n % 8 == 0) d.add(word);
  }
  d.add(word);
}

// --- operations

void explorer::step() {
  if (running_ < 0) return;
  leave();
  self().history.add(0);
}

void explorer::violate(const char* what) {
  if (out_.violation.empty()) out_.violation = what;
  if (running_ >= 0) leave();  // for good: the next execution starts anew on this stack
}

void explorer::leave() { weft::detail::switch_stack(&self().frame, &main_); }

location& explorer::at(std::size_t i) {
  if (!locations_[i].alive) violate("an object is touched after its end");
  return locations_[i];
}

memory_order explorer::mutated(op kind, memory_order order, const char* function) const {
  for (const mutant& m : mutants_) {
    if (m.kind == kind && m.from == order && std::strstr(function, m.function.c_str()) != nullptr) {
      return m.to;
    }
  }
  return order;
}

std::uint64_t explorer::read_some(std::size_t i, memory_order order,
                                  const std::source_location& where, const std::uint64_t* except) {
  location& l = at(i);
  const std::size_t newest = l.messages.size() - 1;
  if (running_ < 0) return l.messages[newest].value;
  thread& t = self();
  std::size_t oldest = t.now[i];
  if (order == memory_order::seq_cst) oldest = std::max<std::size_t>(oldest, global_[i]);
  std::vector<std::size_t> may;
  for (std::size_t k = newest + 1; k-- > oldest;) {
    if (except != nullptr && l.messages[k].value == *except) continue;
    const auto again = std::ranges::find_if(t.stale, [&](const stale_reading& s) {
      return s.line == where.line() && s.location == i && s.message == k;
    });
    if (k == newest || again == t.stale.end() || again->times < stale_again) may.push_back(k);
  }
  const std::size_t k = may[decide(static_cast<std::uint32_t>(may.size()))];
  if (k != newest) {
    const auto again = std::ranges::find_if(t.stale, [&](const stale_reading& s) {
      return s.line == where.line() && s.location == i && s.message == k;
    });
    if (again == t.stale.end()) {
      t.stale.push_back({where.line(), i, k, 1});
    } else {
      ++again->times;
    }
  }
  t.now[i] = std::max(t.now[i], static_cast<std::uint8_t>(k));
  join(t.pending, l.messages[k].seen);
  if (acquires(order)) join(t.now, l.messages[k].seen);
  join(t.pending, t.now);
  return l.messages[k].value;
}

void explorer::append(std::size_t i, std::uint64_t value, memory_order order,
                      const view* continued) {
  location& l = at(i);
  const std::size_t k = l.messages.size();
  if (k > 250) {
    violate("too many stores to one location");
    return;
  }
  ++writes_;
  if (running_ < 0) {
    l.messages.push_back({value, {}});
    return;
  }
  thread& t = self();
  t.now[i] = static_cast<std::uint8_t>(k);
  message m{value, releases(order) ? t.now : t.released};
  m.seen[i] = static_cast<std::uint8_t>(k);
  if (continued != nullptr) join(m.seen, *continued);  // a release sequence goes on
  l.messages.push_back(m);
  join(t.pending, t.now);
  if (order == memory_order::seq_cst) global_[i] = static_cast<std::uint8_t>(k);
}

void explorer::fence(thread& t) {
  join(t.now, t.pending);
  join(t.now, global_);
  global_ = t.now;
  t.pending = t.released = t.now;
}

void explorer::record(const char* what, std::size_t i, std::uint64_t value,
                      const std::source_location& where) {
  trace_.push_back({running_, what, i, value, where.function_name(), where.line()});
}

void explorer::note(const char* what, std::size_t i, std::uint64_t value) {
  trace_.push_back({running_, what, i, value, nullptr, 0});
}

void explorer::sleep_on(std::size_t i) {
  thread& t = self();
  t.state = run_state::asleep;
  t.sleeps_on = i;
  leave();
}

// --- for the threads of a scenario

outcome explore(const std::function<void(world&)>& scenario, std::vector<mutant> mutants,
                limits l) {
  return explorer(std::move(mutants), l).run(scenario);
}

std::string problem_with(const std::function<void(world&)>& scenario) {
  const outcome o = explore(scenario);
  if (!o.violation.empty()) return o.violation + "\n" + o.trace;
  if (!o.complete) return "not explored to the end";
  return o.states > 100 ? "" : "hardly explored";
}

void check(bool holds, const char* what) {
  if (!holds) current->violate(what);
}

int this_thread() noexcept { return current->running_; }

std::uint32_t choose(std::uint32_t n) {
  current->step();
  const std::uint32_t k = current->decide(n);
  current->observe(k);
  current->note("chooses", 0, k);
  return k;
}

void relax() {
  thread& t = current->self();
  t.state = run_state::relaxing;
  t.relaxed_at = current->writes_;
  current->step();
}

void here() { current->step(); }

void forget_all_but(std::uint64_t locals) {
  thread& t = current->self();
  t.history = {};
  t.history.add(locals + 0x10000);
  t.stale.clear();
}

void seq_cst_fence() {
  if (current->running_ < 0) return;  // before or after the threads
  current->step();
  current->fence(current->self());
  current->note("fence", 0, 0);
}

void heavy_barrier() {
  if (current->running_ < 0) return;
  seq_cst_fence();
  for (std::size_t i = 0; i < current->n_threads_; ++i) {
    thread& t = current->threads_[i];
    if (&t == &current->self()) continue;
    if (t.state != run_state::ended) current->step();
    current->fence(t);
    current->note("fence for thread", 0, i);
  }
  seq_cst_fence();
}

std::size_t new_location(std::uint64_t value) {
  explorer& e = *current;
  const std::size_t i =
      e.running_ < 0
          ? e.set_up_++
          : max_locations - (static_cast<std::size_t>(e.running_) + 1) * locations_per_thread +
                e.self().made++;
  if (e.running_ < 0 ? i >= max_locations - max_threads * locations_per_thread
                     : e.self().made > locations_per_thread) {
    e.violate("too many locations");
    return 0;
  }
  location& l = e.locations_[i];
  l.alive = true;
  l.messages.push_back({value, {}});
  if (e.running_ >= 0) {
    // Memory that was used before: nobody reads what was there.
    const auto k = static_cast<std::uint8_t>(l.messages.size() - 1);
    e.self().now[i] = k;
    l.messages.back().seen = e.self().now;
  }
  return i;
}

void drop_location(std::size_t i) noexcept {
  if (current == nullptr || !current->in_execution_ || current->running_ < 0) return;
  current->step();
  current->at(i).alive = false;
}

std::uint64_t load(std::size_t i, memory_order order, const std::source_location& where) {
  explorer& e = *current;
  e.step();
  order = e.mutated(op::load, order, where.function_name());
  const std::uint64_t value = e.read_some(i, order, where, nullptr);
  e.record("load", i, value, where);
  if (e.running_ >= 0) e.observe(value);
  return value;
}

void store(std::size_t i, std::uint64_t value, memory_order order,
           const std::source_location& where) {
  explorer& e = *current;
  e.step();
  order = e.mutated(op::store, order, where.function_name());
  e.append(i, value, order, nullptr);
  e.record("store", i, value, where);
}

std::uint64_t update(std::size_t i, const std::uint64_t* expected,
                     const std::function<std::uint64_t(std::uint64_t old)>& f, memory_order success,
                     memory_order failure, const std::source_location& where) {
  explorer& e = *current;
  e.step();
  location& l = e.at(i);
  const std::size_t newest = l.messages.size() - 1;
  const std::uint64_t old = l.messages[newest].value;
  if (expected != nullptr && old != *expected) {
    // A failing compare-exchange is a load of anything but what it expected.
    failure = e.mutated(op::cas_failure, failure, where.function_name());
    const std::uint64_t seen = e.read_some(i, failure, where, expected);
    if (e.running_ >= 0) e.observe(seen);
    e.record("cas fails", i, seen, where);
    return seen;
  }
  success = e.mutated(op::rmw, success, where.function_name());
  if (e.running_ >= 0) {
    thread& t = e.self();
    t.now[i] = static_cast<std::uint8_t>(newest);
    join(t.pending, l.messages[newest].seen);
    if (acquires(success)) join(t.now, l.messages[newest].seen);
    e.observe(old);
  }
  const view continued = l.messages[newest].seen;
  e.append(i, f(old), success, &continued);
  e.record("update", i, e.at(i).messages.back().value, where);
  return old;
}

// Plain accesses are no steps: whether they are ordered does not depend on when they happen.
std::uint64_t plain_read(std::size_t i, std::size_t readers) {
  explorer& e = *current;
  location& l = e.at(i);
  if (e.running_ < 0) return l.messages.back().value;
  thread& t = e.self();
  if (t.now[i] + 1U != l.messages.size()) e.violate("data race: read of a plain variable");
  e.append(readers, 0, memory_order::relaxed, nullptr);
  const std::uint64_t value = l.messages.back().value;
  e.note("reads plain", i, value);
  e.observe(value);
  return value;
}

void plain_write(std::size_t i, std::size_t readers, std::uint64_t value) {
  explorer& e = *current;
  location& l = e.at(i);
  if (e.running_ >= 0) {
    const thread& t = e.self();
    if (t.now[i] + 1U != l.messages.size() ||
        t.now[readers] + 1U != e.at(readers).messages.size()) {
      e.violate("data race: write of a plain variable");
    }
  }
  e.append(i, value, memory_order::relaxed, nullptr);
  e.note("writes plain", i, value);
}

bool futex_wait(std::size_t i, std::uint64_t expected) {
  explorer& e = *current;
  e.step();
  const bool sleeps = e.at(i).messages.back().value == expected;
  e.note(sleeps ? "sleeps" : "does not sleep", i, expected);
  e.observe(sleeps ? 1 : 0);
  if (sleeps) e.sleep_on(i);
  return sleeps;
}

void futex_wake(std::size_t i) {
  explorer& e = *current;
  e.step();
  e.note("wakes", i, 0);
  for (std::size_t k = 0; k < e.n_threads_; ++k) {
    thread& t = e.threads_[k];
    if (t.state == run_state::asleep && t.sleeps_on == i) t.state = run_state::ready;
  }
}

}  // namespace weft_model
