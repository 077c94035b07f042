package entra

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/directory"
)

// many starts a directory of n users, each in each of four groups.
func many(t testing.TB, n int, o graphtest.Options) *graphtest.Server {
	t.Helper()
	server := serve(t, o)
	for i := range n {
		id := fmt.Sprintf("user-%04d", i)
		server.AddUser(id, person(id))
	}
	for i := range 4 {
		g := fmt.Sprint("group-", i)
		server.AddGroup(g, security(g))
		for i := range n {
			server.AddMember(g, fmt.Sprintf("user-%04d", i))
		}
	}
	return server
}

// requestsTo counts the requests, and of them those that came in batches.
func requestsTo(requests []graphtest.Request, path string) (all, inBatch int) {
	for _, r := range requests {
		if strings.HasPrefix(r.URI, path) {
			all++
			if r.InBatch {
				inBatch++
			}
		}
	}
	return all, inBatch
}

func TestRule_GRAPH_24_contradictions_are_read_in_batches_of_twenty(t *testing.T) {
	server := many(t, 50, graphtest.Options{})
	s := source(t, server)
	m := newMirror()
	asked := len(server.Requests())
	server.Arm(graphtest.Contradict(1), 2) // users and groups
	m.sync(t, s)
	m.equalsFullRead(t, server)
	requests := server.Requests()[asked:]
	batches, _ := requestsTo(requests, "/v1.0/$batch")
	read, inBatch := requestsTo(requests, "/v1.0/users/user-")
	require.Positive(t, read)
	require.Equal(t, read, inBatch)
	require.LessOrEqual(t, batches, (read+19)/20+1, "and one for the groups")
	for _, r := range requests {
		if r.InBatch {
			require.Contains(t, r.URI, "$select=")
			require.NotContains(t, r.URI, "%24")
		}
	}
}

func TestRule_GRAPH_24_what_is_refused_in_a_batch_is_asked_again_by_itself(t *testing.T) {
	for name, c := range map[string]struct {
		fault graphtest.Fault
		times int
		wait  time.Duration
	}{
		"429":                          {graphtest.Throttle(20 * time.Second), 3, 20 * time.Second},
		"429, again and again":         {graphtest.Throttle(2*time.Second).Sometimes(7, 0.3), 30, 2 * time.Second},
		"429 without a word":           {graphtest.ThrottleSilently(), 3, 0},
		"503":                          {graphtest.Unavailable(10 * time.Second), 2, 10 * time.Second},
		"504 with a page for people":   {graphtest.GatewayTimeout(), 2, 0},
		"424":                          {graphtest.FailedDependency(), 2, 0},
		"a token that has run out":     {graphtest.Unauthorized(), 1, 0},
		"an answer that is no JSON":    {graphtest.Truncate(), 2, 0},
		"an answer that is left out":   {graphtest.LeaveOut().At(graphtest.Batches), 1, 0},
		"the whole, throttled":         {graphtest.Throttle(20 * time.Second).At(graphtest.Batches), 2, 20 * time.Second},
		"the whole, cut":               {graphtest.Cut().At(graphtest.Batches), 2, 0},
		"the whole, with an old token": {graphtest.Unauthorized().At(graphtest.Batches), 1, 0},
		"the whole, without a body":    {graphtest.EmptyBody().At(graphtest.Batches), 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			server := many(t, 30, graphtest.Options{})
			s, waits := patient(t, server)
			m := newMirror()
			server.Arm(graphtest.Contradict(1), 2)
			fault := c.fault
			if !strings.HasPrefix(name, "the whole") && !strings.Contains(name, "left out") {
				fault = fault.At(graphtest.Reads).On("user-")
			}
			asked := len(server.Requests())
			server.Arm(fault, c.times)
			m.sync(t, s)
			server.Disarm()
			m.equalsFullRead(t, server)
			if c.wait > 0 {
				require.NotEmpty(t, *waits)
				for _, w := range *waits {
					require.Equal(t, c.wait, w)
				}
			}
			seen := map[string]int{}
			for _, r := range server.Requests()[asked:] {
				if r.InBatch {
					seen[r.URI]++
				}
			}
			again := 0
			for _, n := range seen {
				again += n - 1
			}
			if !strings.HasPrefix(name, "the whole") {
				require.LessOrEqual(t, again, c.times, "only what was refused is asked again")
			}
		})
	}
}

func TestRule_GRAPH_24_a_batch_that_fails_is_incomplete(t *testing.T) {
	for name, c := range map[string]struct {
		fault graphtest.Fault
		want  error
		says  string
	}{
		"429 for ever":               {graphtest.Throttle(time.Hour).At(graphtest.Reads).On("user-"), directory.ErrIncomplete, "429"},
		"left out for ever":          {graphtest.LeaveOut(), directory.ErrIncomplete, "leaves out an answer"},
		"no JSON for ever":           {graphtest.Truncate().At(graphtest.Reads).On("user-"), directory.ErrIncomplete, "no JSON"},
		"a token that is never good": {graphtest.Unauthorized().At(graphtest.Reads).On("user-"), directory.ErrAuth, "401"},
		"a refusal":                  {graphtest.Answer(http.StatusBadRequest, `{"error":{"code":"Request_BadRequest","message":"no"}}`).At(graphtest.Reads).On("user-"), directory.ErrIncomplete, "Request_BadRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			server := many(t, 30, graphtest.Options{})
			s, _ := patient(t, server)
			m := newMirror()
			m.sync(t, s)
			server.Purge("user-0003")
			server.SetAttribute("user-0004", "displayName", "another")
			server.Arm(graphtest.Contradict(1), 2)
			server.Arm(c.fault, -1)
			_, err := m.try(s)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.says)
			require.Contains(t, m.objects, directory.ObjectID("user-0003"), "nothing was taken away")
			server.Disarm()
			m.sync(t, s)
			m.equalsFullRead(t, server)
		})
	}
}
