package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/ldap/ldaptest"
	"github.com/ambit-iam/ambit/testdata/company"
)

// applied is a plan that a process has committed, by its own log.
type applied struct {
	revision, fence int64
	process         int
}

// history is what the logs of several processes say.
type history struct {
	mu      sync.Mutex
	leader  int // who took the lead last; -1: nobody has
	applied []applied
}

var (
	leads = regexp.MustCompile(`msg="leads the synchronization" fence=(\d+)`)
	plans = regexp.MustCompile(`msg="plan applied" revision=(\d+)`)
)

// read takes up a process's log to its end.
func (h *history) read(process int, log *bufio.Scanner) {
	fence := int64(0)
	for log.Scan() {
		h.mu.Lock()
		if m := leads.FindStringSubmatch(log.Text()); m != nil {
			fence, _ = strconv.ParseInt(m[1], 10, 64) // it is digits
			h.leader = process
		}
		if m := plans.FindStringSubmatch(log.Text()); m != nil {
			revision, _ := strconv.ParseInt(m[1], 10, 64)
			h.applied = append(h.applied, applied{revision, fence, process})
		}
		h.mu.Unlock()
	}
}

// by is how many plans a process has applied.
func (h *history) by(process int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, a := range h.applied {
		if a.process == process {
			n++
		}
	}
	return n
}

func (h *history) leading() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leader
}

// Several daemons on one database. The one that leads is stopped for longer than
// its lock lives, another takes over, and the first is woken again.
func TestRule_REL_6_ADaemonThatIsStoppedIsReplacedAndWritesNoMore(t *testing.T) {
	staff := company.Small()
	server, err := ldaptest.Start(t.TempDir(), staff.Entries())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	place := postgresPlace(t, nil, server)
	quick(t, place.config)
	ambit, err := binary()
	require.NoError(t, err)

	h := &history{leader: -1}
	var logs sync.WaitGroup
	daemons := make([]*exec.Cmd, 3)
	for i := range daemons {
		daemons[i] = exec.Command(ambit, "--config", place.config, "serve")
		said, err := daemons[i].StderrPipe()
		require.NoError(t, err)
		require.NoError(t, daemons[i].Start())
		logs.Go(func() { h.read(i, bufio.NewScanner(said)) })
		t.Cleanup(func() { _ = daemons[i].Process.Kill() }) // it may have ended
	}
	team, ann := staff.Group(company.SalesFrance), staff.Person(company.Auditor)
	turn := 0
	eventually := func(why string, is func() bool) {
		t.Helper()
		require.Eventually(t, func() bool {
			if turn++; turn%2 == 0 {
				server.AddMember(team.DN(), ann.DN())
			} else {
				server.RemoveMember(team.DN(), ann.DN())
			}
			return is()
		}, 2*time.Minute, 500*time.Millisecond, why)
	}
	eventually("somebody leads and applies", func() bool { first := h.leading(); return first >= 0 && h.by(first) >= 3 })
	first := h.leading()
	require.NoError(t, daemons[first].Process.Signal(syscall.SIGSTOP))
	before := h.by(first)
	eventually("another takes over", func() bool { next := h.leading(); return next != first && h.by(next) >= 3 })
	next := h.leading()
	require.NoError(t, daemons[first].Process.Signal(syscall.SIGCONT))
	done := h.by(next)
	eventually("and goes on when the first is awake again", func() bool { return h.by(next) >= done+5 })
	require.Equal(t, next, h.leading())
	require.LessOrEqual(t, h.by(first), before+1, "but for what it had committed before it was stopped, and told of later")

	server.AddMember(team.DN(), ann.DN())
	time.Sleep(3 * time.Second) // more than a round
	for _, d := range daemons {
		require.NoError(t, d.Process.Signal(syscall.SIGTERM))
	}
	logs.Wait()
	for _, d := range daemons {
		require.NoError(t, d.Wait())
	}
	slices.SortFunc(h.applied, func(a, b applied) int { return int(a.revision - b.revision) })
	for i, a := range h.applied[1:] {
		require.Greater(t, a.revision, h.applied[i].revision, "a revision that two have made")
		require.GreaterOrEqual(t, a.fence, h.applied[i].fence, "revision %d is of one who had been replaced", a.revision)
	}
	t.Logf("%d plans, fences %d to %d", len(h.applied), h.applied[0].fence, h.applied[len(h.applied)-1].fence)
	fresh := postgresPlace(t, nil, server)
	fresh.command(t, "sync")
	same(t, fresh.dump(t), place.dump(t), "what all of them made is what one alone makes")
	place.command(t, "audit", "verify")
}

// quick makes a configuration's daemon read its sources every second.
func quick(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Clean(path))
	require.NoError(t, err)
	slow := "interval: 1h"
	require.Contains(t, string(b), slow)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(b), slow, "interval: 1s", 1)), 0o600))
}
