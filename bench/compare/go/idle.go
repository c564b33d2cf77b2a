// SPDX-License-Identifier: Apache-2.0

// A process that has worked and now only waits.
package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	workers          = 10000
	parkedGoroutines = 1000
	ticksPerSecond   = 100 // USER_HZ, what Linux shows in /proc
)

func work(j job) {
	var ran int64
	var wg sync.WaitGroup
	wg.Add(workers)
	for i := 0; i < workers; i++ {
		go func() {
			runtime.Gosched()
			atomic.AddInt64(&ran, 1)
			wg.Done()
		}()
	}
	wg.Wait()
	j.expect(ran == workers, "goroutines that ran")
}

// Time that the machine's cores were idle while somebody waited for a disk or a ring.
func iowaitNs() float64 {
	text, _ := os.ReadFile("/proc/stat")
	var user, nice, system, idle, iowait float64
	_, _ = fmt.Sscanf(string(text), "cpu %f %f %f %f %f", &user, &nice, &system, &idle, &iowait)
	return 1e9 * iowait / ticksPerSecond
}

func reportIdle(j job) {
	time.Sleep(time.Second) // the last spinner has gone to sleep by then
	start, cpu, waited := time.Now(), cpuNs(), iowaitNs()
	time.Sleep(time.Duration(j.n) * time.Second)
	used, ns := cpuNs()-cpu, nsPer(start, 1)
	j.reportMetric("cpu", 100*used/ns, "%")
	j.reportMetric("iowait", 100*(iowaitNs()-waited)/ns, "%")
}

// Only the last round waits and measures; the others are what the process has done before.
func idle(j job) {
	work(j)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	j.expect(err == nil, "listen")
	gate := make(chan int)
	inAnHour := time.AfterFunc(time.Hour, func() {})
	var woken int64
	var parked sync.WaitGroup
	parked.Add(parkedGoroutines + 1)
	go func() {
		if _, err := ln.Accept(); err != nil {
			atomic.AddInt64(&woken, 1)
		}
		parked.Done()
	}()
	for i := 0; i < parkedGoroutines; i++ {
		go func() {
			if _, open := <-gate; !open {
				atomic.AddInt64(&woken, 1)
			}
			parked.Done()
		}()
	}
	if j.round == 3 {
		reportIdle(j)
	}
	quiet := atomic.LoadInt64(&woken) == 0 && inAnHour.Stop()
	j.expect(quiet, "something that was to wait has not waited")
	_ = ln.Close()
	close(gate)
	parked.Wait()
	j.expect(woken == parkedGoroutines+1, "goroutines woken at the end")
}
