// SPDX-License-Identifier: Apache-2.0

// The scheduler's workloads: yield, spawn, fork-join, skynet, sleepers, hogs, parked memory.
package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const batch = 1000

func yield(j job) {
	var wg sync.WaitGroup
	var turns [2]int
	wg.Add(2)
	start := time.Now()
	for f := 0; f < 2; f++ {
		f := f
		go func() {
			for i := 0; i < j.n; i++ {
				runtime.Gosched()
				turns[f]++
			}
			wg.Done()
		}()
	}
	wg.Wait()
	j.report(nsPer(start, 2*j.n), "ns/switch")
	j.expect(turns[0] == j.n && turns[1] == j.n, "turns")
}

func spawnJoin(j job) {
	var slots [batch]int
	sum := 0
	start := time.Now()
	for done := 0; done < j.n; done += batch {
		var wg sync.WaitGroup
		wg.Add(batch)
		for i := 0; i < batch; i++ {
			i := i
			go func() {
				slots[i] = i
				wg.Done()
			}()
		}
		wg.Wait()
		for i := range slots {
			sum += slots[i]
			slots[i] = 0
		}
	}
	j.report(nsPer(start, j.n), "ns/fiber")
	j.expect(sum == j.n/batch*sumBelow(batch), "sum of the slots")
}

func spawnOutstanding(j job) {
	seen := make([]byte, j.n)
	var wg sync.WaitGroup
	start := time.Now()
	wg.Add(j.n)
	for i := 0; i < j.n; i++ {
		i := i
		go func() {
			seen[i] = 1
			wg.Done()
		}()
	}
	peak := memoryNow().total() - startMemory.total()
	wg.Wait()
	j.report(nsPer(start, j.n), "ns/fiber")
	j.reportMetric("memory", peak/float64(j.n), "B/fiber")
	ran := 0
	for _, s := range seen {
		ran += int(s)
	}
	j.expect(ran == j.n, "fibers that ran")
}

func fib(n int) int {
	if n < 2 {
		return n
	}
	var left int
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		left = fib(n - 1)
		wg.Done()
	}()
	right := fib(n - 2)
	wg.Wait()
	return left + right
}

func fibForkJoin(j job) {
	start := time.Now()
	got := fib(j.n)
	j.report(nsPer(start, fibonacci(j.n+1)-1), "ns/task")
	j.expect(got == fibonacci(j.n), "fib")
}

func skynetNode(up chan<- int, first, leaves int) {
	if leaves == 1 {
		up <- first
		return
	}
	down := make(chan int)
	for i := 0; i < 10; i++ {
		go skynetNode(down, first+i*(leaves/10), leaves/10)
	}
	sum := 0
	for i := 0; i < 10; i++ {
		sum += <-down
	}
	up <- sum
}

func skynet(j job) {
	start := time.Now()
	c := make(chan int)
	go skynetNode(c, 0, j.n)
	sum := <-c
	j.report(nsPer(start, j.n), "ns/leaf")
	j.expect(sum == sumBelow(j.n), "sum of the leaves")
}

func sleepers(j job) {
	late := make([]int32, j.n)
	var wg sync.WaitGroup
	wg.Add(j.n)
	start, cpu := time.Now(), cpuNs()
	for i := 0; i < j.n; i++ {
		i := i
		go func() {
			wake := time.Now().Add(nap(i))
			time.Sleep(nap(i))
			late[i] = int32(time.Since(wake).Microseconds())
			wg.Done()
		}()
	}
	wg.Wait()
	j.report((cpuNs()-cpu)/float64(j.n), "CPU-ns/fiber")
	j.reportMetric("beyond", float64(time.Since(start).Microseconds())/1000-1000, "ms")
	for _, us := range late {
		j.expect(us >= 0, "woken too early")
	}
	j.reportLateness(late)
}

func hogs(j job) {
	var stop int32
	var wg sync.WaitGroup
	wg.Add(4)
	for h := 0; h < 4; h++ {
		go func() {
			for atomic.LoadInt32(&stop) == 0 {
			}
			wg.Done()
		}()
	}
	late := make([]int32, j.n)
	for i := range late {
		wake := time.Now().Add(time.Millisecond)
		time.Sleep(time.Millisecond)
		late[i] = int32(time.Since(wake).Microseconds())
	}
	atomic.StoreInt32(&stop, 1)
	wg.Wait()
	for _, us := range late {
		j.expect(us >= 0, "woken too early")
	}
	j.reportLateness(late)
}

func parked(j job) {
	gate := make(chan int)
	var wg sync.WaitGroup
	var arrived, woken int64
	wg.Add(j.n)
	start := time.Now()
	for i := 0; i < j.n; i++ {
		go func() {
			atomic.AddInt64(&arrived, 1)
			if _, open := <-gate; !open {
				atomic.AddInt64(&woken, 1)
			}
			wg.Done()
		}()
	}
	for atomic.LoadInt64(&arrived) != int64(j.n) {
		runtime.Gosched()
	}
	j.reportMetric("create", nsPer(start, j.n), "ns/fiber")
	peak := memoryNow()
	start = time.Now()
	close(gate)
	wg.Wait()
	j.reportMetric("wake", nsPer(start, j.n), "ns/fiber")
	j.expect(woken == int64(j.n), "fibers woken")
	total := peak.total() - startMemory.total()
	j.report(total/float64(j.n), "B/fiber")
	j.reportMetric("rss", (peak.rss-startMemory.rss)/float64(j.n), "B/fiber")
	j.reportMetric("page_tables", (peak.pageTables-startMemory.pageTables)/float64(j.n), "B/fiber")
	if j.round == 3 {
		time.Sleep(3 * time.Second)
		kept := memoryNow().total() - startMemory.total()
		j.reportMetric("kept", 100*kept/total, "%")
	}
}
