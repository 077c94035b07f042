package entra

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
)

// clock is one that passes only where somebody waits.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// ticking makes a source and a server that share the clock.
func ticking(t testing.TB, c *clock, o graphtest.Options, edit ...func(*Config)) (*graphtest.Server, *Source) {
	t.Helper()
	o.Now = c.Now
	server := many(t, 60, o)
	s := source(t, server, edit...)
	s.graph.now = c.Now
	s.graph.sleep = func(ctx context.Context, d time.Duration) error {
		c.now = c.now.Add(d)
		return ctx.Err()
	}
	return server, s
}

func patiently(c *Config) { c.MaxWaitSeconds = 3600 }

func TestRule_GRAPH_27_nothing_is_asked_before_Retry_After_is_over(t *testing.T) {
	for seed := range uint64(20) {
		c := &clock{time.Now()}
		server, s := ticking(t, c, graphtest.Options{PageSize: 10, EdgesPerEntry: 10}, patiently)
		began := c.now
		server.Arm(graphtest.Contradict(seed), 2)
		server.Arm(graphtest.Throttle(30*time.Second).At(graphtest.Graph).Sometimes(seed, 0.2), -1)
		m := newMirror()
		m.sync(t, s)
		imposed, early := server.Waits()
		require.Positive(t, imposed)
		require.Zero(t, early)
		require.InDelta(t, imposed.Seconds(), c.now.Sub(began).Seconds(), 30, "and not much later")
	}
	// Short waits are the SDK's, by the clock on the wall.
	server := many(t, 60, graphtest.Options{PageSize: 4, EdgesPerEntry: 10, Units: 20})
	readFull(t, source(t, server))
	imposed, early := server.Waits()
	require.Positive(t, imposed, "the bucket was empty")
	require.Zero(t, early)
}

func TestRule_GRAPH_27_while_one_request_waits_all_do(t *testing.T) {
	server, s, _ := notified(t)
	waiting, over := make(chan struct{}), make(chan struct{})
	s.graph.sleep = func(context.Context, time.Duration) error {
		close(waiting)
		<-over
		return nil
	}
	server.Arm(graphtest.Throttle(30*time.Second), 1)
	read := make(chan error, 1)
	go func() {
		_, err := sourcetest.Collect(t.Context(), s, directory.Start{})
		read <- err
	}()
	<-waiting
	asked := len(server.Requests())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := s.subscribe(ctx, "users", "secret")
	require.ErrorIs(t, err, directory.ErrIncomplete)
	_, err = s.graph.batch(ctx, []request{{}})
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.Len(t, server.Requests(), asked, "nothing else is asked meanwhile")
	close(over)
	require.NoError(t, <-read)
}

func TestRule_GRAPH_25_who_keeps_to_the_budget_is_not_refused(t *testing.T) {
	c := &clock{time.Now()}
	server, s := ticking(t, c, graphtest.Options{PageSize: 4, EdgesPerEntry: 10, Units: 5}, func(c *Config) { c.ResourceUnits = 5 })
	began := c.now
	readFull(t, s)
	imposed, _ := server.Waits()
	require.Zero(t, imposed)
	units := float64(s.Usage().Units)
	require.Greater(t, units, 20.0)
	// Five at once, and one each two seconds after that.
	require.InDelta(t, 2*(units-5), c.now.Sub(began).Seconds(), 5)
}

func TestRule_GRAPH_25_the_budget_is_of_what_is_published(t *testing.T) {
	now := time.Now()
	b := newBudget(0)
	for range 3500 {
		require.Zero(t, b.wait(now))
		b.spend(now, 1, 0)
	}
	b.spend(now, 35, 0)
	require.InDelta(t, 100*time.Millisecond, b.wait(now), float64(time.Millisecond))
	require.Zero(t, b.wait(now.Add(101*time.Millisecond)))
}

func TestRule_GRAPH_26_what_the_service_has_counted_itself_is_believed(t *testing.T) {
	now := time.Now()
	b := newBudget(100)
	b.spend(now, 1, 0.79)
	require.InDelta(t, 99, b.units.TokensAt(now), 1e-9)
	b.spend(now, 1, 0.9)
	require.InDelta(t, 10, b.units.TokensAt(now), 1, "others have spent it")
	b.spend(now, 1, 0.8)
	require.InDelta(t, 9, b.units.TokensAt(now), 1, "ours is more")
	b.spend(now, 1, 1.8)
	require.InDelta(t, 8*time.Second, b.wait(now), float64(time.Second))
}

// BenchmarkThrottled compares a full read under a bucket of resource units and random
// refusals with one that nothing holds up and the waits that were imposed.
func BenchmarkThrottled(b *testing.B) {
	o := graphtest.Options{PageSize: 10, EdgesPerEntry: 10}
	clean, o2 := many(b, 1000, o), o
	o2.Units = 500
	busy := many(b, 1000, o2)
	busy.Arm(graphtest.Throttle(time.Second).At(graphtest.Graph).Sometimes(1, 0.02), -1)
	time1 := func(server *graphtest.Server) time.Duration {
		s := source(b, server, patiently)
		began := time.Now()
		readFull(b, s)
		return time.Since(began)
	}
	var undisturbed, disturbed time.Duration
	for b.Loop() {
		undisturbed += time1(clean)
		disturbed += time1(busy)
	}
	imposed, early := busy.Waits()
	require.Positive(b, imposed)
	require.Zero(b, early)
	b.ReportMetric(undisturbed.Seconds()/float64(b.N), "s-clean")
	b.ReportMetric(imposed.Seconds()/float64(b.N), "s-imposed")
	b.ReportMetric(disturbed.Seconds()/float64(b.N), "s-throttled")
	b.ReportMetric(disturbed.Seconds()/(undisturbed+imposed).Seconds(), "ratio")
}
