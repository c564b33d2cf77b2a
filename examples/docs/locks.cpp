// SPDX-License-Identifier: Apache-2.0
// Three workers start together, share a table, meet when it is complete, and report.
#include <cstdio>
#include <map>
#include <mutex>
#include <shared_mutex>

#include <weft/weft.hpp>

int main() {
  return weft::run([] {
    weft::latch started(3);
    weft::once_flag said;
    weft::semaphore places(2);
    weft::shared_mutex table_lock;
    std::map<int, int> table;  // guarded by table_lock
    weft::barrier complete(3, []() noexcept { std::puts("the table is complete"); });
    weft::mutex lock;
    weft::condition_variable reported;
    int reports = 0;  // these two are guarded by lock
    int sum = 0;

    weft::wait_group workers;
    for (int id = 1; id <= 3; ++id) {
      workers.go([&, id] {
        started.arrive_and_wait();
        weft::call_once(said, [] { std::puts("all are there"); });

        places.acquire();  // at most two at once from here
        {
          const std::lock_guard writer(table_lock);
          table[id] = id * id;
        }
        places.release();  // to here

        complete.arrive_and_wait();
        const std::shared_lock reader(table_lock);
        const std::lock_guard guard(lock);
        sum += table.at(id);
        ++reports;
        reported.notify_one();
      });
    }
    {
      std::unique_lock guard(lock);
      reported.wait(guard, [&] { return reports == 3; });
      std::printf("reports: %d, sum: %d\n", reports, sum);
    }
    workers.wait();
    std::printf("places free: %zu\n", places.available());
  });
}
