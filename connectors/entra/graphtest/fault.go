package graphtest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Where says which requests a fault is for.
type Where uint8

// The kinds of requests. They can be joined with |.
const (
	Tokens        Where = 1 << iota // to the authority
	Starts                          // of a delta round without a token
	Polls                           // of a delta round, by deltaLink
	Continuations                   // by nextLink
	Reads                           // of one object, a group's members, or a count
	Batches                         // as a whole; what is in them is Reads
	Subscriptions                   // to notifications
	Begins        = Starts | Polls
	Pages         = Begins | Continuations
	Graph         = Pages | Reads | Batches
)

// Fault is one way in which the service misbehaves. Arm it.
type Fault struct {
	name  string
	where Where
	path  string
	stale int64
	odds  func() bool // nil: always

	round  func(s *Server, rd *round)
	page   func(s *Server, p *page)
	answer func(s *Server, r *http.Request, a answer) answer
}

func (f Fault) String() string { return f.name }

// At is the fault for other kinds of requests than it has by itself.
func (f Fault) At(where Where) Fault {
	f.where = where
	return f
}

// On is the fault for paths that contain the text, such as "groups".
func (f Fault) On(path string) Fault {
	f.path = path
	return f
}

// Sometimes is the fault for a share of the requests that it is for.
func (f Fault) Sometimes(seed uint64, share float64) Fault {
	r := rand.New(rand.NewPCG(seed, 3))
	f.odds = func() bool { return r.Float64() < share }
	return f
}

type armed struct {
	Fault
	times int
}

// Arm makes the next requests that match run into the fault, so many times;
// a negative number means always. A request runs into one fault at most, the one
// that was armed first.
func (s *Server) Arm(f Fault, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &armed{f, times})
}

// Disarm takes all faults away.
func (s *Server) Disarm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// take finds the fault for a request and uses it up.
func (s *Server) take(r *http.Request) Fault {
	for _, f := range s.faults {
		if f.times != 0 && f.where&where(r) != 0 && strings.Contains(r.URL.Path, f.path) && (f.odds == nil || f.odds()) {
			f.times--
			return f.Fault
		}
	}
	return Fault{}
}

// refuses is a fault that answers with an error.
func refuses(name string, at Where, status int, code, message string, header ...string) Fault {
	return Fault{name: name, where: at, answer: func(*Server, *http.Request, answer) answer {
		a := refuse(status, code, message)
		for i := 0; i < len(header); i += 2 {
			a.header.Set(header[i], header[i+1])
		}
		return a
	}}
}

// Throttle answers 429 with Retry-After in seconds (Rule GRAPH-27).
func Throttle(after time.Duration) Fault {
	return refuses("throttle", Graph, http.StatusTooManyRequests, "TooManyRequests", "Too many requests.",
		"Retry-After", strconv.Itoa(int(after.Seconds())), "x-ms-throttle-scope", "Tenant_Application/ReadWrite/"+ClientID)
}

// ThrottleUntil answers 429 with Retry-After as a date.
func ThrottleUntil(t time.Time) Fault {
	return refuses("throttle until a date", Graph, http.StatusTooManyRequests, "TooManyRequests", "Too many requests.", "Retry-After", t.UTC().Format(http.TimeFormat))
}

// ThrottleSilently answers 429 without saying for how long.
func ThrottleSilently() Fault {
	return refuses("throttle without Retry-After", Graph, http.StatusTooManyRequests, "TooManyRequests", "Too many requests.")
}

// Unavailable answers 503 with Retry-After.
func Unavailable(after time.Duration) Fault {
	return refuses("unavailable", Graph, http.StatusServiceUnavailable, "serviceNotAvailable", "The service is unavailable.", "Retry-After", strconv.Itoa(int(after.Seconds())))
}

// GatewayTimeout answers 504 with a page that no program was meant to read.
func GatewayTimeout() Fault {
	return Fault{name: "gateway timeout", where: Graph, answer: func(*Server, *http.Request, answer) answer {
		return answer{status: http.StatusGatewayTimeout, header: http.Header{"Content-Type": {"text/html"}}, body: []byte("<html>504 Gateway Time-out</html>")}
	}}
}

// Gone answers 410 and says where to start again (Rule GRAPH-18).
func Gone() Fault {
	return Fault{name: "gone", where: Polls, answer: func(s *Server, r *http.Request, _ answer) answer {
		a := refuse(http.StatusGone, "resyncRequired", "Resync required. Replace any local items with the server's version.")
		a.header.Set("Location", s.URL+r.URL.Path+"?$deltatoken=")
		return a
	}}
}

// Expire answers 400 syncStateNotFound, as to a token of more than seven days.
func Expire() Fault {
	return Fault{name: "sync state not found", where: Polls, answer: func(*Server, *http.Request, answer) answer { return expired() }}
}

// DeadLink answers 404 to a nextLink (Rule GRAPH-13).
func DeadLink() Fault {
	return refuses("dead nextLink", Continuations, http.StatusNotFound, "UnknownError", "")
}

// Unauthorized answers 401, as to a token that has run out.
func Unauthorized() Fault {
	return Fault{name: "expired token", where: Graph, answer: func(*Server, *http.Request, answer) answer { return expiredToken() }}
}

// Challenge answers 401 with a claims challenge, as after a revocation.
func Challenge() Fault {
	const claims = "eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNzY3MjI1NjAwIn19fQ=="
	return Fault{name: "claims challenge", where: Graph, answer: func(*Server, *http.Request, answer) answer {
		a := expiredToken()
		a.header.Set("WWW-Authenticate", `Bearer realm="", error="insufficient_claims", claims="`+claims+`"`)
		return a
	}}
}

// Redirect sends the client elsewhere.
func Redirect(to string) Fault {
	return Fault{name: "redirect", where: Graph, answer: func(*Server, *http.Request, answer) answer {
		return answer{status: http.StatusTemporaryRedirect, header: http.Header{"Location": {to}}}
	}}
}

// Cut closes the connection in the middle of the body.
func Cut() Fault {
	return Fault{name: "cut", where: Graph, answer: func(_ *Server, _ *http.Request, a answer) answer {
		a.cut = len(a.body)/2 + 1
		return a
	}}
}

// Truncate sends half of the body as if it were all.
func Truncate() Fault {
	return Fault{name: "truncated body", where: Graph, answer: func(_ *Server, _ *http.Request, a answer) answer {
		a.body = a.body[:len(a.body)/2]
		return a
	}}
}

// EmptyBody answers 200 and nothing else.
func EmptyBody() Fault {
	return Fault{name: "empty body", where: Graph, answer: func(_ *Server, _ *http.Request, a answer) answer {
		a.body = nil
		return a
	}}
}

// NoLink leaves both links out of a page.
func NoLink() Fault {
	return Fault{name: "no link", where: Pages, page: func(_ *Server, p *page) { p.next, p.delta = "", "" }}
}

// NoObjects answers a delta query with nothing but a deltaLink: the directory
// that is suddenly empty.
func NoObjects() Fault {
	return Fault{name: "no objects", where: Begins, round: func(_ *Server, rd *round) { rd.entries = nil }}
}

// EmptyPage puts a page without objects before the one that was asked for.
func EmptyPage() Fault {
	return Fault{name: "empty page", where: Pages, page: func(s *Server, p *page) { s.before(p, []entry{}) }}
}

// PageTwice sends a page, and then the same again (Rule SRC-3).
func PageTwice() Fault {
	return Fault{name: "page twice", where: Pages, page: func(s *Server, p *page) { s.before(p, p.value) }}
}

// before sends value now, and the page at the next link.
func (s *Server) before(p *page, value []entry) {
	rest := *p.round
	rest.pages = append([][]entry{value}, p.round.pages[min(p.number, len(p.round.pages)):]...)
	if len(rest.pages) == 1 {
		rest.pages = append(rest.pages, []entry{})
	}
	p.value = value
	p.next, p.delta = s.issue(rest.path, &link{round: &rest, page: 1, kind: rest.kind}), ""
}

// Shuffle sends a round's entries in another order (Rule GRAPH-15).
func Shuffle(seed uint64) Fault {
	return Fault{name: "shuffle", where: Begins, round: func(_ *Server, rd *round) {
		r := rand.New(rand.NewPCG(seed, 1))
		rd.entries = slices.Clone(rd.entries)
		r.Shuffle(len(rd.entries), func(i, j int) { rd.entries[i], rd.entries[j] = rd.entries[j], rd.entries[i] })
	}}
}

// Replay gives the changes of the round before once more (Rule GRAPH-19).
func Replay() Fault {
	return Fault{name: "replay", where: Polls, round: func(s *Server, rd *round) {
		rd.entries = slices.Concat(s.last[rd.kind], rd.entries)
	}}
}

// Stale answers as of so many edits ago; the rest comes in the next round (Rule
// GRAPH-19).
func Stale(edits int64) Fault { return Fault{name: "stale", where: Polls, stale: edits} }

// Contradict adds to each entry of a round another of the same object that says
// something else, before or after it: other values, edges the other way, objects
// gone that are there (Rule GRAPH-15).
func Contradict(seed uint64) Fault {
	return Fault{name: "contradiction", where: Begins, round: func(_ *Server, rd *round) {
		r := rand.New(rand.NewPCG(seed, 2))
		var out []entry
		for _, e := range rd.entries {
			x := entry(maps.Clone(e))
			_, gone := x["@removed"]
			switch {
			case gone || r.IntN(4) == 0:
				x = entry{"id": e["id"], "@removed": map[string]any{"reason": "changed"}}
			case r.IntN(2) == 0:
				if _, ok := x["displayName"]; ok {
					x["displayName"] = "an older name"
				}
			}
			for _, relation := range relations {
				edges, ok := x[relation+"@delta"].([]any)
				if !ok {
					continue
				}
				var other []any
				for _, one := range edges {
					edge := maps.Clone(one.(map[string]any))
					if _, gone := edge["@removed"]; gone {
						delete(edge, "@removed")
					} else {
						edge["@removed"] = map[string]any{"reason": "deleted"}
					}
					other = append(other, edge)
				}
				x[relation+"@delta"] = other
			}
			pair := []entry{e, x}
			if r.IntN(2) == 0 {
				slices.Reverse(pair)
			}
			out = append(out, pair...)
		}
		rd.entries = out
	}}
}

// LoseRemovals leaves out of groups' and users' changes the edges that ended
// because their far end was deleted (Rule GRAPH-21).
func LoseRemovals() Fault {
	return Fault{name: "lost removals", where: Polls, round: func(s *Server, rd *round) {
		rd.entries = cloneEntries(rd.entries)
		for _, e := range rd.entries {
			for _, relation := range relations {
				edges, ok := e[relation+"@delta"].([]any)
				if !ok {
					continue
				}
				kept := slices.DeleteFunc(slices.Clone(edges), func(x any) bool {
					far := s.state.objects[x.(map[string]any)["id"].(string)]
					return far != nil && far.state != live
				})
				if e[relation+"@delta"] = kept; len(kept) == 0 {
					delete(e, relation+"@delta")
				}
			}
		}
	}}
}

// LimitedInfo shows objects by id only, with all properties null (Rule GRAPH-4).
func LimitedInfo() Fault {
	limit := func(e map[string]any) {
		for name := range e {
			if name != "id" && !strings.Contains(name, "@") && name != "value" {
				e[name] = nil
			}
		}
	}
	return Fault{name: "limited information", where: Pages | Reads, page: func(_ *Server, p *page) {
		p.value = cloneEntries(p.value)
		for _, e := range p.value {
			limit(e)
		}
	}, answer: func(s *Server, r *http.Request, a answer) answer {
		id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		if o := s.state.objects[id]; o != nil && where(r) == Reads {
			e := map[string]any{"@odata.type": o.kind}
			for _, name := range selected(r) {
				e[name] = nil
			}
			e["id"] = id
			return reply(http.StatusOK, e)
		}
		return a
	}}
}

// ForeignLink sends the client's next request to another host (Rule SEC-4).
func ForeignLink(base string) Fault {
	return Fault{name: "foreign link", where: Pages, page: func(s *Server, p *page) {
		p.next, p.delta = base+strings.TrimPrefix(p.next+p.delta, s.URL), ""
	}}
}

// EndlessChain gives the same page for ever, each time with a new nextLink
// (Rule GRAPH-20).
func EndlessChain() Fault {
	return Fault{name: "endless chain", where: Pages, page: func(s *Server, p *page) {
		p.next, p.delta = s.issue(p.round.path, &link{round: p.round, page: p.number, kind: p.round.kind}), ""
	}}
}

// Circle gives a nextLink that leads to the same page again.
func Circle() Fault {
	return Fault{name: "circle", where: Continuations, page: func(s *Server, p *page) { p.next, p.delta = s.URL+p.request.RequestURI, "" }}
}

// BadText puts bytes that are not UTF-8 into the display names.
func BadText() Fault {
	return Fault{name: "not UTF-8", where: Pages | Reads, answer: func(_ *Server, _ *http.Request, a answer) answer {
		a.body = bytes.ReplaceAll(a.body, []byte(`"displayName":"`), []byte("\"displayName\":\"\xff\xfe"))
		return a
	}}
}

// UnknownType gives members a type that nobody knows (Rule SRC-11).
func UnknownType() Fault {
	return Fault{name: "unknown type", where: Pages, answer: func(_ *Server, _ *http.Request, a answer) answer {
		a.body = bytes.ReplaceAll(a.body, []byte(userType), []byte("#microsoft.graph.agentUser"))
		return a
	}}
}

// Gzip compresses the answer, for clients that take it so.
func Gzip() Fault {
	return Fault{name: "gzip", where: Graph, answer: func(_ *Server, r *http.Request, a answer) answer {
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			a.compress()
		}
		return a
	}}
}

// Flood answers with a page that is small on the wire and so many bytes long when
// it is unpacked.
func Flood(size int) Fault {
	return Fault{name: "flood", where: Pages, answer: func(_ *Server, _ *http.Request, a answer) answer {
		a.body = append([]byte(`{"value":[`), bytes.Repeat([]byte(" "), size)...)
		a.compress()
		return a
	}}
}

func (a *answer) compress() {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(a.body)
	if err = errors.Join(err, z.Close()); err != nil {
		panic("internal error: graphtest: " + err.Error())
	}
	a.body = b.Bytes()
	a.header.Set("Content-Encoding", "gzip")
}

// FailedDependency answers 424, as to a request of a batch that waited for another
// of it (Rule GRAPH-24).
func FailedDependency() Fault {
	return refuses("failed dependency", Reads, http.StatusFailedDependency, "FailedDependency", "A dependency failed.")
}

// LeaveOut leaves an answer out of a batch.
func LeaveOut() Fault {
	return Fault{name: "left out", where: Batches, answer: func(_ *Server, _ *http.Request, a answer) answer {
		var said struct {
			Responses []json.RawMessage `json:"responses"`
		}
		if json.Unmarshal(a.body, &said) == nil && len(said.Responses) > 0 {
			said.Responses = said.Responses[1:]
			return reply(a.status, said)
		}
		return a
	}}
}

// Miscount makes counts so much larger than they are (Rule GRAPH-23).
func Miscount(by int) Fault {
	return Fault{name: "miscount", where: Reads, path: "$count", answer: func(_ *Server, _ *http.Request, a answer) answer {
		n, err := strconv.Atoi(strings.TrimPrefix(string(a.body), "\uFEFF"))
		if err == nil {
			a.body = []byte(strconv.Itoa(n + by))
		}
		return a
	}}
}

// Answer gives a body of one's own.
func Answer(status int, body string) Fault {
	return Fault{name: fmt.Sprintf("answer %d", status), where: Graph, answer: func(_ *Server, _ *http.Request, a answer) answer {
		a.status, a.body = status, []byte(body)
		return a
	}}
}

// Meanwhile runs f when the answer is made and not yet sent, for edits in the
// middle of a round.
func Meanwhile(f func()) Fault {
	return Fault{name: "meanwhile", where: Begins, answer: func(_ *Server, _ *http.Request, a answer) answer {
		a.then = f
		return a
	}}
}
