package scim

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/secret"
	"github.com/ambit-iam/ambit/store/storetest"
)

var update = flag.Bool("update", false, "write the transcripts anew")

const token = "a-token-of-at-least-thirty-two-characters"

// place is a handler on a real store, with a client.
type place struct {
	*Handler
	store  Store
	server *httptest.Server
	busy   atomic.Int64 // connections with a request
}

// open serves the source "corp". The clock stands still and ids are counted, so
// that what is answered is the same each time.
func open(t *testing.T) *place {
	t.Setenv("SCIM_TOKEN", token)
	p := &place{store: storetest.SQLite(t).Open(t, storetest.Options{})}
	var n atomic.Int64
	p.Handler = New(Options{
		Store: p.store, Now: func() time.Time { return time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC) },
		NewID: func() directory.ObjectID { return directory.ObjectID(fmt.Sprint("id-", n.Add(1))) },
	})
	require.NoError(t, p.Replace(map[directory.SourceID]Config{"corp": {Tokens: []secret.Ref{"env:SCIM_TOKEN"}, URL: "https://ambit.example.com"}}))
	p.server = httptest.NewUnstartedServer(p.Handler)
	p.server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			p.busy.Add(1)
		case http.StateClosed:
			p.busy.Add(-1)
		}
	}
	p.server.Start()
	p.server.Client().Transport.(*http.Transport).DisableKeepAlives = true
	t.Cleanup(p.server.Close)
	return p
}

// do sends a request below the source and returns status, headers and body.
func (p *place) do(t require.TestingT, method, path, body string, headers ...string) (int, http.Header, string) {
	r, err := http.NewRequestWithContext(context.Background(), method, p.server.URL+Root+"corp"+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", mediaType)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := p.server.Client().Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, answer.Header, string(b)
}

// TestTranscripts replays what Entra, in both of its flavours, and Okta send (Rules
// SCIM-4 to SCIM-7), and holds the answers, and what the directory looks like in
// the end, to what is written down.
func TestTranscripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.http")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(paths), 5)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".http"), func(t *testing.T) {
			src, err := os.ReadFile(path)
			require.NoError(t, err)
			p := open(t)
			var out strings.Builder
			for i, step := range strings.Split(asked(string(src)), ">>> ") {
				if i == 0 {
					out.WriteString(step)
					continue
				}
				p.replay(t, &out, step)
			}
			out.WriteString("=== directory\n")
			p.directory(t, &out)
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(out.String()), 0o600))
				return
			}
			require.Equal(t, string(src), out.String())
		})
	}
}

// asked is a transcript without its answers.
func asked(src string) string {
	src, _, _ = strings.Cut(src, "=== directory\n")
	var out []string
	answer := false
	for line := range strings.SplitAfterSeq(src, "\n") {
		switch {
		case strings.HasPrefix(line, "<<<"):
			answer = true
		case answer && line == "\n":
			answer = false
		}
		if !answer {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// replay sends one step of a transcript and writes it down with the answer. What
// follows it are comments.
func (p *place) replay(t *testing.T, out *strings.Builder, step string) {
	ask, rest, _ := strings.Cut(step, "\n\n")
	ask = strings.TrimSuffix(ask, "\n")
	first, body, _ := strings.Cut(ask, "\n")
	method, path, _ := strings.Cut(first, " ")
	var headers []string
	for body != "" && !strings.HasPrefix(body, "{") {
		var h string
		h, body, _ = strings.Cut(body, "\n")
		headers = append(headers, h)
	}
	status, header, answer := p.do(t, method, path, body, headers...)
	fmt.Fprintf(out, ">>> %s\n<<< %d\n", ask, status)
	for _, name := range []string{"Allow", "Etag", "Location"} {
		if v := header.Get(name); v != "" {
			fmt.Fprintf(out, "%s: %s\n", name, v)
		}
	}
	if answer != "" {
		require.Equal(t, mediaType, header.Get("Content-Type"))
		var b bytes.Buffer
		require.NoError(t, json.Compact(&b, []byte(answer)), "%s", answer)
		out.WriteString(b.String() + "\n")
	}
	out.WriteString("\n" + rest)
}

// directory writes what the source says of itself.
func (p *place) directory(t require.TestingT, out io.Writer) {
	start := directory.Start{Attributes: []string{"department", "emails", "externalId", "name.familyName"}}
	err := p.Reader("corp").Read(context.Background(), start, func(directory.Mode) error { return nil }, func(page directory.Page) error {
		for _, u := range page.Upserts {
			b, err := json.Marshal(u.Object)
			require.NoError(t, err)
			fmt.Fprintln(out, string(b))
		}
		for _, m := range page.Members {
			require.True(t, m.Whole)
			fmt.Fprintln(out, m.Group, m.Add)
		}
		return nil
	})
	if err != nil {
		fmt.Fprintln(out, err)
	}
}
