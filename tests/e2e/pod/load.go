package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// load calls at a steady rate until it is ended: each lane makes one call after the other, at times that do not wait for answers.
type load struct {
	began time.Time
	stop  chan struct{}
	done  sync.WaitGroup

	mu     sync.Mutex
	took   []time.Duration
	failed int // no answer, or 5xx
	wrong  int // any other answer than the right one
	first  []string
}

type report struct {
	Calls   int      `json:"calls"`
	Seconds float64  `json:"seconds"`
	Failed  int      `json:"failed"`
	Wrong   int      `json:"wrong"`
	P50     float64  `json:"p50Millis"`
	P99     float64  `json:"p99Millis"`
	Slowest float64  `json:"slowestMillis"`
	First   []string `json:"first"`
}

func begin(lanes int, every time.Duration, call func(turn int) (said, bool)) *load {
	l := &load{began: time.Now(), stop: make(chan struct{})}
	for lane := range lanes {
		l.done.Go(func() {
			due := l.began.Add(every * time.Duration(lane) / time.Duration(lanes))
			for turn := lane; ; turn++ {
				select {
				case <-l.stop:
					return
				case <-time.After(time.Until(due)):
				}
				began := time.Now()
				result, right := call(turn)
				l.note(began, result, right)
				due = due.Add(every)
			}
		})
	}
	return l
}

func (l *load) note(began time.Time, result said, right bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = append(l.took, time.Since(began))
	if right {
		return
	}
	if result.Status == 0 || result.Status >= 500 {
		l.failed++
	} else {
		l.wrong++
	}
	if len(l.first) < 10 {
		l.first = append(l.first, fmt.Sprintf("after %.3f s: %d %s %s", began.Sub(l.began).Seconds(), result.Status, result.Code, result.Error))
	}
}

func (l *load) end() report {
	close(l.stop)
	l.done.Wait()
	slices.Sort(l.took)
	at := func(part float64) float64 {
		if len(l.took) == 0 {
			return 0
		}
		return float64(l.took[int(part*float64(len(l.took)-1))].Microseconds()) / 1000
	}
	return report{len(l.took), time.Since(l.began).Seconds(), l.failed, l.wrong, at(0.5), at(0.99), at(1), l.first}
}
